"""Where a BiLSTM's word embeddings start: a file's vectors, a teacher's subwords, or plain text.

A file has more to give than a start: the words that training does not have. They are the rows of a frozen
table (`models.bilstm`), so that a word of which only the file knows is not unknown at prediction. Training
meets training words alone and is the same with the table and without it; what tags the dev split,
and what leaves the run, has the table.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from distill_jax.configuration import setting
from distill_jax.data.cooccurrence import cooccurrence_vectors
from distill_jax.errors import UserError
from distill_jax.kinds.base import Checkpoint, Resources, TaskNames
from distill_jax.models.bilstm import with_frozen_embedding
from distill_jax.models.reduction import truncated_svd
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.vocab import NUM_SPECIAL_IDS, Vocabulary, WordTable, WordVocabulary

_DTYPES = ("float32", "float16")
_TEXT_NORM = 5.0
"""Length of a word's vector from text, about that of GloVe's; shorter ones are learnt from more slowly."""


@dataclasses.dataclass(frozen=True)
class WordVectors:
    """One source of word vectors, or none (random ones).

    Attributes:
        file: of GloVe, word2vec or fastText (`vocab.vector_files`); its width must be that of the model.
        words: how many of the file's words, from the first on, are known at prediction although they were
            not in training; None: all.
        dtype: in which the vectors of these words are kept.
        teacher: the directory of a model, whose token embedding is reduced to the model's width by SVD.
        text: tasks from whose training sentences the vectors are made: words that stand in the
            same places begin alike (`data.cooccurrence`).

    Raises:
        UserError: there are several sources, or `words` or `dtype` make no sense.
    """

    file: str | None = setting(None, macro="EMBEDDING_FILE")
    words: int | None = setting(None, macro="EMBEDDING_WORDS")
    dtype: Literal["float32", "float16"] = setting("float32", macro="EMBEDDING_DTYPE")
    teacher: str | None = setting(None, macro="TEACHER_EMBEDDING")
    text: TaskNames | None = setting(None, macro="EMBEDDING_TEXT")

    def __post_init__(self) -> None:
        if sum(source is not None for source in (self.file, self.teacher, self.text)) > 1:
            raise UserError(
                "word vectors can start from one of EMBEDDING_FILE, TEACHER_EMBEDDING and "
                "EMBEDDING_TEXT only; leave the others out"
            )

        if self.words is not None and self.words < 0:
            raise UserError(f"EMBEDDING_WORDS is {self.words}; it must not be negative")
        if self.dtype not in _DTYPES:
            raise UserError(
                f"EMBEDDING_DTYPE is {self.dtype!r}; it must be one of {', '.join(_DTYPES)}"
            )

    def table(
        self, vocabularies: Sequence[WordVocabulary], dim: int, resources: Resources
    ) -> WordTable | None:
        """What the file has for students of these vocabularies, which are all in lower case or all not.

        None where there is no file. Raises `UserError` if anything in the file is malformed.
        """
        if self.file is None:
            return None
        spellings = {word for vocabulary in vocabularies for word in vocabulary.words}
        return resources.word_vectors(
            self.file,
            dim,
            lowercase=vocabularies[0].lowercase,
            first=self.words,
            wanted=spellings | {word.lower() for word in spellings},
        )

    def start(
        self,
        vocabulary: WordVocabulary,
        dim: int,
        resources: Resources,
        seed: int,
        table: WordTable | None = None,
    ) -> Callable[[], np.ndarray] | None:
        """A function that makes the embeddings float32[vocabulary.num_words, dim]; None: random
        ones will do. `table` is that of the file, where there is one."""
        teacher, text = self.teacher, self.text
        if text is not None:
            return lambda: text_embedding(resources, text, vocabulary, dim, seed)
        if table is not None:
            return lambda: table.embeddings(vocabulary, np.random.default_rng(seed))
        if teacher is not None:
            checkpoint = resources.checkpoint(teacher)
            return lambda: reduced_teacher_embedding(checkpoint, vocabulary, dim)
        return None

    def frozen(self, table: WordTable | None) -> "FrozenWords":
        """The frozen words of a file's table.

        Raises `UserError` if a number is too large for their dtype.
        """
        if table is None:
            return NO_FROZEN_WORDS
        with np.errstate(over="ignore"):
            vectors = table.vectors[: table.num_first].astype(self.dtype, copy=False)
        if not np.isfinite(vectors).all():
            raise UserError(
                f"{self.file}: holds a number that is too large for {self.dtype}; use "
                "EMBEDDING_DTYPE='float32'"
            )
        return FrozenWords(table.first, vectors)


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenWords:
    """Words whose vectors are not trained: `rows` says which row of `vectors` is whose.

    Any number of students may have the same, whatever words they are trained on.
    """

    rows: Mapping[str, int]
    vectors: np.ndarray | jax.Array

    def added(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters of the model that predicts: those of the one that is trained, with the table."""
        return with_frozen_embedding(params, self.vectors) if self.rows else params

    def of(self, words: Collection[str]) -> "FrozenWords":
        """Those of them that are among `words`, with their vectors alone."""
        kept = [word for word in sorted(words) if word in self.rows]
        vectors = self.vectors[[self.rows[word] for word in kept]]
        return FrozenWords({word: row for row, word in enumerate(kept)}, vectors)

    def on_device(self) -> "FrozenWords":
        """With the vectors on the device, for a model that predicts again and again."""
        return dataclasses.replace(self, vectors=jnp.asarray(self.vectors))


