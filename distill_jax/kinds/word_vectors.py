"""Where a BiLSTM's word embeddings start: a file's vectors, a teacher's subwords, or plain text."""

import dataclasses
from collections.abc import Callable

import numpy as np

from distill_jax.configuration import setting
from distill_jax.data.cooccurrence import cooccurrence_vectors
from distill_jax.errors import UserError
from distill_jax.kinds.base import Checkpoint, Resources, TaskNames
from distill_jax.models.reduction import truncated_svd
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.vocab import NUM_SPECIAL_IDS, Vocabulary, WordVocabulary, load_glove

_TEXT_NORM = 5.0
"""Length of a word's vector from text, about that of GloVe's; shorter ones are learnt from more slowly."""


@dataclasses.dataclass(frozen=True)
class WordVectors:
    """One source of word vectors, or none (random ones).

    Attributes:
        file: in GloVe's text format; its width must be that of the model.
        teacher: the directory of a model, whose token embedding is reduced to the model's width by SVD.
        text: tasks from whose training sentences the vectors are made: words that stand in the
            same places begin alike (`data.cooccurrence`).

    Raises:
        UserError: there are several sources.
    """

    file: str | None = setting(None, macro="EMBEDDING_FILE")
    teacher: str | None = setting(None, macro="TEACHER_EMBEDDING")
    text: TaskNames | None = setting(None, macro="EMBEDDING_TEXT")

    def __post_init__(self) -> None:
        if sum(source is not None for source in (self.file, self.teacher, self.text)) > 1:
            raise UserError(
                "word vectors can start from one of EMBEDDING_FILE, TEACHER_EMBEDDING and "
                "EMBEDDING_TEXT only; leave the others out"
            )

    def start(
        self, vocabulary: WordVocabulary, dim: int, resources: Resources, seed: int
    ) -> Callable[[], np.ndarray] | None:
        """A function that makes the embeddings float32[vocabulary.num_words, dim]; None: random
        ones will do."""
        file, teacher, text = self.file, self.teacher, self.text
        if text is not None:
            return lambda: text_embedding(resources, text, vocabulary, dim, seed)
        if file is not None:
            return lambda: load_glove(file, vocabulary, dim, np.random.default_rng(seed))
        if teacher is not None:
            checkpoint = resources.checkpoint(teacher)
            return lambda: reduced_teacher_embedding(checkpoint, vocabulary, dim)
        return None


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
