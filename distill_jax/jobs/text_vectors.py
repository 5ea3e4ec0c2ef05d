"""Embeddings that start from the company tokens or words keep in unlabelled text."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from distill_jax.data.cooccurrence import cooccurrence_vectors
from distill_jax.distill.objectives import LanguageModel
from distill_jax.jobs.common import TaskNames, prepared_data
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.vocab import Vocabulary


def text_vectors(
    tasks: TaskNames, encode: Callable[[Sequence[str]], Sequence[int]], size: int, dim: int
) -> np.ndarray:
    """`cooccurrence_vectors` of the ids that `encode` makes of the tasks' training sentences."""
    sequences = (
        encode(sentence.words)
        for dataset, _ in prepared_data(tasks, "train")
        for sentence in dataset
    )
    return cooccurrence_vectors(sequences, size, dim)


def with_text_embedding(
    params: Any, config: T5Config, vocabulary: Vocabulary, tasks: TaskNames, seed: int
) -> Any:
    """T5 parameters (None: random ones) whose tokens begin with the vectors that text gives them.

    These are as long as random ones are on average; tokens that the text has not, sentinels among
    them, keep what they have.
    """
    if params is None:
        params = nn.unbox(LanguageModel(T5(config)).init(jax.random.key(seed)))
    subwords = SubwordFormat(vocabulary)

    def encode(words: Sequence[str]) -> list[int]:
        return [token for word in words for token in subwords.word_token_ids(word)]

    vectors = text_vectors(tasks, encode, config.vocab_size, config.d_model)
    embedding = np.array(params["token_embedder"]["embedding"])
    known = vectors.any(axis=1)
    embedding[known] = vectors[known] * math.sqrt(config.d_model) * embedding.std()
    return {**params, "token_embedder": {"embedding": embedding}}