NO_FROZEN_WORDS = FrozenWords({}, np.zeros((0, 0), np.float32))


def text_embedding(
    resources: Resources, tasks: TaskNames, vocabulary: WordVocabulary, dim: int, seed: int
) -> np.ndarray:
    """Vectors from the company that words keep; words too rare for one are drawn around zero."""
    sequences = (
        vocabulary.encode(sentence.words, 1)[0].tolist() for sentence in resources.sentences(tasks)
    )
    vectors = cooccurrence_vectors(sequences, vocabulary.num_words, dim)
    rare = ~vectors.any(axis=1)
    drawn = np.random.default_rng(seed).normal(0.0, dim**-0.5, (int(rare.sum()), dim))
    vectors[rare] = drawn / _TEXT_NORM
    vectors[:NUM_SPECIAL_IDS] = 0
    return _TEXT_NORM * vectors


def reduced_teacher_embedding(
    checkpoint: Checkpoint, vocabulary: WordVocabulary, dim: int
) -> np.ndarray:
    """A model's token embedding as word embeddings of fewer dimensions.

    A word's vector is the mean of its subwords' rows (the word as it stands in `vocabulary`, so in lower case
    where that is); all words' vectors are reduced to `dim` dimensions by truncated SVD, and scaled
    by one number so that their mean squared norm is 1, as that of random embeddings is. Padding and
    unknown are zero, as are dimensions beyond the rank of the words' vectors.

    Args:
        checkpoint: of a model of subwords, with its vocabulary.
        vocabulary: whose words get a row each.
        dim: the width.

    Returns:
        float32[vocabulary.num_words, dim].

    Raises:
        UserError: the checkpoint has no vocabulary of subwords.
    """
    teachers = checkpoint.vocabulary()
    if not isinstance(teachers, Vocabulary):
        raise UserError(
            "TEACHER_EMBEDDING names a model with a vocabulary of words; give one of subwords, a T5 say"
        )
    embedding_VxD = checkpoint.embedding()
    subwords = SubwordFormat(teachers)
    reduced = np.zeros((vocabulary.num_words, dim), np.float32)
    if not vocabulary.words:
        return reduced
    means_NxD = np.stack(
        [
            embedding_VxD[list(subwords.word_token_ids(word))].mean(axis=0)
            for word in vocabulary.words
        ]
    )
    coordinates, _ = truncated_svd(means_NxD, dim)
    norm = np.sqrt(np.square(coordinates).sum(axis=1).mean())
    reduced[NUM_SPECIAL_IDS:, : coordinates.shape[1]] = coordinates / (norm or 1.0)
    return reduced
