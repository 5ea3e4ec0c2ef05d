"""Where a BiLSTM's word embeddings start: a file's vectors, a teacher's subwords, or plain text."""

from pathlib import Path

import numpy as np

from distill_jax.errors import UserError
from distill_jax.interop.hf.checkpoint import HfCheckpoint
from distill_jax.interop.hf.layout import EMBEDDING
from distill_jax.jobs.common import TaskNames
from distill_jax.jobs.text_vectors import text_vectors
from distill_jax.models.reduction import truncated_svd
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.vocab import NUM_SPECIAL_IDS, WordVocabulary, load_glove, load_vocabulary


def initial_word_embeddings(
    vocabulary: WordVocabulary,
    dim: int,
    *,
    embedding_file: str | None = None,
    teacher_embedding: str | None = None,
    embedding_text: TaskNames | None = None,
    seed: int = 0,
) -> np.ndarray | None:
    """Word embeddings float32[vocabulary.num_words, dim]; None: random ones will do.

    Raises `UserError` if several sources are given, or as reading them does.
    """
    if (
        sum(source is not None for source in (embedding_file, teacher_embedding, embedding_text))
        > 1
    ):
        raise UserError(
            "word vectors can start from one of EMBEDDING_FILE, TEACHER_EMBEDDING and EMBEDDING_TEXT "
            "only; leave the others out"
        )
    if embedding_text is not None:
        return _text_embedding(embedding_text, vocabulary, dim, seed)
    if embedding_file is not None:
        return load_glove(embedding_file, vocabulary, dim, np.random.default_rng(seed))
    if teacher_embedding is not None:
        return reduced_teacher_embedding(teacher_embedding, vocabulary, dim)
    return None


_TEXT_NORM = 5.0
"""Length of a word's vector from text, about that of GloVe's; shorter ones are learnt from more slowly."""


def _text_embedding(
    tasks: TaskNames, vocabulary: WordVocabulary, dim: int, seed: int
) -> np.ndarray:
    """Vectors from the company that words keep; words too rare for one are drawn around zero."""
    vectors = text_vectors(
        tasks, lambda words: vocabulary.encode(words, 1)[0].tolist(), vocabulary.num_words, dim
    )
    rare = ~vectors.any(axis=1)
    drawn = np.random.default_rng(seed).normal(0.0, dim**-0.5, (int(rare.sum()), dim))
    vectors[rare] = drawn / _TEXT_NORM
    vectors[:NUM_SPECIAL_IDS] = 0
    return _TEXT_NORM * vectors


def reduced_teacher_embedding(
    directory: str | Path, vocabulary: WordVocabulary, dim: int
) -> np.ndarray:
    """A T5's token embedding as word embeddings of fewer dimensions.

    A word's vector is the mean of its subwords' rows (the word as it stands in `vocabulary`, so in
    lower case where that is); all words' vectors are reduced to `dim` dimensions by truncated SVD, and
    scaled by one number so that their mean squared norm is 1, as that of random embeddings is. Padding and
    unknown are zero, as are dimensions beyond the rank of the words' vectors.

    Args:
        directory: a model directory of a T5, or any Hugging Face directory of one.
        vocabulary: whose words get a row each.
        dim: the width.

    Returns:
        float32[vocabulary.num_words, dim].

    Raises:
        UserError: the directory is not that of a T5 with its vocabulary.
    """
    checkpoint = HfCheckpoint(directory)
    [embedding_VxD] = [
        load() for parameter, load in checkpoint.parameters() if parameter.hf_name == EMBEDDING
    ]
    subwords = SubwordFormat(load_vocabulary(directory))
    found = np.zeros((vocabulary.num_words, dim), np.float32)
    if not vocabulary.words:
        return found
    means_NxD = np.stack(
        [
            embedding_VxD[list(subwords.word_token_ids(word))].mean(axis=0)
            for word in vocabulary.words
        ]
    )
    coordinates, _ = truncated_svd(means_NxD, dim)
    norm = np.sqrt(np.square(coordinates).sum(axis=1).mean())
    found[NUM_SPECIAL_IDS:, : coordinates.shape[1]] = coordinates / (norm or 1.0)
    return found
