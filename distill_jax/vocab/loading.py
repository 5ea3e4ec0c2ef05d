"""Which kind of vocabulary is at a path, and that vocabulary."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.files import read_json_object
from distill_jax.vocab.added_tokens import (
    TOKENIZER_CONFIG,
    AddedToken,
    added_tokens_beside,
    tokens_of_json,
)
from distill_jax.vocab.base import VOCABULARY_FILE, Vocabulary
from distill_jax.vocab.byte import ByteVocabulary
from distill_jax.vocab.huggingface import HUGGINGFACE_FILE, HuggingFaceVocabulary
from distill_jax.vocab.sentencepiece import (
    DEFAULT_EXTRA_IDS,
    SENTENCEPIECE_FILE,
    SentencePieceVocabulary,
)
from distill_jax.vocab.wordpiece import WORDPIECE_FILE, wordpiece_tokenizer

_BESIDE = (VOCABULARY_FILE, SENTENCEPIECE_FILE, HUGGINGFACE_FILE)
_BYTE_ROWS = 384  # of every ByT5


def load_vocabulary(path: str | os.PathLike[str]) -> Vocabulary:
    """The vocabulary at `path`.

    Args:
        path: `"byte"`; a `*.model` or `*.json` file; or a directory, in which `vocabulary.json`
            decides if there, else `spiece.model` is taken, else `tokenizer.json`, else BERT's
            `vocab.txt`, else the byte vocabulary if `tokenizer_config.json` names ByT5's tokenizer.
            Beside a `spiece.model`, `extra_ids` in `tokenizer_config.json` and the tokens that
            transformers' files add (`distill_jax.vocab.added_tokens`) are respected.

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
        return _sentencepiece(path)
    if path.suffix == ".json":
        return HuggingFaceVocabulary(path)
    raise UserError(
        f"{path}: unknown kind of vocabulary; give a directory, a *.model file, "
        "a tokenizer.json or 'byte'"
    )


def vocabulary_beside(
    directories: Sequence[os.PathLike[str]], rows: int, remedy: str
) -> Vocabulary:
    """The vocabulary in the first of some directories that has one; bytes for ByT5's number of rows.

    Args:
        directories: where it may lie, most likely first; the first is named in the message.
        rows: of the model's embedding.
        remedy: what to do if there is none; ends the message.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    for directory in directories:
        if any((Path(directory) / file).exists() for file in _BESIDE):
            return load_vocabulary(directory)
    if rows == _BYTE_ROWS:
        return ByteVocabulary()
    raise UserError(
        f"{os.fspath(directories[0])}: has no vocabulary ({SENTENCEPIECE_FILE} or {HUGGINGFACE_FILE}); "
        f"{remedy}"
    )


def _load_directory(directory: Path) -> Vocabulary:
    sidecar = directory / VOCABULARY_FILE
    if sidecar.exists():
        fields = _read_facts(sidecar)
        match fields.get("kind"):
            case ByteVocabulary.kind:
                return ByteVocabulary()
            case HuggingFaceVocabulary.kind:
                return HuggingFaceVocabulary(directory / fields.get("file", HUGGINGFACE_FILE))
            case SentencePieceVocabulary.kind:
                return _sentencepiece(directory / fields.get("file", SENTENCEPIECE_FILE))
        raise UserError(
            f"{sidecar}: unknown kind {fields.get('kind')!r}; "
            "expected sentencepiece, huggingface or byte"
        )
    if (directory / SENTENCEPIECE_FILE).exists():
        return _sentencepiece(directory / SENTENCEPIECE_FILE)
    if (directory / HUGGINGFACE_FILE).exists():
        return HuggingFaceVocabulary(directory)
    if (directory / WORDPIECE_FILE).exists():
        return HuggingFaceVocabulary(directory / WORDPIECE_FILE, wordpiece_tokenizer(directory))
    config = directory / "tokenizer_config.json"
    if config.exists() and "ByT5" in str(_read_facts(config).get("tokenizer_class")):
        return ByteVocabulary()
    raise UserError(
        f"{directory}: no vocabulary here; expected {SENTENCEPIECE_FILE}, {HUGGINGFACE_FILE}, "
        f"{WORDPIECE_FILE} or {VOCABULARY_FILE}; copy the tokenizer's files there"
    )


def _sentencepiece(model: Path) -> SentencePieceVocabulary:
    """A SentencePiece model with the sentinels and added tokens that the files beside it state."""
    sidecar, config = model.with_name(VOCABULARY_FILE), model.with_name(TOKENIZER_CONFIG)
    fields = _read_facts(sidecar) if sidecar.exists() else {}
    added: Sequence[AddedToken] = ()
    # A sidecar speaks for one file, and for all of it; others in the folder are none of its business.
    if fields.get("file") == model.name:
        added = tokens_of_json(fields.get("added_tokens", []), sidecar)
    else:
        fields = {}
        if model.name == SENTENCEPIECE_FILE:
            added = added_tokens_beside(model)
    extra_ids = fields.get("extra_ids")
    if extra_ids is None and model.name == SENTENCEPIECE_FILE and config.exists():
        extra_ids = _read_facts(config).get("extra_ids")
    if extra_ids is None:
        extra_ids = DEFAULT_EXTRA_IDS
    if not isinstance(extra_ids, int) or isinstance(extra_ids, bool) or extra_ids < 0:
        raise UserError(
            f"{model.parent}: extra_ids is {extra_ids!r} in {VOCABULARY_FILE} or {config.name}; "
            "it must be a number of sentinels"
        )
    return SentencePieceVocabulary(model, extra_ids, added)


def _read_facts(path: Path) -> dict[str, Any]:
    return read_json_object(path, "write it again", absent="check the path")
