"""Frozen words in the order in which a program finds one without reading them all."""

import dataclasses

from distill_jax.kinds.base import Model
from distill_jax.models.bilstm import FROZEN_EMBEDDING, with_frozen_embedding
from distill_jax_runtime.sorted_words import SortedWords


def with_sorted_words(model: Model) -> Model:
    """The same BiLSTM with its frozen words, and the rows of their table, sorted.

    As it was if a word has a line break in it, as no word of a sentence has: such a one cannot be written a
    word a line.
    """
    rows = model.vocabulary.frozen_rows
    try:
        words = SortedWords.of(rows)
    except ValueError:
        return model
    table_FxE = model.params[FROZEN_EMBEDDING]["embedding"][[rows[word] for word in words]]
    return dataclasses.replace(
        model,
        vocabulary=model.vocabulary.with_frozen(words),
        params=with_frozen_embedding(model.params, table_FxE),
    )
