"""T5 (Raffel et al. 2020) and its descendants as one Flax Linen module.

Parameters carry the names and the logical axes of t5x's T5, so that checkpoints of t5x map one to
one (`encoder/layers_0/attention/query/kernel`, axes `embed`, `joined_kv`). Shape suffixes: B batch,
S encoder length, T decoder length, Q queries (a block of decoder tokens), P cached slots, D model
width, V vocabulary rows, R chosen rows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from distill_jax.models.attention import (
    Attention,
    KeyValue,
    RelativePositionBias,
    mask_to_bias,
)
from distill_jax.models.partitioning import constrain
from distill_jax.models.products import rows_dot
from distill_jax.models.stacking import STACKED, take_layer
from distill_jax.models.t5_config import T5Config

Cache = tuple[KeyValue, ...]
"""Keys and values of every decoder layer."""

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


def _norm(config: T5Config) -> RMSNorm:
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


def _relative_bias(config: T5Config, *, bidirectional: bool) -> RelativePositionBias:
    return RelativePositionBias(
        num_heads=config.num_heads,
        bidirectional=bidirectional,
        num_buckets=config.relative_buckets,
        max_distance=config.relative_max_distance,
    )


def _place(x_BxLxD: jax.Array) -> jax.Array:
    return constrain(x_BxLxD, "batch", "length", "embed")


_REMAT_POLICIES = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def _stack_of(config: T5Config, layer: type[nn.Module], count: int) -> nn.Module | list[nn.Module]:
    """The layers of a stack: each a module, or one module whose parameters are stacked."""
    return layer(config) if config.scan_layers else [layer(config) for _ in range(count)]


def _run_layers(
    config: T5Config,
    layers: Any,
    count: int,
    body: Callable[[Any, Any, Any], tuple[Any, Any]],
    carried: Any,
    inputs: Sequence[Any],
) -> tuple[Any, list[Any]]:
    """Runs `body(layer, carried, input) -> (carried, output)` through `layers`, an input each.

    Returns what the last layer carries, and the layers' outputs. This is where layers are scanned
    and rematerialised.
    """
    if config.remat != "none":
        # Inside a scan nothing could undo the rematerialisation; outside, XLA would.
        body = nn.remat(
            body, policy=_REMAT_POLICIES[config.remat], prevent_cse=not config.scan_layers
        )
    if not config.scan_layers:
        outputs = []
        for layer, given in zip(layers, inputs, strict=True):
            carried, output = body(layer, carried, given)
            outputs.append(output)
        return carried, outputs
    scan = nn.scan(
        body,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        length=count,
        metadata_params={nn.PARTITION_NAME: STACKED},
    )
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *inputs)
    carried, outputs = scan(layers, carried, stacked)
    return carried, [take_layer(outputs, index) for index in range(count)]


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each behind a norm and around a residual."""

    config: T5Config

    def setup(self) -> None:
        self.pre_attention_layer_norm = _norm(self.config)
        self.attention = _attention(self.config)
        self.pre_mlp_layer_norm = _norm(self.config)
        self.mlp = MLP(self.config)
        self.dropout = nn.Dropout(self.config.dropout_rate, broadcast_dims=(-2,))
        if self.config.relative_bias_per_layer:
            self.relpos_bias = _relative_bias(self.config, bidirectional=True)

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
        x_BxSxD = _place(x_BxSxD + self.dropout(attended, deterministic=deterministic))
        hidden = self.mlp(self.pre_mlp_layer_norm(x_BxSxD), deterministic=deterministic)
        return _place(x_BxSxD + self.dropout(hidden, deterministic=deterministic))


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward."""

    config: T5Config

    def setup(self) -> None:
        self.pre_self_attention_layer_norm = _norm(self.config)
        self.self_attention = _attention(self.config)
        self.pre_cross_attention_layer_norm = _norm(self.config)
        self.encoder_decoder_attention = _attention(self.config)
        self.pre_mlp_layer_norm = _norm(self.config)
        self.mlp = MLP(self.config)
        self.dropout = nn.Dropout(self.config.dropout_rate, broadcast_dims=(-2,))
        if self.config.relative_bias_per_layer:
            self.relpos_bias = _relative_bias(self.config, bidirectional=False)

    def __call__(
        self,
        x_BxQxD: jax.Array,
        query_positions: jax.Array,
        key_positions: jax.Array,
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
            position_bias = self.relpos_bias(query_positions, key_positions)
        normed = self.pre_self_attention_layer_norm(x_BxQxD)
        block = self.self_attention.key_value(normed)
        attended = self.self_attention(
            normed,
            (block,) if prefix is None else (prefix, block),
            position_bias + self_mask_bias,
            deterministic=deterministic,
        )
        x_BxQxD = _place(x_BxQxD + self.dropout(attended, deterministic=deterministic))
        if not isinstance(cross, KeyValue):
            assert cross is not None, "cross-attention needs keys and values, or states"
            cross = self.encoder_decoder_attention.key_value(cross)
        attended = self.encoder_decoder_attention(
            self.pre_cross_attention_layer_norm(x_BxQxD),
            (cross,),
            cross_mask_bias,
            deterministic=deterministic,
        )
        x_BxQxD = _place(x_BxQxD + self.dropout(attended, deterministic=deterministic))
        hidden = self.mlp(self.pre_mlp_layer_norm(x_BxQxD), deterministic=deterministic)
        return _place(x_BxQxD + self.dropout(hidden, deterministic=deterministic)), block


class Encoder(nn.Module):
    """The stack of encoder layers."""

    config: T5Config

    def setup(self) -> None:
        config = self.config
        if not config.relative_bias_per_layer:
            self.relpos_bias = _relative_bias(config, bidirectional=True)
        self.layers = _stack_of(config, EncoderLayer, config.num_encoder_layers)
        self.encoder_norm = _norm(config)
        self.dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))

    def __call__(
        self,
        x_BxSxD: jax.Array,
        positions_BxS: jax.Array,
        mask_BxSxS: jax.Array,
        *,
        deterministic: bool,
    ) -> jax.Array:
        mask_bias = mask_to_bias(mask_BxSxS)[:, None]
        position_bias = None
        if not self.config.relative_bias_per_layer:
            position_bias = self.relpos_bias(positions_BxS, positions_BxS)
        x_BxSxD = self.dropout(x_BxSxD, deterministic=deterministic)

        def run(layer: EncoderLayer, x_BxSxD: jax.Array, _: None) -> tuple[jax.Array, None]:
            output = layer(
                x_BxSxD, positions_BxS, mask_bias, position_bias, deterministic=deterministic
            )
            return output, None

        count = self.config.num_encoder_layers
        x_BxSxD, _ = _run_layers(self.config, self.layers, count, run, x_BxSxD, [None] * count)
        return self.dropout(self.encoder_norm(x_BxSxD), deterministic=deterministic)


class Decoder(nn.Module):
    """The stack of decoder layers, with the output projection where it is not tied."""

    config: T5Config

    def setup(self) -> None:
        config = self.config
        if not config.relative_bias_per_layer:
            self.relpos_bias = _relative_bias(config, bidirectional=False)
        self.layers = _stack_of(config, DecoderLayer, config.num_decoder_layers)
        self.decoder_norm = _norm(config)
        self.dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))
        if not config.tied_embedding:
            self.logits_dense = OutputProjection(config)

    def cross_key_value(self, encoded_BxSxD: jax.Array) -> Cache:
        def project(layer: DecoderLayer, nothing: tuple[()], _: None) -> tuple[tuple[()], KeyValue]:
            return nothing, layer.encoder_decoder_attention.key_value(encoded_BxSxD)

        count = self.config.num_decoder_layers
        # Inputs of later products: kept, since to project them again would cost more than it saves.
        config = self.config.replace(remat="none")
        _, projected = _run_layers(config, self.layers, count, project, (), [None] * count)
        return tuple(projected)

    def __call__(
        self,
        x_BxQxD: jax.Array,
        query_positions: jax.Array,
        key_positions: jax.Array,
        self_mask: jax.Array,
        prefix: Cache | None,
        cross: Cache | jax.Array,
        cross_mask: jax.Array,
        *,
        keep_blocks: bool = True,
        deterministic: bool,
    ) -> tuple[jax.Array, Cache]:
        """Hidden states, and each layer's keys and values (none if not `keep_blocks`).

        `cross` may be the encoder's states: then each layer projects them itself, and its
        rematerialisation covers that.
        """
        self_mask_bias = mask_to_bias(self_mask)[:, None]
        cross_mask_bias = mask_to_bias(cross_mask)[:, None]
        position_bias = None
        if not self.config.relative_bias_per_layer:
            position_bias = self.relpos_bias(query_positions, key_positions)
        x_BxQxD = self.dropout(x_BxQxD, deterministic=deterministic)
        count = self.config.num_decoder_layers
        nothing = (None,) * count
        encoded = cross if isinstance(cross, jax.Array) else None

        def run(
            layer: DecoderLayer,
            x_BxQxD: jax.Array,
            given: tuple[KeyValue | None, KeyValue | None],
        ) -> tuple[jax.Array, KeyValue | None]:
            own_prefix, own_cross = given
            x_BxQxD, block = layer(
                x_BxQxD,
                query_positions,
                key_positions,
                self_mask_bias,
                position_bias,
                own_prefix,
                encoded if own_cross is None else own_cross,
                cross_mask_bias,
                deterministic=deterministic,
            )
            return x_BxQxD, block if keep_blocks else None

        inputs = list(
            zip(
                nothing if prefix is None else prefix,
                nothing if isinstance(cross, jax.Array) else cross,
                strict=True,
            )
        )
        x_BxQxD, blocks = _run_layers(self.config, self.layers, count, run, x_BxQxD, inputs)
        hidden = self.dropout(self.decoder_norm(x_BxQxD), deterministic=deterministic)
        return hidden, tuple(blocks) if keep_blocks else ()


class OutputProjection(nn.Module):
    """The untied output embedding: a kernel `[D, V]` of which columns can be taken alone."""

    config: T5Config

    def setup(self) -> None:
        self.kernel = self.param(
            "kernel",
            nn.with_logical_partitioning(
                nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),
                ("embed", "vocab"),
            ),
            (self.config.d_model, self.config.vocab_size),
            jnp.float32,
        )

    def __call__(self) -> jax.Array:
        return self.kernel


class T5(nn.Module):
    """An encoder-decoder transformer with T5's architecture.

    Dropout is active where `deterministic` is False and needs the random stream `dropout`.
    """

    config: T5Config

    def setup(self) -> None:
        config = self.config
        self.token_embedder = nn.Embed(
            config.vocab_size,
            config.d_model,
            dtype=jnp.dtype(config.dtype),
            embedding_init=nn.with_logical_partitioning(
                nn.initializers.normal(1.0), ("vocab", "embed")
            ),
        )
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def encode(
        self,
        tokens: Int[Array, "batch source"],
        segments: Int[Array, "batch source"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "batch source embed"]:
        """Encodes tokens; those of one segment number see each other, segment 0 is padding."""
        positions = jnp.arange(tokens.shape[1])[None]
        mask = (segments[:, :, None] == segments[:, None, :]) & (segments > 0)[:, None, :]
        return self.encoder(self._embed(tokens), positions, mask, deterministic=deterministic)

    def _embed(self, tokens_BxL: jax.Array) -> jax.Array:
        # The table's rows stay where they are, its columns come together: then a device gathers the
        # rows it has for its own examples. Left to itself, XLA would replicate what is gathered.
        table_VxD = self.token_embedder.embedding.astype(jnp.dtype(self.config.dtype))
        rows_BxLxD = jnp.take(constrain(table_VxD, "vocab", None), tokens_BxL, axis=0)
        return _place(rows_BxLxD)

    def cross_key_value(self, encoded: Float[Array, "batch source embed"]) -> Cache:
        """What every decoder layer's cross-attention reads, computed once a sentence."""
        return self.decoder.cross_key_value(encoded)

    def decode_block(
        self,
        tokens: Int[Array, "batch queries"],
        positions: Int[Array, "#batch queries"],
        self_mask: Bool[Array, "#batch queries keys"],
        cross: Cache,
        cross_mask: Bool[Array, "#batch #queries source"],
        *,
        prefix: Cache | None = None,
        prefix_positions: Int[Array, "#batch prefix"] | None = None,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "batch queries embed"], Cache]:
        """Runs a block of decoder tokens, with cached slots before it, through the decoder.

        `positions` are the tokens' true positions in their sequence: relative biases follow them,
        whatever slot a token lies in. `keys` counts the prefix's slots first, then the block's
        tokens. Returns hidden states and the block's own keys and values, to be written to the
        cache by the caller.
        """
        key_positions = positions
        if prefix is not None:
            assert prefix_positions is not None, "a prefix needs its positions"
            rows = max(positions.shape[0], prefix_positions.shape[0])
            key_positions = jnp.concatenate(
                [
                    jnp.broadcast_to(prefix_positions, (rows, prefix_positions.shape[1])),
                    jnp.broadcast_to(positions, (rows, positions.shape[1])),
                ],
                axis=1,
            )
        return self.decoder(
            self._embed(tokens),
            positions,
            key_positions,
            self_mask,
            prefix,
            cross,
            cross_mask,
            deterministic=deterministic,
        )

    def logits(
        self, hidden: Float[Array, "batch queries embed"]
    ) -> Float[Array, "batch queries vocab"]:
        """Logits over all rows of the vocabulary, float32."""
        dtype = jnp.dtype(self.config.dtype)
        if self.config.tied_embedding:
            hidden = hidden * jnp.asarray(self.config.d_model**-0.5, dtype)
            kernel = self.token_embedder.embedding.T
        else:
            kernel = self.decoder.logits_dense()
        logits = rows_dot(hidden, kernel.astype(dtype), preferred_element_type=jnp.float32)
        return constrain(logits, "batch", "length", "vocab")

    def output_rows(self, token_ids: Int[Array, "*tokens"]) -> Float[Array, "*tokens embed"]:
        """The output embedding of the given tokens: a token's logit is its product with `hidden`.

        Reads just those rows; in the dtype of the activations, the scale of a tied embedding
        included.
        """
        dtype = jnp.dtype(self.config.dtype)
        if self.config.tied_embedding:
            return (self.token_embedder.embedding[token_ids] * self.config.d_model**-0.5).astype(
                dtype
            )
        return jnp.moveaxis(self.decoder.logits_dense()[:, token_ids], 0, -1).astype(dtype)

    def __call__(
        self,
        encoder_tokens: Int[Array, "batch source"],
        encoder_segments: Int[Array, "batch source"],
        decoder_tokens: Int[Array, "batch target"],
        decoder_segments: Int[Array, "batch target"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "batch target vocab"]:
        """Teacher-forced logits; `decoder_tokens` are the targets shifted right.

        Segment numbers start at 1 and 0 marks padding: with one example a row they are plain
        padding masks, with several (packing) each sees itself only.
        """
        hidden = self.hidden(
            encoder_tokens,
            encoder_segments,
            decoder_tokens,
            decoder_segments,
            deterministic=deterministic,
        )
        return self.logits(hidden)

    def hidden(
        self,
        encoder_tokens: Int[Array, "batch source"],
        encoder_segments: Int[Array, "batch source"],
        decoder_tokens: Int[Array, "batch target"],
        decoder_segments: Int[Array, "batch target"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "batch target embed"]:
        """As `__call__`, up to the decoder's last norm."""
        encoded = self.encode(encoder_tokens, encoder_segments, deterministic=deterministic)
        steps = jnp.arange(decoder_tokens.shape[1])
        same = decoder_segments[:, :, None] == decoder_segments[:, None, :]
        hidden, _ = self.decoder(
            self._embed(decoder_tokens),
            steps[None],
            steps[None],
            same & (steps[:, None] >= steps[None, :])[None],
            None,
            encoded,
            (decoder_segments[:, :, None] == encoder_segments[:, None, :])
            & (encoder_segments > 0)[:, None, :],
            keep_blocks=False,
            deterministic=deterministic,
        )
        return hidden
