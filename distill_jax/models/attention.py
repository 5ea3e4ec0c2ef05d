"""Multi-head attention with T5's relative position bias, and an explicit key/value cache.

The cache is a value that goes in and comes out, not a hidden collection: whoever decodes lays out
its slots (`distill_jax.sentscore`) and says with a mask what may be attended to.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from distill_jax.models.partitioning import constrain
from distill_jax.models.products import rows_dot
from distill_jax.models.t5_config import AttentionImplementation

MAPS = "attention_maps"
"""The collection in which a caller who makes it mutable finds each layer's attention weights."""
# Added to masked logits. Finite, so that a row with nothing to attend to stays free of NaNs.
MASKED = -1e10


class KeyValue(NamedTuple):
    """Keys and values of one attention layer, both `[batch, heads, length, head_dim]`.

    Heads lead, so that a loop over cached slots multiplies them where they lie.
    """

    key: jax.Array
    value: jax.Array


@functools.lru_cache
def _bucket_starts(exact: int, count: int, max_distance: int) -> tuple[int, ...]:
    """The smallest distance of each logarithmic bucket but the first, which starts at `exact`.

    Bucket k starts at the first integer n with log(n / exact) / log(max_distance / exact) * count
    >= k, that is n ** count >= exact ** (count - k) * max_distance ** k. Whole numbers decide here
    because a logarithm in float32 puts distances that lie on a boundary into one bucket or the
    next depending on the device.
    """
    starts = []
    for k in range(1, count):
        target = exact ** (count - k) * max_distance**k
        low, high = exact, max_distance
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if middle**count >= target else (middle + 1, high)
        starts.append(low)
    return tuple(starts)


def relative_position_bucket(
    relative_position: Int[Array, "*shape"],
    *,
    bidirectional: bool,
    num_buckets: int,
    max_distance: int,
) -> Int[Array, "*shape"]:
    """T5's bucket of `key position - query position` (Raffel et al. 2020, section 2.1).

    Half of the buckets (of each direction) hold one small distance each, the others grow
    logarithmically up to `max_distance`; everything beyond shares the last bucket.
    """
    distance = -relative_position
    offset = jnp.zeros_like(distance)
    if bidirectional:
        num_buckets //= 2
        offset = jnp.where(distance < 0, num_buckets, 0)
        distance = jnp.abs(distance)
    else:
        distance = jnp.maximum(distance, 0)
    exact = num_buckets // 2
    starts = jnp.asarray(_bucket_starts(exact, num_buckets - exact, max_distance), distance.dtype)
    large = exact + jnp.sum(distance[..., None] >= starts, axis=-1, dtype=distance.dtype)
    return offset + jnp.where(distance < exact, distance, large)


class RelativePositionBias(nn.Module):
    """A learned bias per head and bucket of relative position."""

    num_heads: int
    bidirectional: bool
    num_buckets: int
    max_distance: int

    @nn.compact
    def __call__(
        self,
        query_positions: Int[Array, "#batch queries"],
        key_positions: Int[Array, "#batch keys"],
    ) -> Float[Array, "#batch heads queries keys"]:
        table_HxN = self.param(
            "rel_embedding",
            nn.with_logical_partitioning(
                nn.initializers.variance_scaling(1.0, "fan_avg", "uniform"),
                ("heads", "relpos_buckets"),
            ),
            (self.num_heads, self.num_buckets),
            jnp.float32,
        )
        bucket_BxQxK = relative_position_bucket(
            key_positions[:, None, :] - query_positions[:, :, None],
            bidirectional=self.bidirectional,
            num_buckets=self.num_buckets,
            max_distance=self.max_distance,
        )
        return jnp.moveaxis(table_HxN.T[bucket_BxQxK], -1, 1)


def mask_to_bias(mask: Bool[Array, "*shape"]) -> Float[Array, "*shape"]:
    """0 where attention is allowed, a large negative number where it is not."""
    return jnp.where(mask, 0.0, MASKED).astype(jnp.float32)


