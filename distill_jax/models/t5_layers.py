"""One layer of T5's encoder and one of its decoder, with the blocks that they are made of.

Shape suffixes: B batch, S encoder length, Q queries (a block of decoder tokens), D model width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from distill_jax.models.attention import Attention, KeyValue, RelativePositionBias
from distill_jax.models.partitioning import constrain
from distill_jax.models.products import rows_dot
from distill_jax.models.t5_config import T5Config

_ACTIVATIONS = {"relu": jax.nn.relu, "gelu": jax.nn.gelu, "silu": jax.nn.silu}


class RMSNorm(nn.Module):
    """T5's layer norm: no mean subtracted, no bias; computed in float32."""

    epsilon: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param(
            "scale",
            nn.with_logical_partitioning(nn.initializers.ones_init(), ("embed",)),
            (x.shape[-1],),
            jnp.float32,
        )
        x32 = x.astype(jnp.float32)
        variance = jnp.mean(jnp.square(x32), axis=-1, keepdims=True)
        return (x32 * jax.lax.rsqrt(variance + self.epsilon) * scale).astype(self.dtype)


class MLP(nn.Module):
    """The position-wise feed-forward block, gated or not."""

    config: T5Config

    @nn.compact
    def __call__(self, x: jax.Array, *, deterministic: bool) -> jax.Array:
        config = self.config
        init = nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal")

        def dense(name: str, features: int, axes: tuple[str, str]) -> nn.Dense:
            return nn.Dense(
                features,
                use_bias=False,
                dtype=jnp.dtype(config.dtype),
                kernel_init=nn.with_logical_partitioning(init, axes),
                dot_general=rows_dot,
                name=name,
            )

        activation = _ACTIVATIONS[config.activation]
        if config.gated:
            hidden = activation(dense("wi_0", config.d_ff, ("embed", "mlp"))(x))
            hidden = hidden * dense("wi_1", config.d_ff, ("embed", "mlp"))(x)
        else:
            hidden = activation(dense("wi", config.d_ff, ("embed", "mlp"))(x))
        hidden = constrain(hidden, "batch", "length", "mlp")
        hidden = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))(
            hidden, deterministic=deterministic
        )
        return dense("wo", config.d_model, ("mlp", "embed"))(hidden)


def norm(config: T5Config) -> RMSNorm:
    return RMSNorm(config.layer_norm_epsilon, jnp.dtype(config.dtype))


def _attention(config: T5Config) -> Attention:
    return Attention(
        num_heads=config.num_heads,
        head_dim=config.d_kv,
        d_model=config.d_model,
        dropout_rate=config.dropout_rate,
        dtype=jnp.dtype(config.dtype),
        implementation=config.attention_implementation,
    )


def relative_bias(config: T5Config, *, bidirectional: bool) -> RelativePositionBias:
    return RelativePositionBias(
        num_heads=config.num_heads,
        bidirectional=bidirectional,
        num_buckets=config.relative_buckets,
        max_distance=config.relative_max_distance,
    )


def place(x_BxLxD: jax.Array) -> jax.Array:
    return constrain(x_BxLxD, "batch", "length", "embed")


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each behind a norm and around a residual."""

    config: T5Config

    def setup(self) -> None:
        self.pre_attention_layer_norm = norm(self.config)
        self.attention = _attention(self.config)
        self.pre_mlp_layer_norm = norm(self.config)
        self.mlp = MLP(self.config)
        self.dropout = nn.Dropout(self.config.dropout_rate, broadcast_dims=(-2,))
        if self.config.relative_bias_per_layer:
            self.relpos_bias = relative_bias(self.config, bidirectional=True)

    def __call__(
        self,
        x_BxSxD: jax.Array,
        positions_BxS: jax.Array,
        mask_bias: jax.Array,
        position_bias: jax.Array | None,
        *,
        deterministic: bool,
    ) -> jax.Array:
        if position_bias is None:
            position_bias = self.relpos_bias(positions_BxS, positions_BxS)
        normed = self.pre_attention_layer_norm(x_BxSxD)
        attended = self.attention(
            normed,
            (self.attention.key_value(normed),),
            position_bias + mask_bias,
            deterministic=deterministic,
        )
        x_BxSxD = place(x_BxSxD + self.dropout(attended, deterministic=deterministic))
        hidden = self.mlp(self.pre_mlp_layer_norm(x_BxSxD), deterministic=deterministic)
        return place(x_BxSxD + self.dropout(hidden, deterministic=deterministic))


class Positions(NamedTuple):
    """Where queries and keys stand: int32[batch or 1, queries] and [batch or 1, keys]."""

    queries: jax.Array
    keys: jax.Array


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward."""

    config: T5Config

    def setup(self) -> None:
        self.pre_self_attention_layer_norm = norm(self.config)
        self.self_attention = _attention(self.config)
        self.pre_cross_attention_layer_norm = norm(self.config)
        self.encoder_decoder_attention = _attention(self.config)
        self.pre_mlp_layer_norm = norm(self.config)
        self.mlp = MLP(self.config)
        self.dropout = nn.Dropout(self.config.dropout_rate, broadcast_dims=(-2,))
        if self.config.relative_bias_per_layer:
            self.relpos_bias = relative_bias(self.config, bidirectional=False)

    def __call__(
        self,
        x_BxQxD: jax.Array,
        positions: Positions,
        self_mask_bias: jax.Array,
        position_bias: jax.Array | None,
        prefix: KeyValue | None,
        cross: KeyValue | jax.Array | None,
        cross_mask_bias: jax.Array,
        *,
        deterministic: bool,
    ) -> tuple[jax.Array, KeyValue]:
        """`cross` is what cross-attention reads, or the encoder's states to make that of."""
        if position_bias is None:
            position_bias = self.relpos_bias(*positions)
        normed = self.pre_self_attention_layer_norm(x_BxQxD)
        block = self.self_attention.key_value(normed)
        attended = self.self_attention(
            normed,
            (block,) if prefix is None else (prefix, block),
            position_bias + self_mask_bias,
            deterministic=deterministic,
        )
        x_BxQxD = place(x_BxQxD + self.dropout(attended, deterministic=deterministic))
        if not isinstance(cross, KeyValue):
            assert cross is not None, "cross-attention needs keys and values, or states"
            cross = self.encoder_decoder_attention.key_value(cross)
        attended = self.encoder_decoder_attention(
            self.pre_cross_attention_layer_norm(x_BxQxD),
            (cross,),
            cross_mask_bias,
            deterministic=deterministic,
        )
        x_BxQxD = place(x_BxQxD + self.dropout(attended, deterministic=deterministic))
        hidden = self.mlp(self.pre_mlp_layer_norm(x_BxQxD), deterministic=deterministic)
        return place(x_BxQxD + self.dropout(hidden, deterministic=deterministic)), block
