"""SentencePiece models as T5 ships them: reading one, and training one.

SentencePiece keeps control pieces out of text by itself and spells a word that looks like one in
ordinary pieces. If a model holds its sentinels as ordinary or user-defined pieces (as mT5's does),
one that stands in text is replaced with `unk_id`.
"""

import itertools
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sentencepiece

from distill_jax.errors import UserError
from distill_jax.files import atomic_write, write_json
from distill_jax.vocab.added_tokens import TOKENIZER_CONFIG, AddedToken, Matcher, config_with
from distill_jax.vocab.base import (
    UNKNOWN_TEXT,
    VOCABULARY_FILE,
    Vocabulary,
    hash_of_file,
    read_vocabulary_file,
    sentinel_name,
    sentinels_by_name,
)
from distill_jax_runtime.subword_vocabulary import without_surrogates
from distill_jax_runtime.tokenizer_file import SENTINEL_PATTERN, SPACE_MARK

SENTENCEPIECE_FILE = "spiece.model"
DEFAULT_EXTRA_IDS = 100


class SentencePieceVocabulary(Vocabulary):
    """A SentencePiece model, with T5's sentinels.

    Args:
        path: the model file, or a directory holding `spiece.model`.
        extra_ids: how many sentinels follow the model's pieces: as in T5 `<extra_id_0>` has the
            highest id and the others descend from it. Not used if the model has pieces named
            `<extra_id_n>` (with or without a leading `▁`), which then are the sentinels.
        added_tokens: tokens with ids of their own, which go before what `extra_ids` says: see
            `distill_jax.vocab.added_tokens`.

    Attributes:
        added_tokens: those of them that are no pieces of the model and no sentinels where
            `extra_ids` has them.

    Raises:
        UserError: the file is missing, is no SentencePiece model, or lacks pad, eos or unk; an
            added token has the id of another.
    """

    kind = "sentencepiece"

    def __init__(
        self,
        path: str | os.PathLike[str],
        extra_ids: int = DEFAULT_EXTRA_IDS,
        added_tokens: Sequence[AddedToken] = (),
    ) -> None:
        path = Path(path)
        if path.is_dir():
            path = path / SENTENCEPIECE_FILE
        self._model = read_vocabulary_file(path)
        try:
            if not self._model:
                raise ValueError("it is empty")  # which the library would accept
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=self._model)
            pieces = self._processor.get_piece_size()
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{path}: not a SentencePiece model, or damaged ({error}); fetch the file again"
            ) from error
        control = {
            "pad": self._processor.pad_id(),
            "eos": self._processor.eos_id(),
            "unk": self._processor.unk_id(),
        }
        if absent := [name for name, i in control.items() if i < 0]:
            raise UserError(
                f"{path}: the model has no {' and no '.join(absent)} piece; "
                "train it with pad, eos and unk as T5's"
            )
        if extra_ids < 0:
            raise UserError(f"{path}: extra_ids is {extra_ids}; it must be 0 or more")
        named = sentinels_by_name(self._piece_id)
        self.extra_ids = 0 if named else extra_ids
        behind = range(pieces + self.extra_ids - 1, pieces - 1, -1)
        ids = {sentinel_name(n): i for n, i in enumerate(named or behind)}
        self.added_tokens = tuple(
            token
            for token in added_tokens
            if token.id != ids.get(token.content)
            and not (token.id < pieces and self._processor.id_to_piece(token.id) == token.content)
        )
        ids |= {token.content: token.id for token in self.added_tokens}
        super().__init__(
            size=max(pieces, *(i + 1 for i in ids.values())) if ids else pieces,
            sentinel_ids=sentinels_by_name(ids.get),
            pad_id=control["pad"],
            eos_id=control["eos"],
            unk_id=control["unk"],
            other_special_ids=[token.id for token in self.added_tokens if token.special],
        )
        self._check_ids(ids, pieces, path)
        self._prepare_matching()

    def _check_ids(self, ids: dict[str, int], pieces: int, path: Path) -> None:
        """Refuses an added token with the id of a piece or of another token, or with a piece's name."""
        remedy = "save the tokenizer again from transformers, beside the model it belongs to"
        taken = {i: name for name, i in ids.items()}
        control = {
            i: self._processor.id_to_piece(i) for i in (self.pad_id, self.eos_id, self.unk_id)
        }
        for content, i, *_ in self.added_tokens:
            other = self._processor.id_to_piece(i) if i < pieces else taken[i]
            if other != content:
                reason = f"is that of {other!r}"
            elif content in control.values():
                reason = "is another than the model's"
            else:
                continue
            raise UserError(
                f"{path}: the files beside it give {content!r} the id {i}, which {reason}; {remedy}"
            )

    def _prepare_matching(self) -> None:
        """Sets what finds added tokens: first in text as it stands, then in normalised text."""
        self._content = {token.id: token.content for token in self.added_tokens}
        found: tuple[dict[str, int], dict[str, int]] = ({}, {})
        for content, i, special, normalized in self.added_tokens:
            if special or SENTINEL_PATTERN.fullmatch(content):
                continue
            normal: str = self._processor.normalize(content)
            if not content.startswith((" ", SPACE_MARK)):
                normal = normal.removeprefix(SPACE_MARK)
            # Nothing is left of a line feed, say: it can only be found as it stands.
            if normalized and normal.strip(SPACE_MARK):
                found[1][normal] = i
            else:
                found[0][content] = i
        self._as_it_stands, self._normalised = Matcher(found[0]), Matcher(found[1])
        self._has_tokens = bool(found[0] or found[1])

    def _piece_id(self, name: str) -> int | None:
        i: int = self._processor.piece_to_id(name)
        return None if i == self._processor.unk_id() else i

    @property
    def files(self) -> tuple[str, ...]:
        config = (TOKENIZER_CONFIG,) if self.added_tokens else ()
        return (SENTENCEPIECE_FILE, VOCABULARY_FILE, *config)

    def content_hash(self) -> str:
        return hash_of_file(self.kind, self._model, self.extra_ids, self.added_tokens)

    def portable(self) -> dict[str, Any] | None:
        """See `Vocabulary.portable`; None where text may hold added tokens."""
        return None if self._has_tokens else super().portable()

    def transformers_config(self, max_tokens: int | None) -> dict[str, Any]:
        """See `Vocabulary.transformers_config`."""
        tokens = config_with(self.added_tokens, self.extra_ids)
        return {**tokens, **super().transformers_config(max_tokens)}

    def save(self, directory: str | os.PathLike[str]) -> None:
        path = Path(directory) / SENTENCEPIECE_FILE
        with atomic_write(path) as temporary:
            temporary.write_bytes(self._model)
        self._describe(path)

    def _describe(self, path: Path) -> None:
        more: dict[str, Any] = {}
        if self.added_tokens:
            more["added_tokens"] = [token._asdict() for token in self.added_tokens]
            config = config_with(self.added_tokens, self.extra_ids)
            write_json(path.with_name(TOKENIZER_CONFIG), config)
        self._save_sidecar(path.parent, file=path.name, extra_ids=self.extra_ids, **more)

    def _encode_text(self, text: str) -> list[int]:
        ids: list[int] = []
        if not self._has_tokens:
            ids = self._processor.encode(text)
            return ids
        for part in self._as_it_stands.split(text):
            if isinstance(part, int):
                ids.append(part)
                continue
            for piece in self._normalised.split(self._processor.normalize(part)):
                ids += [piece] if isinstance(piece, int) else self._processor.encode(piece)
        return ids

    def _decode_text(self, ids: list[int]) -> str:
        if not self.added_tokens:
            text: str = self._processor.decode(ids)
            return text
        pieces = self._processor.get_piece_size()
        parts = [
            self._processor.decode(list(run))
            if ordinary
            else " ".join(self._content.get(i, UNKNOWN_TEXT) for i in run)
            for ordinary, run in itertools.groupby(ids, lambda i: i < pieces)
        ]
        return " ".join(part for part in parts if part)


