"""Where a BiLSTM's word embeddings start: word vectors of a file, or a teacher's subwords."""

from pathlib import Path

import numpy as np

from distill_jax.errors import UserError
from distill_jax.interop.hf import HfCheckpoint
from distill_jax.interop.hf_layout import EMBEDDING
from distill_jax.models.reduction import truncated_svd
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.vocab import load_vocabulary
from distill_jax.word_vocab import NUM_SPECIAL, WordVocabulary, load_glove


def initial_word_embeddings(
    vocabulary: WordVocabulary,
    dim: int,
    *,
    embedding_file: str | None,
    teacher_embedding: str | None,
    seed: int,
) -> np.ndarray | None:
    """Word embeddings float32[vocabulary.num_words, dim]; None: random ones will do.

    Raises `UserError` if both sources are given, or as reading them does.
    """
    if embedding_file is not None and teacher_embedding is not None:
        raise UserError(
            "EMBEDDING_FILE and TEACHER_EMBEDDING are both given, and word vectors can start from "
            "one of them only; leave one out"
        )
    if embedding_file is not None:
        return load_glove(embedding_file, vocabulary, dim, np.random.default_rng(seed))
    if teacher_embedding is not None:
        return reduced_teacher_embedding(teacher_embedding, vocabulary, dim)
    return None


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
    found[NUM_SPECIAL:, : coordinates.shape[1]] = coordinates / (norm or 1.0)
    return found