class Attention(nn.Module):
    """Multi-head attention; by default without biases and without 1/sqrt(d) scaling, as in T5.

    T5's scale is folded into the initialisation of the query projection. BERT's has `use_bias` and a
    `scale`, projections drawn with the standard deviation `stddev`, and drops each weight by itself
    (T5 drops a key for all queries of a head).
    """

    num_heads: int
    head_dim: int
    d_model: int
    dropout_rate: float
    dtype: jnp.dtype
    implementation: AttentionImplementation = "einsum"
    use_bias: bool = False
    scale: float = 1.0
    stddev: float | None = None
    drops_keys: bool = True

    def setup(self) -> None:
        joined = self.num_heads * self.head_dim
        normal = nn.initializers.variance_scaling(1.0, "fan_in", "normal")

        def query_init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
            return normal(key, shape, dtype) / jnp.sqrt(self.head_dim).astype(dtype)

        if self.stddev is not None:
            normal = query_init = nn.initializers.normal(self.stddev)

        def dense(features: int, init: nn.initializers.Initializer, axes: tuple[str, str]):  # type: ignore[no-untyped-def]
            return nn.Dense(
                features,
                use_bias=self.use_bias,
                dtype=self.dtype,
                kernel_init=nn.with_logical_partitioning(init, axes),
                bias_init=nn.with_logical_partitioning(nn.initializers.zeros, axes[1:]),
                dot_general=rows_dot,
            )

        self.query = dense(joined, query_init, ("embed", "joined_kv"))
        self.key = dense(joined, normal, ("embed", "joined_kv"))
        self.value = dense(joined, normal, ("embed", "joined_kv"))
        self.out = dense(self.d_model, normal, ("joined_kv", "embed"))
        dims = (-2,) if self.drops_keys else ()
        self.dropout = nn.Dropout(self.dropout_rate, broadcast_dims=dims)

    def key_value(self, x_BxKxD: jax.Array) -> KeyValue:
        """Projects what is attended to."""
        shape = (*x_BxKxD.shape[:2], self.num_heads, self.head_dim)

        def split(projected: jax.Array) -> jax.Array:
            heads_first = jnp.swapaxes(projected.reshape(shape), 1, 2)
            return constrain(heads_first, "batch", "heads", "length", "kv")

        return KeyValue(split(self.key(x_BxKxD)), split(self.value(x_BxKxD)))

    def __call__(
        self,
        x_BxQxD: jax.Array,
        attended_to: Sequence[KeyValue],
        bias_BxHxQxK: jax.Array,
        *,
        deterministic: bool,
    ) -> jax.Array:
        """Attends from `x_BxQxD` to all of `attended_to`, one behind the other along the slots.

        The bias (float32) holds positions and masks. Keys and values are taken in parts rather than
        joined by the caller, because joining would copy a cache for every block of queries.
        """
        batch, queries, _ = x_BxQxD.shape
        query_BxQxHxE = constrain(
            self.query(x_BxQxD).reshape(batch, queries, self.num_heads, self.head_dim),
            *("batch", "length", "heads", "kv"),
        )
        drops = self.dropout_rate > 0 and not deterministic
        if self.implementation != "einsum" and len(attended_to) == 1 and not drops:
            mixed_BxQxHxE = self._fused(query_BxQxHxE, attended_to[0], bias_BxHxQxK)
            return self.out(mixed_BxQxHxE.reshape(batch, queries, -1))
        logits_BxHxQxK = jnp.concatenate(
            [
                jnp.einsum(
                    "bqhd,bhkd->bhqk", query_BxQxHxE, part.key, preferred_element_type=jnp.float32
                )
                for part in attended_to
            ],
            axis=-1,
        )
        if self.scale != 1.0:
            logits_BxHxQxK *= self.scale
        weights_BxHxQxK = jax.nn.softmax(logits_BxHxQxK + bias_BxHxQxK, axis=-1)
        if not self.is_initializing():
            self.sow(MAPS, "weights", weights_BxHxQxK)  # nothing, unless they are asked for
        weights_BxHxQxK = self.dropout(
            weights_BxHxQxK.astype(self.dtype), deterministic=deterministic
        )
        ends = np.cumsum([part.key.shape[2] for part in attended_to])
        # Heads stay in front of queries: asked for the other order, XLA on a CPU multiplies values
        # with weights instead of weights with values, ten times slower where queries are few.
        mixed_BxHxQxE = [
            jnp.einsum("bhqk,bhkd->bhqd", weights, part.value)
            for weights, part in zip(
                jnp.split(weights_BxHxQxK, ends[:-1], axis=-1), attended_to, strict=True
            )
        ]
        mixed_BxQxHxE = jnp.swapaxes(functools.reduce(jnp.add, mixed_BxHxQxE), 1, 2)
        mixed_BxQxD = mixed_BxQxHxE.reshape(batch, queries, -1)
        return self.out(mixed_BxQxD)

    def _fused(
        self, query_BxQxHxE: jax.Array, attended_to: KeyValue, bias_BxHxQxK: jax.Array
    ) -> jax.Array:
        """Attention by `jax.nn.dot_product_attention`, `[batch, queries, heads, head_dim]`."""
        if self.implementation == "cudnn":
            bias_BxHxQxK = bias_BxHxQxK.astype(self.dtype)
        batch, queries = query_BxQxHxE.shape[:2]
        whole = (batch, self.num_heads, queries, bias_BxHxQxK.shape[-1])
        return jax.nn.dot_product_attention(
            query_BxQxHxE,
            jnp.swapaxes(attended_to.key, 1, 2),
            jnp.swapaxes(attended_to.value, 1, 2),
            bias=jnp.broadcast_to(bias_BxHxQxK, whole),
            scale=self.scale,
            implementation="cudnn" if self.implementation == "cudnn" else "xla",
        )
