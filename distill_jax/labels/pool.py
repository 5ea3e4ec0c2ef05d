"""The sentences that a teacher labels: read anew for every pass, and never held together.

A pool of millions costs a byte a sentence, and 16 more while its duplicates are looked for. Words are
compared by a hash of 128 bits (BLAKE2b): that any two of a trillion sentences share one by chance has
a probability of 1e-15.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from distill_jax.data.chunks import chunks
from distill_jax.errors import UserError
from distill_jax.tagging import Sentence

BLOCK = 2048
"""So many sentences are in memory at a time."""


class Pool:
    """Sentences that can be gone through again and again, in one order.

    They are read once on the call, to learn how many there are. Later passes compare what they
    read with that, block by block, before they give any of it.

    Attributes:
        content_hash: SHA-256 (hex) of the list of example ids.
        empty, duplicates: how many sentences were left out for having no words, or those of an
            earlier one.
    """

    def __init__(self, read: Callable[[], Iterable[Sentence]], *, once: bool = True) -> None:
        """`read` begins at the first sentence whenever it is called; `once` leaves sentences without
        words out, and those that occur before.
        """
        self.empty = self.duplicates = self._length = 0
        self._read = read
        self._known: list[_Block] = []
        self.content_hash = hash_of_ids(sentence.example_id for sentence in self._survey(once))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Sentence]:
        """Raises `UserError` where other sentences are read than the first time."""
        known = iter(self._known)
        for sentences in chunks(self._read(), BLOCK):
            block = next(known, None)
            if block is None or block.digest != _digest(_hashes(sentences)):
                raise _changed()
            yield from itertools.compress(sentences, block.kept)
        if next(known, None) is not None:
            raise _changed()

    def _survey(self, once: bool) -> Iterator[Sentence]:
        seen = SeenHashes()
        for sentences in chunks(self._read(), BLOCK):
            hashes = _hashes(sentences)
            kept = np.ones(len(sentences), bool)
            if once:
                has_words = np.array([bool(sentence.words) for sentence in sentences])
                kept = seen.add(hashes) & has_words
                self.empty += int((~has_words).sum())
                self.duplicates += int((has_words & ~kept).sum())
            self._known.append(_Block(_digest(hashes), kept))
            self._length += int(kept.sum())
            yield from itertools.compress(sentences, kept)


class SeenHashes:
    """A set of hashes (bytes of one length), in arrays: 16 bytes each and no Python object.

    Sorted arrays, each at least twice as long as the one after it.
    """

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []

    def add(self, hashes: np.ndarray) -> np.ndarray:
        """Adds hashes, S[n]; bool[n]: which were not there, of equal ones the first."""
        distinct, first = np.unique(hashes, return_index=True)
        known = ~self.lacks(distinct)
        new = np.zeros(len(hashes), bool)
        new[first[~known]] = True
        added = distinct[~known]
        while self._arrays and len(self._arrays[-1]) < 2 * len(added):
            added = np.concatenate([self._arrays.pop(), added])
            added.sort()
        if len(added):
            self._arrays.append(added)
        return new

    def lacks(self, hashes: np.ndarray) -> np.ndarray:
        """bool[n]: which of these hashes, S[n], are not there."""
        known = np.zeros(len(hashes), bool)
        for array in self._arrays:
            places = np.searchsorted(array, hashes)
            known |= array[np.minimum(places, len(array) - 1)] == hashes
        return ~known


def hash_of_ids(example_ids: Iterable[str]) -> str:
    """SHA-256 (hex) of ids as a JSON list, as `files.sha256_json` gives it, one id at a time."""
    digest = hashlib.sha256(b"[")
    for number, example_id in enumerate(example_ids):
        digest.update(f'{"," if number else ""}"{example_id}"'.encode())
    digest.update(b"]")
    return digest.hexdigest()


class _Block(NamedTuple):
    """What the first pass learnt of a block."""

    digest: bytes
    kept: np.ndarray


def _hashes(sentences: Sequence[Sentence]) -> np.ndarray:
    """S16[n]: of the words, whose `repr` no other words have."""
    digests = [
        hashlib.blake2b(repr(sentence.words).encode(), digest_size=16).digest()
        for sentence in sentences
    ]
    return np.array(digests, "S16")


def _digest(hashes: np.ndarray) -> bytes:
    return hashlib.blake2b(hashes.tobytes(), digest_size=16).digest()


def _changed() -> UserError:
    return UserError(
        "the input has changed since the command began and read it for the first time; run the command "
        "again, with --output of another name unless the input is as it was"
    )
