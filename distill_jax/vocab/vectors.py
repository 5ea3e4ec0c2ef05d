"""Word embeddings made elsewhere: what of a file's vectors a tagger starts from and looks words up in."""

import dataclasses
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from distill_jax.vocab.vector_files import VectorBlock, VectorFile
from distill_jax.vocab.words import NUM_SPECIAL_IDS, PAD_ID, WordVocabulary


@dataclasses.dataclass(frozen=True)
class WordTable:
    """Words and their vectors.

    Attributes:
        rows: word → row of `vectors`, in the order of the rows.
        vectors: float32[len(rows), dim].
        num_first: how many of the rows are of a file's first words, however many were asked for; those of
            other words, which were wanted by name, follow.
        content_hash: of the file.
    """

    rows: Mapping[str, int]
    vectors: np.ndarray
    num_first: int
    content_hash: str

    @property
    def first(self) -> Mapping[str, int]:
        """The first words, with their rows."""
        if self.num_first == len(self.rows):
            return self.rows
        return dict(list(self.rows.items())[: self.num_first])

    def embeddings(self, vocabulary: WordVocabulary, rng: np.random.Generator) -> np.ndarray:
        """The rows that a vocabulary's own words start from, float32[vocabulary.num_words, dim].

        A word of a cased vocabulary that the table lacks takes the vector of its lower-case form. What is
        missing then too, and the unknown word, is drawn from U(-√(3/dim), √(3/dim)); the draw
        does not depend on the table. Padding is zero.
        """
        dim = self.vectors.shape[1]
        bound = math.sqrt(3 / dim)
        embeddings = rng.uniform(-bound, bound, (vocabulary.num_words, dim)).astype(np.float32)
        embeddings[PAD_ID] = 0
        for word_id, word in enumerate(vocabulary.words, start=NUM_SPECIAL_IDS):
            row = self.rows.get(word, self.rows.get(word.lower()))
            if row is not None:
                embeddings[word_id] = self.vectors[row]
        return embeddings


def read_word_vectors(
    path: str | os.PathLike[str],
    dim: int,
    *,
    lowercase: bool = True,
    first: int | None = None,
    wanted: Collection[str] = (),
) -> WordTable:
    """Reads a file of word vectors (`vector_files` has the formats), keeping no more of it than is asked for.

    If a word is there twice, its first vector counts. In lower case a vector spelt so goes before one of
    another spelling (`us` before `US`), wherever both stand; of several other spellings the first counts.

    Args:
        path: the file.
        dim: numbers a word.
        lowercase: put the file's words in lower case.
        first: keep so many of the file's words, from the first on; None: all.
        wanted: words, as they are looked up, that are kept wherever they stand.

    Raises:
        UserError: naming file and line, if any of the file is malformed, wanted or not.
    """
    file = VectorFile(path, dim)
    keeper = _Keeper(dim, lowercase, wanted)
    for block in file:
        keeper.add(block, first)
    return WordTable(keeper.rows, keeper.vectors(), keeper.num_first, file.content_hash)


class _Keeper:
    """Collects the vectors that are kept."""

    def __init__(self, dim: int, lowercase: bool, wanted: Collection[str]) -> None:
        self.rows: dict[str, int] = {}
        self.num_first = 0
        self._lowercase = lowercase
        self._wanted = frozenset(wanted)
        self._respelt: set[str] = set()  # words whose vector is that of another spelling
        self._vectors = np.empty((1024, dim), np.float32)
        self._read = 0

    def add(self, block: VectorBlock, first: int | None) -> None:
        """Takes what is to be kept of a block."""
        chosen: list[int] = []
        targets: list[int] = []
        for place, (word, key) in enumerate(self._keys(block.words)):
            row = self.rows.get(key)
            if row is None:
                among_first = first is None or self._read + place < first
                if not among_first and key not in self._wanted:
                    continue
                row = self.rows[key] = len(self.rows)
                self.num_first += among_first
                if word != key:
                    self._respelt.add(key)
            elif word == key and key in self._respelt:
                self._respelt.discard(key)
            else:
                continue
            chosen.append(place)
            targets.append(row)
        self._read += len(block.words)
        if len(self.rows) > len(self._vectors):
            size = max(len(self.rows), len(self._vectors) * 3 // 2)
            self._vectors.resize((size, self._vectors.shape[1]), refcheck=False)
        # Of two vectors for one row the later is assigned last.
        self._vectors[targets] = block.vectors[chosen]

    def _keys(self, words: Iterable[str]) -> Iterator[tuple[str, str]]:
        for word in words:
            yield word, word.lower() if self._lowercase else word

    def vectors(self) -> np.ndarray:
        """Those kept, without copying them."""
        self._vectors.resize((len(self.rows), self._vectors.shape[1]), refcheck=False)
        return self._vectors


class Coverage(NamedTuple):
    """Of how many different words there are vectors.

    `trained` words have rows of their own, `started` of them from the file; of a dev split's `dev` words so
    many are trained, in the file alone, or in neither.
    """

    trained: int
    started: int
    dev: int
    dev_trained: int
    dev_frozen: int

    def __str__(self) -> str:
        unknown = self.dev - self.dev_trained - self.dev_frozen
        return (
            f"word vectors: {self.started:,} of {self.trained:,} trained words start from the file; of "
            f"{self.dev:,} dev words {self.dev_trained:,} are trained, {self.dev_frozen:,} in the file "
            f"alone, {unknown:,} unknown"
        )


def coverage(
    table: WordTable, vocabulary: WordVocabulary, dev: Iterable[Sequence[str]]
) -> Coverage:
    """Counts, over the words of dev sentences as they are looked up."""
    ids = {word: vocabulary.word_id(word) for words in dev for word in words}
    distinct = {vocabulary.normalised(word): word_id for word, word_id in ids.items()}
    frozen = sum(word_id >= vocabulary.num_words for word_id in distinct.values())
    known = sum(word_id >= NUM_SPECIAL_IDS for word_id in distinct.values())
    started = sum(word in table.rows or word.lower() in table.rows for word in vocabulary.words)
    return Coverage(len(vocabulary.words), started, len(distinct), known - frozen, frozen)
