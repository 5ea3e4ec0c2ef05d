"""What every vocabulary of subwords or bytes does: text to ids and back.

The sentinels `<extra_id_n>` are looked up by name. Text never becomes a control id: whatever a word
looks like (`</s>`, `<pad>`, `<extra_id_5>`), `encode` returns ids of ordinary pieces or `unk_id`, so
sentinels in a sequence are those put there on purpose. Each kind says in its module how it keeps
that promise.

A directory written by `Vocabulary.save` holds, beside the vocabulary's own file, `vocabulary.json`:
`{"kind": …, "file": …, "extra_ids": …, "added_tokens": […]}`, which records the number of sentinels
appended to a SentencePiece model and the tokens added to it (if any), so that the directory loads as it
was.
"""

import abc
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from distill_jax.errors import UserError
from distill_jax.files import check_no_pointer, sha256_json, write_json
from distill_jax_runtime.subword_vocabulary import without_reserved, without_surrogates
from distill_jax_runtime.tokenizer_file import SPACE_MARK

VOCABULARY_FILE = "vocabulary.json"

UNKNOWN_TEXT = "⁇"


def sentinel_name(n: int) -> str:
    """The name of the n-th sentinel, as T5 writes it."""
    return f"<extra_id_{n}>"


class Vocabulary(abc.ABC):
    """Text to ids and back.

    Attributes:
        size: number of ids in use, sentinels included (a model may have more rows).
        pad_id, eos_id, unk_id: the control ids (0, 1 and 2 in T5's vocabularies).
        prefix_ids, suffix_ids: what an encoder was trained to read in front of a sequence and behind
            it: nothing and the eos in T5's vocabularies, `[CLS]` and `[SEP]` in BERT's.
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
        prefix_ids: Sequence[int] = (),
        suffix_ids: Sequence[int] | None = None,
        other_special_ids: Iterable[int] = (),
    ) -> None:
        self.size = size
        self.pad_id = pad_id
        self.eos_id = eos_id
        self.unk_id = unk_id
        self.prefix_ids = tuple(prefix_ids)
        self.suffix_ids = (eos_id,) if suffix_ids is None else tuple(suffix_ids)
        self.sentinel_ids: npt.NDArray[np.int32] = np.asarray(sentinel_ids, dtype=np.int32)
        self.sentinel_ids.flags.writeable = False
        self._sentinel_of_id = {int(i): n for n, i in enumerate(sentinel_ids)}
        control = [pad_id, eos_id, *self.prefix_ids, *self.suffix_ids]
        self._reserved = frozenset([*control, *sentinel_ids, *other_special_ids]) - {unk_id}

    @property
    def num_sentinels(self) -> int:
        """How many sentinels there are: a sentence of L words needs L + 1."""
        return len(self.sentinel_ids)

    def is_sentinel(self, token_id: int) -> bool:
        """Whether the id is a sentinel's."""
        return token_id in self._sentinel_of_id

    def text_ids(self) -> npt.NDArray[np.int32]:
        """The ids of which a text consists, ascending: no control ids, sentinels or `unk_id`."""
        reserved = self._reserved | {self.unk_id}
        return np.array([i for i in range(self.size) if i not in reserved], np.int32)

    def encode(self, text: str) -> list[int]:
        """The ids of `text` alone: no end-of-sequence, and never pad, eos or a sentinel.

        The list is empty for text that the vocabulary's normaliser removes entirely (the empty
        string, blanks, zero-width and most control characters). Lone surrogates count as U+FFFD.
        """
        ids = self._encode_text(without_surrogates(text))
        return without_reserved(ids, self._reserved, self.unk_id)

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
                parts.append(UNKNOWN_TEXT)
        parts += [self._decode_text(run)] if run else []
        return " ".join(part for part in parts if part)

    def portable(self) -> dict[str, Any] | None:
        """What an exported model is told of it, beside `files` (`distill_jax_runtime.subword_vocabulary`).

        None: the runtime has not the rules for it.
        """
        return {
            "kind": self.kind,
            "file": self.files[0],
            "pad_id": self.pad_id,
            "unk_id": self.unk_id,
            "prefix_ids": list(self.prefix_ids),
            "suffix_ids": list(self.suffix_ids),
            "reserved_ids": sorted(map(int, self._reserved)),
        }

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

    def transformers_config(self, max_tokens: int | None) -> dict[str, Any]:
        """The content of a `tokenizer_config.json`, by which transformers loads the vocabulary's files.

        Args:
            max_tokens: the longest sequence of the model; None: there is none.
        """
        return {} if max_tokens is None else {"model_max_length": max_tokens}

    @abc.abstractmethod
    def _encode_text(self, text: str) -> list[int]: ...

    @abc.abstractmethod
    def _decode_text(self, ids: list[int]) -> str:
        """The text of ordinary ids."""

    def _save_sidecar(self, directory: Path, **fields: Any) -> None:
        write_json(directory / VOCABULARY_FILE, {"kind": self.kind, **fields})


def sentinels_by_name(id_of_piece: Callable[[str], int | None]) -> list[int]:
    """The ids of `<extra_id_0>`, `<extra_id_1>`, … as far as the names run."""
    ids: list[int] = []
    while True:
        name = sentinel_name(len(ids))
        sentinel_id = id_of_piece(name)
        if sentinel_id is None:
            sentinel_id = id_of_piece(SPACE_MARK + name)  # so spelt in mT5's file
        if sentinel_id is None:
            return ids
        ids.append(sentinel_id)


def read_vocabulary_file(path: Path) -> bytes:
    """The bytes of a vocabulary's own file; `UserError` if it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot read the vocabulary file ({error.strerror}); check the path"
        ) from error
    check_no_pointer(path, content)
    return content


def hash_of_file(kind: str, file: bytes, extra_ids: int, added_tokens: Sequence[Any] = ()) -> str:
    """The `content_hash` of a vocabulary that the bytes of one file, its sentinels and added tokens
    decide."""
    facts: dict[str, Any] = {
        "kind": kind,
        "file": hashlib.sha256(file).hexdigest(),
        "extra_ids": extra_ids,
    }
    if added_tokens:
        facts["added_tokens"] = sorted(map(list, added_tokens))
    return sha256_json(facts)
