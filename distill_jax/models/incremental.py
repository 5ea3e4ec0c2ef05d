"""Incremental decoding with a T5: encode once, then run blocks of tokens behind cached ones.

Whoever decodes (`distill_jax.sentscore`, `distill_jax.generate`) lays out the cache's slots and says
what may be attended to.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distill_jax.models.attention import KeyValue
from distill_jax.models.t5 import T5
from distill_jax.models.t5_stacks import Cache

AnyArray = Array | np.ndarray


class Encoded(NamedTuple):
    """A batch as the decoder's cross-attention reads it."""

    cross: Cache
    mask: Bool[Array, "batch 1 source"]

    def repeat(self, times: int) -> "Encoded":
        """Every row `times` times in a row, as a beam needs it."""
        if times == 1:
            return self
        return jax.tree.map(lambda x: jnp.repeat(x, times, axis=0), self)


class Prefix(NamedTuple):
    """What has been decoded: cached slots, each with its true position, and whether it is in use."""

    cache: Cache
    positions: Int[Array, "batch slots"]
    used: Bool[Array, "batch slots"]


class BoundT5:
    """A T5 with its parameters, bound for the length of a traced function."""

    def __init__(
        self,
        model: T5,
        params: Any,
        *,
        deterministic: bool = True,
        rngs: dict[str, jax.Array] | None = None,
    ) -> None:
        self.model = model
        self.params = jax.tree.map(jnp.asarray, params)  # as loaded from a file: NumPy
        self._deterministic = deterministic
        self._rngs = rngs

    def apply(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        """Calls a method of the model."""
        return self.model.apply(
            {"params": self.params}, *arguments, method=method, rngs=self._rngs, **keywords
        )

    def encode(
        self, tokens: Int[AnyArray, "batch source"], mask: Bool[AnyArray, "batch source"]
    ) -> Encoded:
        """Encodes inputs (the mask is False at padding), and projects them once for every decoder layer."""
        mask = jnp.asarray(mask)
        encoded = self.apply(
            "encode",
            jnp.asarray(tokens),
            mask.astype(jnp.int32),
            deterministic=self._deterministic,
        )
        return Encoded(self.apply("cross_key_value", encoded), mask[:, None, :])

    def block(
        self,
        tokens: Int[Array, "batch queries"],
        positions: Int[Array, "#batch queries"],
        mask: Bool[Array, "#batch queries queries"],
        encoded: Encoded,
        prefix: Prefix | None = None,
    ) -> tuple[jax.Array, Cache]:
        """Runs tokens that attend to the prefix's slots in use and, as `mask` says, to each other.

        Returns hidden states `[batch, queries, embed]` and the tokens' own keys and values.
        """
        if prefix is not None:
            rows, slots = prefix.used.shape
            queries = tokens.shape[1]
            mask = jnp.concatenate(
                [
                    jnp.broadcast_to(prefix.used[:, None, :], (rows, queries, slots)),
                    jnp.broadcast_to(mask, (rows, queries, queries)),
                ],
                axis=-1,
            )
        return self.apply(
            "decode_block",
            tokens,
            positions,
            mask,
            encoded.cross,
            encoded.mask,
            prefix=None if prefix is None else prefix.cache,
            prefix_positions=None if prefix is None else prefix.positions,
            deterministic=self._deterministic,
        )

    def next_logits(
        self, last: Int[Array, " batch"], step: jax.Array, encoded: Encoded, cache: Cache
    ) -> tuple[Float[Array, "batch vocab"], Cache]:
        """Runs the token that every row has written last, at position `step`, behind the `step` before it.

        Returns the logits of the next one, and the token's own keys and values.
        """
        rows, slots = last.shape[0], jnp.arange(cache[0].key.shape[2])[None]
        used = jnp.broadcast_to(slots < step, (rows, slots.shape[1]))
        hidden, new = self.block(
            last[:, None],
            jnp.full((1, 1), step),
            jnp.ones((1, 1, 1), bool),
            encoded,
            Prefix(cache, slots, used),
        )
        return self.apply("logits", hidden)[:, 0], new

    def start(self, encoded: Encoded, slots: int) -> Prefix:
        """A prefix of `slots` slots that holds the start token, which every token attends to."""
        rows = encoded.mask.shape[0]
        _, first = self.block(
            jnp.full((rows, 1), self.model.config.decoder_start_id, jnp.int32),
            jnp.zeros((rows, 1), jnp.int32),
            jnp.ones((rows, 1, 1), bool),
            encoded,
        )
        return Prefix(
            jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, slots - 1), (0, 0))), first),
            jnp.zeros((rows, slots), jnp.int32),
            jnp.zeros((rows, slots), bool).at[:, 0].set(True),
        )


def write_slots(
    prefix: Prefix,
    slot: jax.Array | int,
    cache: Cache,
    positions: Int[Array, "batch new"],
    used: Bool[Array, "batch new"],
) -> Prefix:
    """The prefix with the new keys and values in the slots from `slot` on."""

    def write(old: jax.Array, new: jax.Array, axis: int) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(old, new, slot, axis=axis)

    return Prefix(
        tuple(
            KeyValue(write(old.key, new.key, 2), write(old.value, new.value, 2))
            for old, new in zip(prefix.cache, cache, strict=True)
        ),
        write(prefix.positions, positions, 1),
        write(prefix.used, used, 1),
    )


def empty_cache(encoded: Encoded, slots: int) -> Cache:
    """A cache of so many slots, zeros."""
    return grow_cache(jax.tree.map(lambda x: x[:, :, :0], encoded.cross), slots)


def grow_cache(cache: Cache, slots: int) -> Cache:
    """The cache with zeros behind its slots, so that it has this many."""
    return jax.tree.map(
        lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, slots - x.shape[2]), (0, 0))), cache
    )


def write_rows(cache: Cache, slot: Int[Array, " batch"], new: Cache) -> Cache:
    """The cache with every row's new keys and values from its own slot on."""
    write = jax.vmap(lambda old, new, slot: jax.lax.dynamic_update_slice(old, new, (0, slot, 0)))
    return jax.tree.map(lambda old, new: write(old, new, slot), cache, new)


def take_slots(cache: Cache, slots: Int[Array, "batch chosen"]) -> Cache:
    """The keys and values of the chosen slots of each row."""
    return jax.tree.map(lambda x: jax.vmap(lambda row, chosen: row[:, chosen])(x, slots), cache)
