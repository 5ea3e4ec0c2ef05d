"""Vocabularies: text to ids and back, with the sentinels `<extra_id_n>` found by name.

Three kinds share one interface: a SentencePiece model as T5 ships it, a Hugging Face
`tokenizer.json`, and raw bytes as in ByT5. A directory written by `Vocabulary.save` holds, beside
the vocabulary's own file, `vocabulary.json`: `{"kind": …, "file": …, "extra_ids": …}`, which
records the number of sentinels appended to a SentencePiece model so that the directory loads as it
was.

Text never becomes a control id. Whatever a word looks like (`</s>`, `<pad>`, `<extra_id_5>`),
`encode` returns ids of ordinary pieces or `unk_id`, so sentinels in a sequence are those put there
on purpose:

* SentencePiece keeps control pieces out of text by itself and spells the word in ordinary pieces.
  If a model holds its sentinels as ordinary or user-defined pieces (as mT5's does), one found in
  text is replaced with `unk_id`.
* From a `tokenizer.json` the special tokens are removed before encoding, with the same results.
* Bytes are never sentinels.
"""

import abc
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import sentencepiece

from distill_jax.errors import UserError
from distill_jax.files import atomic_write, sha256_json

DEFAULT_EXTRA_IDS = 100
SIDECAR = "vocabulary.json"
SENTENCEPIECE_FILE = "spiece.model"
HUGGINGFACE_FILE = "tokenizer.json"
SENTINEL_PATTERN = re.compile(r"<extra_id_\d+>")

_UNKNOWN_TEXT = "⁇"
_SPACE_MARK = "▁"  # U+2581, how SentencePiece writes a space inside a piece


def sentinel_name(n: int) -> str:
    """The name of the n-th sentinel, as T5 writes it."""
    return f"<extra_id_{n}>"


