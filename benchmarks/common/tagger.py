"""A BiLSTM of random weights, for jobs whose answers do not matter."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
from flax import linen as nn

from distill_jax.kinds.base import Model
from distill_jax.model_dir.directory import save_model
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.tagging import LabelSet
from distill_jax.vocab import WordVocabulary


def save_random_bilstm(
    directory: Path,
    sentences: Iterable[Sequence[str]],
    labels: LabelSet,
    *,
    dim: int,
    seed: int = 0,
) -> None:
    """Saves a BiLSTM that knows the words of sentences; its word vectors have 2 `dim` numbers.

    Characters and their states have `dim`, and words' states 2 `dim` each way.
    """
    vocabulary = WordVocabulary.build(sentences)
    config = BiLSTMConfig(
        num_words=vocabulary.num_words,
        num_chars=vocabulary.num_chars,
        num_tags=labels.num_tags,
        word_dim=2 * dim,
        char_dim=dim,
        char_hidden=dim,
        hidden=2 * dim,
    )
    params = nn.unbox(BiLSTMTagger(config).initial(jax.random.key(seed)))
    save_model(directory, Model(config, params, vocabulary, labels))
