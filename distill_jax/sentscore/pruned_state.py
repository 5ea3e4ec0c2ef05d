"""What best-first search carries from pass to pass, and what lies in the cache's slots.

Shape suffixes are those of `pruned`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distill_jax.models.incremental import Encoded
from distill_jax.models.t5_stacks import Cache
from distill_jax.sentscore.frontier import Known

DEAD = 2**30
"""The word of a slot that is of no use."""

BEGINNING = -1
"""The word of the start token."""


class Search(NamedTuple):
    """What the search found, and what it took. Beyond a sentence's words all is 0."""

    tags: Int[Array, "batch words"]
    """int32: indices in the sBIO order."""
    log_likelihoods: Float[Array, "batch words tags"]
    """float32: u of the tags explored, -inf for others."""
    unexplored: Float[Array, "batch words"]
    """float32: M / (E + M)."""
    nodes: Int[Array, " batch"]
    """int32: nodes that went through the decoder."""
    passes: Int[Array, " batch"]
    """int32: passes until the row was done."""


class RowInputs(NamedTuple):
    """What each row reads in every pass: its sentence, encoded, and how many words to tag."""

    encoded: Encoded
    num_words: Int[Array, " batch"]


class Slots(NamedTuple):
    """What lies in the cache's slots, all int32 `[batch, slots]`."""

    word: jax.Array
    """Its word's number, `BEGINNING` or `DEAD`. Of words that are settled only the tag is left."""
    node: jax.Array
    position: jax.Array


class State(NamedTuple):
    """What the loop carries from pass to pass."""

    word: Int[Array, " batch"]
    """The first of the window; the number of words settled."""
    previous_tag: Int[Array, " batch"]
    root_position: Int[Array, " batch"]
    """Where the sentinel before the window's first word stands."""
    known: Known
    cache: Cache
    slots: Slots
    fill: Int[Array, ""]
    """Slots written, the same in every row."""
    result: Search


def join(first: Slots, second: Slots) -> Slots:
    """The slots of both, one behind the other."""
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=1), first, second)