class Vocabulary(abc.ABC):
    """Text to ids and back.

    Attributes:
        size: number of ids in use, sentinels included (a model may have more rows).
        pad_id, eos_id, unk_id: the control ids (0, 1 and 2 in T5's vocabularies).
        sentinel_ids: int32[num_sentinels], the id of `<extra_id_n>` at place n.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        *,
        size: int,
        sentinel_ids: Sequence[int],
        pad_id: int = 0,
        eos_id: int = 1,
        unk_id: int = 2,
        other_special_ids: Iterable[int] = (),
    ) -> None:
        self.size = size
        self.pad_id = pad_id
        self.eos_id = eos_id
        self.unk_id = unk_id
        self.sentinel_ids: npt.NDArray[np.int32] = np.asarray(sentinel_ids, dtype=np.int32)
        self.sentinel_ids.flags.writeable = False
        self._sentinel_of_id = {int(i): n for n, i in enumerate(sentinel_ids)}
        self._reserved = frozenset([pad_id, eos_id, *sentinel_ids, *other_special_ids]) - {unk_id}

    @property
    def num_sentinels(self) -> int:
        """How many sentinels there are: a sentence of L words needs L + 1."""
        return len(self.sentinel_ids)

    def is_sentinel(self, token_id: int) -> bool:
        """Whether the id is a sentinel's."""
        return token_id in self._sentinel_of_id

    def encode(self, text: str) -> list[int]:
        """The ids of `text` alone: no end-of-sequence, and never pad, eos or a sentinel.

        The list is empty for text that the vocabulary's normaliser removes entirely (the empty
        string, blanks, zero-width and most control characters). Lone surrogates count as U+FFFD.
        """
        ids = self._encode_text(_without_surrogates(text))
        if self._reserved.isdisjoint(ids):
            return ids
        return [self.unk_id if i in self._reserved else i for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Text for people to read: sentinels by name, unknown and out-of-range ids as `⁇`.

        Padding and end-of-sequence are left out.
        """
        parts: list[str] = []
        run: list[int] = []
        for i in map(int, ids):
            if 0 <= i < self.size and i not in self._reserved and i != self.unk_id:
                run.append(i)
                continue
            parts += [self._decode_text(run)] if run else []
            run = []
            if self.is_sentinel(i):
                parts.append(sentinel_name(self._sentinel_of_id[i]))
            elif i not in (self.pad_id, self.eos_id):
                parts.append(_UNKNOWN_TEXT)
        parts += [self._decode_text(run)] if run else []
        return " ".join(part for part in parts if part)

    @property
    @abc.abstractmethod
    def files(self) -> tuple[str, ...]:
        """The names of the files that `save` writes."""

    @abc.abstractmethod
    def content_hash(self) -> str:
        """A hexadecimal hash of all that decides the ids, the same wherever it was loaded."""

    @abc.abstractmethod
    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the vocabulary's files into `directory`, for `load_vocabulary` to read."""

    @abc.abstractmethod
    def _encode_text(self, text: str) -> list[int]: ...

    @abc.abstractmethod
    def _decode_text(self, ids: list[int]) -> str:
        """The text of ordinary ids."""

    def _save_sidecar(self, directory: Path, **fields: Any) -> None:
        with atomic_write(directory / SIDECAR) as temporary:
            temporary.write_text(json.dumps({"kind": self.kind, **fields}, indent=2) + "\n")


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
        self._model = _read_bytes(path)
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
        named = _sentinels_by_name(self._piece_id)
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
        return (SENTENCEPIECE_FILE, SIDECAR)

    def content_hash(self) -> str:
        return _hash_of(self.kind, self._model, self.extra_ids)

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


class HuggingFaceVocabulary(Vocabulary):
    """A `tokenizer.json` of the `tokenizers` library, with T5's names for the special tokens.

    Args:
        path: the file, or a directory holding `tokenizer.json`.

    Truncation, padding and the post-processor (which would add an eos) in the file are ignored.

    Raises:
        UserError: the `tokenizers` library is not installed, the file is missing or damaged, or it
            has no `<pad>`, `</s>` or `<unk>`.
    """

    kind = "huggingface"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        if path.is_dir():
            path = path / HUGGINGFACE_FILE
        self._file = _read_bytes(path)
        try:
            import tokenizers
        except ImportError as error:
            raise UserError(
                f"{path}: reading a tokenizer.json needs the `tokenizers` library; "
                "pip install 'distill-jax[hf]'"
            ) from error
        try:
            whole = tokenizers.Tokenizer.from_str(self._file.decode())
            added = json.loads(self._file).get("added_tokens") or []
            self._tokenizer = tokenizers.Tokenizer.from_str(_text_only(self._file))
        except Exception as error:  # the library raises bare Exception on a bad file
            raise UserError(
                f"{path}: not a tokenizer of the `tokenizers` library, or damaged ({error}); "
                "save it again from transformers"
            ) from error
        control: dict[str, int] = {}
        for name in ("<pad>", "</s>", "<unk>"):
            i = whole.token_to_id(name)
            if i is None:
                raise UserError(f"{path}: the tokenizer has no token {name}; use one of a T5 model")
            control[name] = i
        super().__init__(
            size=max(whole.get_vocab(with_added_tokens=True).values()) + 1,
            sentinel_ids=_sentinels_by_name(whole.token_to_id),
            pad_id=control["<pad>"],
            eos_id=control["</s>"],
            unk_id=control["<unk>"],
            other_special_ids=[token["id"] for token in added if token.get("special")],
        )

    @property
    def files(self) -> tuple[str, ...]:
        return (HUGGINGFACE_FILE, SIDECAR)

    def content_hash(self) -> str:
        return _hash_of(self.kind, self._file, 0)

    def save(self, directory: str | os.PathLike[str]) -> None:
        path = Path(directory) / HUGGINGFACE_FILE
        with atomic_write(path) as temporary:
            temporary.write_bytes(self._file)
        self._save_sidecar(path.parent, file=path.name)

    def _encode_text(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _decode_text(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text.strip()


class ByteVocabulary(Vocabulary):
    """UTF-8 bytes, with the ids of Hugging Face's `ByT5Tokenizer`.

    Byte b has id b + 3 and `<extra_id_n>` id 259 + n, for n below 125; 384 ids in all. No
    character is normalised or removed: only the empty string encodes to nothing.
    (ByT5 was pre-trained with the ids of high bytes as its sentinels; those stay text here, since a
    sentinel must never be mistaken for a part of a word.)
    """

    kind = "byte"
    OFFSET = 3
    SENTINELS = 125

    def __init__(self) -> None:
        first = self.OFFSET + 256
        super().__init__(
            size=first + self.SENTINELS, sentinel_ids=range(first, first + self.SENTINELS)
        )

    @property
    def files(self) -> tuple[str, ...]:
        return (SIDECAR,)

    def content_hash(self) -> str:
        return sha256_json({"kind": self.kind, "sentinels": self.SENTINELS})

    def save(self, directory: str | os.PathLike[str]) -> None:
        self._save_sidecar(Path(directory))

    def _encode_text(self, text: str) -> list[int]:
        return [byte + self.OFFSET for byte in text.encode()]

    def _decode_text(self, ids: list[int]) -> str:
        return bytes(i - self.OFFSET for i in ids).decode(errors="replace")


def load_vocabulary(path: str | os.PathLike[str]) -> Vocabulary:
    """The vocabulary at `path`.

    Args:
        path: `"byte"`; a `*.model` or `*.json` file; or a directory, in which `vocabulary.json`
            decides if there, else `spiece.model` is taken, else `tokenizer.json`, else the byte
            vocabulary if `tokenizer_config.json` names ByT5's tokenizer. Beside a `spiece.model`,
            `extra_ids` in `tokenizer_config.json` is respected.

    Raises:
        UserError: nothing of the kind is there, or it cannot be read.
    """
    if path == ByteVocabulary.kind:
        return ByteVocabulary()
    path = Path(path)
    if path.is_dir():
        return _load_directory(path)
    if not path.exists():
        raise UserError(f"{path}: no such vocabulary; give a directory, a *.model file or 'byte'")
    if path.suffix == ".model":
        return SentencePieceVocabulary(path, _extra_ids_beside(path))
    if path.suffix == ".json":
        return HuggingFaceVocabulary(path)
    raise UserError(
        f"{path}: unknown kind of vocabulary; give a directory, a *.model file, "
        "a tokenizer.json or 'byte'"
    )


def train_sentencepiece(
    texts: Iterable[str],
    size: int,
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    required: Iterable[str] = (),
    fold_case: bool = False,
    extra_ids: int = DEFAULT_EXTRA_IDS,
    character_coverage: float = 1.0,
    max_texts: int | None = None,
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
        seed: which texts are taken where there are more than `max_texts`.
        required: texts (a label set's, say) that are always part of the corpus and whose characters
            all get a piece, whatever `character_coverage` says.
        fold_case: whether the vocabulary ignores case, for small models that read text of both kinds.
        extra_ids: the number of sentinels.
        character_coverage: the share of the corpus' characters that must have a piece, 0.98 to 1.
        max_texts: train on a random sample of this many texts (all of them if None).

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
    if max_texts is not None and len(lines) > max_texts:
        chosen = np.random.default_rng(seed).choice(len(lines), max_texts, replace=False)
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
    if found := re.search(r"required_chars\. \d+ vs (\d+)", error):
        return (
            f"{file}: {size} pieces are too few for the text's characters; "
            f"ask for at least {found[1]}, or lower character_coverage"
        )
    if "sentences_.empty()" in error or "all_chars_count" in error:
        return f"{file}: the text to train a vocabulary on holds no words; give some sentences"
    return f"{file}: cannot train a vocabulary of {size} pieces ({error}); give more text"


def _clean_lines(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        for line in SENTINEL_PATTERN.sub(" ", _without_surrogates(text)).splitlines():
            # A NUL ends the line for the trainer.
            if line := " ".join(line.replace("\0", " ").split()):
                yield line


def _without_surrogates(text: str) -> str:
    """`text` with lone surrogates, which UTF-8 cannot hold, as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _sentinels_by_name(token_id: Any) -> list[int]:
    """The ids of `<extra_id_0>`, `<extra_id_1>`, … as far as the names run."""
    ids: list[int] = []
    while True:
        name = sentinel_name(len(ids))
        found = token_id(name)
        if found is None:
            found = token_id(_SPACE_MARK + name)  # so spelt in mT5's file
        if found is None:
            return ids
        ids.append(found)


def _text_only(file: bytes) -> str:
    """The `tokenizer.json` in `file`, changed so that text cannot reach its special tokens.

    As added tokens they would be cut out of the text, and as pieces of a unigram model they would
    be found in it. A piece holding a space is never found, since spaces are turned into `▁` first.
    """
    data = json.loads(file)
    added = data.get("added_tokens") or []
    special = {t["content"] for t in added if t.get("special")} | {"<pad>", "</s>", "<unk>"}

    def is_special(name: str) -> bool:
        bare = name.removeprefix(_SPACE_MARK)
        return name in special or SENTINEL_PATTERN.fullmatch(bare) is not None

    data["added_tokens"] = [token for token in added if not is_special(token["content"])]
    data["post_processor"] = data["truncation"] = data["padding"] = None
    model = data["model"]
    if isinstance(model.get("vocab"), list):  # a unigram model: [piece, score] in the order of ids
        model["vocab"] = [
            [f" {piece}" if is_special(piece) else piece, score] for piece, score in model["vocab"]
        ]
    return json.dumps(data)


def _load_directory(directory: Path) -> Vocabulary:
    sidecar = directory / SIDECAR
    if sidecar.exists():
        fields = _read_json(sidecar)
        match fields.get("kind"):
            case ByteVocabulary.kind:
                return ByteVocabulary()
            case HuggingFaceVocabulary.kind:
                return HuggingFaceVocabulary(directory / fields.get("file", HUGGINGFACE_FILE))
            case SentencePieceVocabulary.kind:
                file = directory / fields.get("file", SENTENCEPIECE_FILE)
                return SentencePieceVocabulary(file, _extra_ids_beside(file))
        raise UserError(
            f"{sidecar}: unknown kind {fields.get('kind')!r}; "
            "expected sentencepiece, huggingface or byte"
        )
    if (directory / SENTENCEPIECE_FILE).exists():
        file = directory / SENTENCEPIECE_FILE
        return SentencePieceVocabulary(file, _extra_ids_beside(file))
    if (directory / HUGGINGFACE_FILE).exists():
        return HuggingFaceVocabulary(directory)
    config = directory / "tokenizer_config.json"
    if config.exists() and "ByT5" in str(_read_json(config).get("tokenizer_class")):
        return ByteVocabulary()
    raise UserError(
        f"{directory}: no vocabulary here; expected {SENTENCEPIECE_FILE}, {HUGGINGFACE_FILE} "
        f"or {SIDECAR}"
    )


def _extra_ids_beside(model: Path) -> int:
    """The number of sentinels that the files beside a SentencePiece model state, or T5's."""
    sidecar, config = model.with_name(SIDECAR), model.with_name("tokenizer_config.json")
    extra_ids: Any = None
    if sidecar.exists():
        fields = _read_json(sidecar)
        # A sidecar speaks for one file; others in the folder are none of its business.
        if fields.get("file") == model.name:
            extra_ids = fields.get("extra_ids")
    if extra_ids is None and model.name == SENTENCEPIECE_FILE and config.exists():
        extra_ids = _read_json(config).get("extra_ids")
    if extra_ids is None:
        return DEFAULT_EXTRA_IDS
    if not isinstance(extra_ids, int) or isinstance(extra_ids, bool) or extra_ids < 0:
        raise UserError(
            f"{model.parent}: extra_ids is {extra_ids!r} in {SIDECAR} or {config.name}; "
            "it must be a number of sentinels"
        )
    return extra_ids


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); write it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object; write it again")
    return value


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot read the vocabulary file ({error.strerror}); check the path"
        ) from error


def _hash_of(kind: str, file: bytes, extra_ids: int) -> str:
    return sha256_json(
        {"kind": kind, "file": hashlib.sha256(file).hexdigest(), "extra_ids": extra_ids}
    )
