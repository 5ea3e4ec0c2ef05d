"""What the embedding of a T5 with random weights starts from: text, word vectors, or a model's embedding.

Vectors become as long as random ones are on average; tokens that have none, sentinels among them, keep
what they have.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from distill_jax.configuration import setting
from distill_jax.data.cooccurrence import cooccurrence_vectors
from distill_jax.errors import UserError
from distill_jax.kinds.base import Checkpoint, Resources, TaskNames
from distill_jax.models.reduction import truncated_svd
from distill_jax.models.t5_config import T5Config
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.tagging import Sentence
from distill_jax.vocab import Vocabulary

_DECOMPOSED = 30_000
"""Words from which the directions of a reduction are taken: a decomposition of many more takes long."""


@dataclasses.dataclass(frozen=True)
class TokenVectors:
    """One source of the vectors that tokens start from, or none (random ones).

    Attributes:
        text: tasks from whose training sentences they are made: tokens that stand in the same places
            begin alike (`data.cooccurrence`); with `teacher`, whose words are looked up there.
        file: of GloVe, word2vec or fastText (`vocab.vector_files`).
        dim: numbers a word in that file; None: as many as the model is wide.
        words: how many of the file's words count, from the first on; None: all.
        teacher: the directory of a model of subwords, whose token embedding is reduced by SVD.

    Raises:
        UserError: there are several sources, or numbers make no sense.
    """

    text: TaskNames | None = setting(None, macro="EMBEDDING_TEXT")
    file: str | None = setting(None, macro="EMBEDDING_FILE")
    dim: int | None = setting(None, macro="EMBEDDING_DIM")
    words: int | None = setting(100_000, macro="EMBEDDING_WORDS")
    teacher: str | None = setting(None, macro="TEACHER_EMBEDDING")

    def __post_init__(self) -> None:
        if self.file is not None and (self.text is not None or self.teacher is not None):
            other = "EMBEDDING_TEXT" if self.teacher is None else "TEACHER_EMBEDDING"
            raise UserError(
                f"the embedding of a T5 can start from one of EMBEDDING_FILE and {other} only; leave the "
                f"other out ({other}=None)"
            )
        if self.teacher is not None and self.text is None:
            raise UserError(
                "TEACHER_EMBEDDING of a T5 is looked up for the words of a text; give EMBEDDING_TEXT"
            )
        # Without a file, what may be said of students' vectors is of no meaning here.
        for name, value in (("EMBEDDING_WORDS", self.words), ("EMBEDDING_DIM", self.dim)):
            if self.file is not None and value is not None and value < 1:
                raise UserError(f"{name} is {value}; it must be at least 1")

    @property
    def source(self) -> str | None:
        """The macro of the source there is."""
        given: dict[str, Any] = {
            "EMBEDDING_FILE": self.file,
            "TEACHER_EMBEDDING": self.teacher,
            "EMBEDDING_TEXT": self.text,
        }
        return next((name for name, value in given.items() if value is not None), None)

    def vectors(
        self, config: T5Config, vocabulary: Vocabulary, resources: Resources
    ) -> Callable[[], np.ndarray] | None:
        """A function that makes float32[vocab_size, d_model], unit vectors or zeros; None: there are none.

        Raises `UserError` if the file is malformed, or the teacher has no vocabulary of subwords.
        """
        if self.file is not None:
            table = resources.word_vectors(
                self.file,
                self.dim or config.d_model,
                lowercase=False,
                first=self.words,
                wanted=(),
            )
            return lambda: vectors_of_words(table.rows, table.vectors, vocabulary, config)
        if self.text is None:
            return None
        text = self.text
        if self.teacher is None:
            return lambda: text_vectors(resources.sentences(text), vocabulary, config)
        checkpoint = resources.checkpoint(self.teacher)
        theirs = checkpoint.vocabulary()
        if not isinstance(theirs, Vocabulary):
            raise UserError(
                f"{self.teacher}: has a vocabulary of words; TEACHER_EMBEDDING of a T5 needs one of subwords"
            )

        def of_teacher() -> np.ndarray:
            counts = Counter(word for s in resources.sentences(text) for word in s.words)
            rows = {word: row for row, (word, _) in enumerate(counts.most_common())}
            vectors = _means(checkpoint, theirs, rows)
            return vectors_of_words(rows, vectors, vocabulary, config)

        return of_teacher


def text_vectors(
    sentences: Iterable[Sentence], vocabulary: Vocabulary, config: T5Config
) -> np.ndarray:
    """float32[vocab_size, d_model]: tokens that stand in the same places begin alike."""
    subwords = SubwordFormat(vocabulary)
    sequences = (
        [token for word in sentence.words for token in subwords.word_token_ids(word)]
        for sentence in sentences
    )
    return cooccurrence_vectors(sequences, config.vocab_size, config.d_model)


def vectors_of_words(
    rows: Mapping[str, int], vectors_NxD: np.ndarray, vocabulary: Vocabulary, config: T5Config
) -> np.ndarray:
    """float32[vocab_size, d_model] of the vectors of words, the most frequent first.

    A token that is a word has the word's vector, any other the mean of those of the words that it is part of;
    each is of length 1. Vectors wider than the model are reduced by SVD, narrower ones end in zeros.
    """
    subwords = SubwordFormat(vocabulary)
    if vectors_NxD.shape[1] > config.d_model:
        # Directions of the largest variance of many words: of all, the decomposition takes long.
        _, directions = truncated_svd(vectors_NxD[:_DECOMPOSED], config.d_model)
        vectors_NxD = vectors_NxD @ directions.T.astype(np.float32)
    width = vectors_NxD.shape[1]
    own = np.zeros((config.vocab_size, width), np.float32)
    parts, counts = np.zeros_like(own), np.zeros(config.vocab_size, np.int64)
    for word, row in rows.items():
        ids = list(subwords.word_token_ids(word))
        if len(ids) == 1 and ids[0] != vocabulary.unk_id:
            # Words that the vocabulary takes for one and the same: the first counts, the most frequent.
            if not own[ids[0]].any():
                own[ids[0]] = vectors_NxD[row]
        else:
            np.add.at(parts, ids, vectors_NxD[row])
            np.add.at(counts, ids, 1)
    counts[vocabulary.unk_id] = 0
    means = np.where(counts[:, None] > 0, parts / np.maximum(counts, 1)[:, None], 0.0)
    chosen = np.where(own.any(axis=1, keepdims=True), own, means)
    norms = np.linalg.norm(chosen, axis=1, keepdims=True)
    result = np.zeros((config.vocab_size, config.d_model), np.float32)
    result[:, :width] = chosen / np.where(norms > 0, norms, 1.0)
    return result


def _means(checkpoint: Checkpoint, theirs: Vocabulary, words: Iterable[str]) -> np.ndarray:
    """For each word the mean of its subwords' rows in a model's embedding."""
    embedding_VxD, subwords = checkpoint.embedding(), SubwordFormat(theirs)
    means = [embedding_VxD[list(subwords.word_token_ids(word))].mean(axis=0) for word in words]
    return np.stack(means)


def with_token_vectors(params: Any, config: T5Config, vectors_VxD: np.ndarray) -> Any:
    """T5 parameters whose tokens begin with these unit vectors; rows of zeros are left as they are."""
    embedding = np.array(params["token_embedder"]["embedding"])
    known = vectors_VxD.any(axis=1)
    embedding[known] = vectors_VxD[known] * math.sqrt(config.d_model) * embedding.std()
    return {**params, "token_embedder": {"embedding": embedding}}
