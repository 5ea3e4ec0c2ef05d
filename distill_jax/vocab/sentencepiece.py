"""SentencePiece models as T5 ships them: reading one, and training one.

SentencePiece keeps control pieces out of text by itself and spells a word that looks like one in
ordinary pieces. If a model holds its sentinels as ordinary or user-defined pieces (as mT5's does),
one that stands in text is replaced with `unk_id`.
"""

import os
import re
import unicodedata
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sentencepiece

from distill_jax.errors import UserError
from distill_jax.files import atomic_write
from distill_jax.vocab.base import (
    SENTINEL_PATTERN,
    VOCABULARY_FILE,
    Vocabulary,
    hash_of_file,
    read_vocabulary_file,
    sentinels_by_name,
    without_surrogates,
)

SENTENCEPIECE_FILE = "spiece.model"
DEFAULT_EXTRA_IDS = 100


class SentencePieceVocabulary(Vocabulary):
    """A SentencePiece model, with T5's sentinels.

    Args:
        path: the model file, or a directory holding `spiece.model`.
        extra_ids: how many sentinels follow the model's pieces: as in T5 `<extra_id_0>` has the
            highest id and the others descend from it. Not used if the model has pieces named
            `<extra_id_n>` (with or without a leading `▁`), which then are the sentinels.

    Raises:
        UserError: the file is missing, is no SentencePiece model, or lacks pad, eos or unk.
    """

    kind = "sentencepiece"

    def __init__(self, path: str | os.PathLike[str], extra_ids: int = DEFAULT_EXTRA_IDS) -> None:
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
        size = pieces + self.extra_ids
        super().__init__(
            size=size,
            sentinel_ids=named or range(size - 1, pieces - 1, -1),
            pad_id=control["pad"],
            eos_id=control["eos"],
            unk_id=control["unk"],
        )

    def _piece_id(self, name: str) -> int | None:
        i: int = self._processor.piece_to_id(name)
        return None if i == self._processor.unk_id() else i

    @property
    def files(self) -> tuple[str, ...]:
        return (SENTENCEPIECE_FILE, VOCABULARY_FILE)

    def content_hash(self) -> str:
        return hash_of_file(self.kind, self._model, self.extra_ids)

    def save(self, directory: str | os.PathLike[str]) -> None:
        path = Path(directory) / SENTENCEPIECE_FILE
        with atomic_write(path) as temporary:
            temporary.write_bytes(self._model)
        self._describe(path)

    def _describe(self, path: Path) -> None:
        self._save_sidecar(path.parent, file=path.name, extra_ids=self.extra_ids)

    def _encode_text(self, text: str) -> list[int]:
        ids: list[int] = self._processor.encode(text)
        return ids

    def _decode_text(self, ids: list[int]) -> str:
        text: str = self._processor.decode(ids)
        return text


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