class Sample(NamedTuple):
    """So many texts at most, drawn by a seed."""

    max_texts: int
    seed: int = 0


def train_sentencepiece(
    texts: Iterable[str],
    size: int,
    path: str | os.PathLike[str],
    *,
    required: Iterable[str] = (),
    fold_case: bool = False,
    extra_ids: int = DEFAULT_EXTRA_IDS,
    character_coverage: float = 1.0,
    sample: Sample | None = None,
) -> SentencePieceVocabulary:
    """Trains a unigram SentencePiece model as T5's and saves it.

    pad, eos and unk are 0, 1 and 2, there is no bos and no byte fallback, text is normalised by
    `nmt_nfkc`, and every word begins with `▁`. The result depends on the arguments alone: training
    runs in one thread, since the sums of several depend on their number.

    Args:
        texts: the corpus; `<extra_id_n>` in it counts as a space.
        size: the most pieces the model may have, sentinels not included. A small corpus yields
            fewer: the returned vocabulary's `size - extra_ids` tells how many.
        path: a directory (gets `spiece.model`) or the `*.model` file to write; `vocabulary.json` is
            written beside it.
        required: texts (a label set's, say) that are always part of the corpus and whose characters
            all get a piece, whatever `character_coverage` says.
        fold_case: whether the vocabulary ignores case, for small models that read text of both kinds.
        extra_ids: the number of sentinels.
        character_coverage: the share of the corpus' characters that must have a piece, 0.98 to 1.
        sample: train on so many of the texts, drawn at random (all of them if None).

    Raises:
        UserError: there is no text, `character_coverage` is out of range, or `size` has no
            room for the characters that need a piece.
    """
    path = Path(path)
    file = path if path.suffix == ".model" else path / SENTENCEPIECE_FILE
    if not 0.98 <= character_coverage <= 1:  # SentencePiece's own limits
        raise UserError(
            f"{file}: character_coverage is {character_coverage}; it must lie in 0.98 to 1"
        )
    required_lines = list(_clean_lines(required))
    lines = list(_clean_lines(texts))
    if sample is not None and len(lines) > sample.max_texts:
        rng = np.random.default_rng(sample.seed)
        chosen = rng.choice(len(lines), sample.max_texts, replace=False)
        lines = [lines[i] for i in np.sort(chosen)]
    lines += required_lines
    if not lines:
        raise UserError(f"{file}: there is no text to train a vocabulary on; give some sentences")
    needed = unicodedata.normalize("NFKC", "".join(required_lines))
    if fold_case:
        needed = needed.casefold()
    model = BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=character_coverage,
            required_chars="".join(sorted(set(needed) - {" "})),
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            byte_fallback=False,
            normalization_rule_name="nmt_nfkc_cf" if fold_case else "nmt_nfkc",
            add_dummy_prefix=True,
            # Longer lines would be skipped without a word.
            max_sentence_length=max(4192, 1 + max(len(line.encode()) for line in lines)),
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(_training_failure(file, size, str(error))) from error
    with atomic_write(file) as temporary:
        temporary.write_bytes(model.getvalue())
    vocabulary = SentencePieceVocabulary(file, extra_ids)
    vocabulary._describe(file)
    return vocabulary


def _training_failure(file: Path, size: int, error: str) -> str:
    if needed := re.search(r"required_chars\. \d+ vs (\d+)", error):
        return (
            f"{file}: {size} pieces are too few for the text's characters; "
            f"ask for at least {needed[1]}, or lower character_coverage"
        )
    if "sentences_.empty()" in error or "all_chars_count" in error:
        return f"{file}: the text to train a vocabulary on holds no words; give some sentences"
    return f"{file}: cannot train a vocabulary of {size} pieces ({error}); give more text"


def _clean_lines(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        for line in SENTINEL_PATTERN.sub(" ", without_surrogates(text)).splitlines():
            # A NUL ends the line for the trainer.
            if line := " ".join(line.replace("\0", " ").split()):
                yield line
