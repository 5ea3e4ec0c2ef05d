"""Tokens of many rows side by side: a pass through the decoder without the padding between rows.

Rows that have different numbers of tokens to run form a block `[B, W]` with gaps. All that works on
tokens one by one (projections and MLP: nearly all of the work) runs on `[G, C]` instead: the tokens
of each group of rows behind each other, as many as fit. Only attention sees rows. Groups rather than
one list, so that a batch sharded over devices stays where it is.

Shape suffixes: B batch, W places of a row's block, G groups of rows, C tokens of a group that run, F
features, H heads, E head width, P cached slots.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from distill_jax.models.attention import KeyValue, mask_to_bias
from distill_jax.models.incremental import Encoded, Prefix
from distill_jax.models.t5 import T5
from distill_jax.models.t5_stacks import Cache


class Packing(NamedTuple):
    """Which tokens of a block run, and where."""

    taken: Int[Array, " batch"]
    """int32: how many of each row's tokens, from its first on."""
    source: Int[Array, "groups capacity"] | None
    """int32: the place in the group's rows, end to end, of each token that runs; None if all do."""
    target: Int[Array, "groups places"] | None
    """int32: the other way round; where a place is not taken, anything."""
    width: int
    """W."""

    def pack(self, x_BxWxF: jax.Array) -> Float[Array, "groups capacity features"]:
        """From rows to what runs."""
        if self.source is None:
            return x_BxWxF
        return _take(x_BxWxF.reshape(*self.source.shape[:1], -1, *x_BxWxF.shape[2:]), self.source)

    def unpack(self, x_GxCxF: jax.Array) -> Float[Array, "batch places features"]:
        """From what runs to rows."""
        if self.target is None:
            return x_GxCxF
        return _take(x_GxCxF, self.target).reshape(-1, self.width, *x_GxCxF.shape[2:])


def pack_rows(
    own: Int[Array, " batch"],
    progress: Int[Array, " batch"],
    *,
    width: int,
    group: int,
    capacity: int,
) -> Packing:
    """Takes as many tokens as fit, first those of the rows that have made least progress.

    `own` counts each row's tokens, of `width` at most. `group` rows, which must divide the batch,
    have room for `capacity` tokens together; with room for all of them nothing is moved.
    """
    if capacity >= group * width:
        return Packing(own, None, None, width)
    own_GxR = own.reshape(-1, group)
    last = jnp.iinfo(jnp.int32).max
    order = jnp.argsort(jnp.where(own_GxR > 0, progress.reshape(-1, group), last), axis=1)
    rank = jnp.argsort(order, axis=1)
    sorted_GxR = jnp.take_along_axis(own_GxR, order, axis=1)
    start = jnp.take_along_axis(jnp.cumsum(sorted_GxR, axis=1) - sorted_GxR, rank, axis=1)
    taken = jnp.clip(capacity - start, 0, own_GxR)
    offset = jnp.arange(width)
    target = jnp.where(offset < taken[:, :, None], start[:, :, None] + offset, capacity)
    target = target.reshape(-1, group * width)
    places = jnp.arange(group * width, dtype=jnp.int32)
    source = jax.vmap(
        lambda target: jnp.zeros(capacity, jnp.int32).at[target].set(places, mode="drop")
    )(target)
    return Packing(taken.reshape(-1), source, jnp.minimum(target, capacity - 1), width)


def decode_packed(
    model: T5,
    tokens_BxW: Int[Array, "batch places"],
    positions_BxW: Int[Array, "batch places"],
    packing: Packing,
    prefix: Prefix,
    encoded: Encoded,
) -> tuple[Float[Array, "batch places features"], Cache]:
    """`T5.decode_block` for the tokens that the packing takes, with no dropout.

    A method of the model, for `Module.apply`. A row's tokens attend to its slots in use and to those
    of its own before them. Returns hidden states, and keys and values `[B, H, W, E]`, in rows; where
    nothing was taken they mean nothing.
    """
    decoder, config = model.decoder, model.config
    rows, width = tokens_BxW.shape
    slots = prefix.used.shape[1]
    key_positions = jnp.concatenate(
        [jnp.broadcast_to(prefix.positions, (rows, slots)), positions_BxW], axis=1
    )
    mask = jnp.concatenate(
        [
            jnp.broadcast_to(prefix.used[:, None, :], (rows, width, slots)),
            jnp.broadcast_to(jnp.tri(width, dtype=bool), (rows, width, width)),
        ],
        axis=-1,
    )
    mask_bias, cross_bias = mask_to_bias(mask)[:, None], mask_to_bias(encoded.mask)[:, None]
    shared_bias = None
    if not config.relative_bias_per_layer:
        shared_bias = decoder.relpos_bias(positions_BxW, key_positions)

    def heads(x_GxCxF: jax.Array) -> jax.Array:
        unpacked = packing.unpack(x_GxCxF).reshape(rows, width, config.num_heads, config.d_kv)
        return jnp.swapaxes(unpacked, 1, 2)

    def merge(x_BxHxWxE: jax.Array) -> jax.Array:
        return packing.pack(jnp.swapaxes(x_BxHxWxE, 1, 2).reshape(rows, width, -1))

    x_GxCxF = model.token_embedder(packing.pack(tokens_BxW))
    blocks = []
    for layer, cached, cross in zip(decoder.layers, prefix.cache, encoded.cross, strict=True):
        position_bias = shared_bias
        if position_bias is None:
            position_bias = layer.relpos_bias(positions_BxW, key_positions)
        attention, normed = layer.self_attention, layer.pre_self_attention_layer_norm(x_GxCxF)
        block = KeyValue(heads(attention.key(normed)), heads(attention.value(normed)))
        attended = _attend(
            heads(attention.query(normed)), (cached, block), position_bias + mask_bias
        )
        x_GxCxF = x_GxCxF + attention.out(merge(attended))
        attention = layer.encoder_decoder_attention
        normed = layer.pre_cross_attention_layer_norm(x_GxCxF)
        attended = _attend(heads(attention.query(normed)), (cross,), cross_bias)
        x_GxCxF = x_GxCxF + attention.out(merge(attended))
        x_GxCxF = x_GxCxF + layer.mlp(layer.pre_mlp_layer_norm(x_GxCxF), deterministic=True)
        blocks.append(block)
    return packing.unpack(decoder.decoder_norm(x_GxCxF)), tuple(blocks)


def _attend(query_BxHxWxE: jax.Array, parts: Sequence[KeyValue], bias: jax.Array) -> jax.Array:
    """`Attention.__call__` between its projections: `[B, H, W, E]`."""
    logits = jnp.concatenate(
        [
            jnp.einsum(
                "bhqe,bhke->bhqk", query_BxHxWxE, part.key, preferred_element_type=jnp.float32
            )
            for part in parts
        ],
        axis=-1,
    )
    weights = jax.nn.softmax(logits + bias, axis=-1).astype(query_BxHxWxE.dtype)
    ends = np.cumsum([part.key.shape[2] for part in parts])[:-1]
    mixed = [
        jnp.einsum("bhqk,bhke->bhqe", share, part.value)
        for share, part in zip(jnp.split(weights, ends, axis=-1), parts, strict=True)
    ]
    return functools.reduce(jnp.add, mixed)


def _take(x_GxNxF: jax.Array, index_GxM: jax.Array) -> jax.Array:
    return jax.vmap(lambda x, index: x[index])(x_GxNxF, index_GxM)
