"""The states of words, where a model has those of their subwords."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def rows_at(
    states_BxSxD: Float[Array, "batch source embed"], at_BxL: Int[Array, "batch length"]
) -> Float[Array, "batch length embed"]:
    """The state at each word's place; that of the first token where the place is negative."""
    words: jax.Array = jax.vmap(lambda states, at: states[at])(states_BxSxD, at_BxL.clip(0))
    return words


def places_behind_sentinels(
    tokens_BxS: Int[Array, "batch source"],
    sentinel_ids: Sequence[int],
    num_words_B: Int[Array, " batch"],
    length: int,
) -> Int[Array, "batch length"]:
    """Where each word's first subword stands in SenT′ input: behind the sentinel of its number.

    -1 behind the last word, and for words beyond the sentinels that there are.
    """
    words = min(length, len(sentinel_ids) - 1)
    sentinels_L = jnp.asarray(sentinel_ids[:words], jnp.int32)
    at_BxL = 1 + (tokens_BxS[:, None, :] == sentinels_L[:, None]).argmax(-1)
    there_BxL = jnp.arange(words) < num_words_B[:, None]
    return jnp.pad(
        jnp.where(there_BxL, at_BxL, -1), ((0, 0), (0, length - words)), constant_values=-1
    )


def states_of_words(
    states: Sequence[Float[Array, "batch source embed"]], at_BxL: Int[Array, "batch length"]
) -> tuple[Float[Array, "batch length embed"], ...]:
    """Each layer's states at words' places; zero where the place is negative: there is no word."""
    real_BxLx1 = (at_BxL >= 0)[..., None]
    return tuple(jnp.where(real_BxLx1, rows_at(layer, at_BxL), 0.0) for layer in states)
