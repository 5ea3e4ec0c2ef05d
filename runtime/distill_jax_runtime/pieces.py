"""The pieces of a word, encoded alone, and no more of them than a model reads."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

_CACHED_WORDS = 1 << 18
_CACHED_CHARACTERS = 1 << 22
"""Of all cached words: a server is sent what it is sent."""


class Subwords(Protocol):
    """A vocabulary of subwords or bytes, as far as tagging needs one.

    Attributes:
        pad_id, unk_id: padding, and what stands for the unknown.
        prefix_ids, suffix_ids: what stands in front of a sequence and behind it.
    """

    pad_id: int
    unk_id: int
    prefix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]

    def encode(self, text: str) -> list[int]:
        """The ids of a text alone, none of them a control id; empty for one that is reduced to nothing."""


class TruncatedWord(NamedTuple):
    """A word of a sentence, from 0, of whose `pieces` only the first `read` are read."""

    position: int
    pieces: int
    read: int


class WordPieces:
    """Encodes words one by one, and cuts those of more than `limit` pieces (None: no word is cut).

    One piece stays of any word: where it does not fit, `windows` says so.
    """

    def __init__(self, vocabulary: Subwords, limit: int | None = None) -> None:
        self._vocabulary = vocabulary
        self._limit = None if limit is None else max(limit, 1)
        self._words: dict[str, tuple[int, ...]] = {}
        self._characters = 0

    def of(self, word: str) -> tuple[int, ...]:
        """The ids of one word; `(unk_id,)` for one that the vocabulary reduces to nothing."""
        ids = self._words.get(word)
        if ids is None:
            ids = tuple(self._vocabulary.encode(word)[: self._limit]) or (self._vocabulary.unk_id,)
            self._characters += len(word)
            if len(self._words) >= _CACHED_WORDS or self._characters > _CACHED_CHARACTERS:
                # Rare, and simpler and faster than tracking what was used last.
                self._words.clear()
                self._characters = len(word)
            self._words[word] = ids
        return ids

    def truncated(self, words: Sequence[str]) -> tuple[TruncatedWord, ...]:
        """Which words of a sentence are cut."""
        if self._limit is None:
            return ()
        as_long = [i for i, word in enumerate(words) if len(self.of(word)) == self._limit]
        found = (
            TruncatedWord(i, len(self._vocabulary.encode(words[i])), self._limit) for i in as_long
        )
        return tuple(word for word in found if word.pieces > word.read)
