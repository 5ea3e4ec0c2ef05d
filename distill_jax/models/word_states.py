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


def states_of_words(
    states: Sequence[Float[Array, "batch source embed"]], at_BxL: Int[Array, "batch length"]
) -> tuple[Float[Array, "batch length embed"], ...]:
    """Each layer's states at words' places; zero where the place is negative: there is no word."""
    real_BxLx1 = (at_BxL >= 0)[..., None]
    return tuple(jnp.where(real_BxLx1, rows_at(layer, at_BxL), 0.0) for layer in states)
