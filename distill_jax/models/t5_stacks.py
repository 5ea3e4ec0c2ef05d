"""T5's stacks of layers: the encoder and the decoder, and how layers are run one after the other.

Whether layers are modules of their own or one scanned module, and what is computed again for the
gradient, is decided in `run_layers` and nowhere else. Shape suffixes: B batch, S encoder length,
Q queries (a block of decoder tokens), D model width.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from distill_jax.models.attention import KeyValue, mask_to_bias
from distill_jax.models.stacking import STACKED, take_layer
from distill_jax.models.t5_config import T5Config
from distill_jax.models.t5_layers import DecoderLayer, EncoderLayer, Positions, norm, relative_bias

Cache = tuple[KeyValue, ...]
"""Keys and values of every decoder layer."""

_REMAT_POLICIES = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def stack_of(config: T5Config, layer: type[nn.Module], count: int) -> nn.Module | list[nn.Module]:
    """The layers of a stack: each a module, or one module whose parameters are stacked."""
    return layer(config) if config.scan_layers else [layer(config) for _ in range(count)]


def run_layers(
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


class Encoder(nn.Module):
    """The stack of encoder layers."""

    config: T5Config

    def setup(self) -> None:
        config = self.config
        if not config.relative_bias_per_layer:
            self.relpos_bias = relative_bias(config, bidirectional=True)
        self.layers = stack_of(config, EncoderLayer, config.num_encoder_layers)
        self.encoder_norm = norm(config)
        self.dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))

    def __call__(
        self,
        x_BxSxD: jax.Array,
        positions_BxS: jax.Array,
        mask_BxSxS: jax.Array,
        *,
        deterministic: bool,
    ) -> jax.Array:
        x_BxSxD, _ = self._run(
            x_BxSxD, positions_BxS, mask_BxSxS, keep=False, deterministic=deterministic
        )
        return x_BxSxD

    def hidden_states(
        self,
        x_BxSxD: jax.Array,
        positions_BxS: jax.Array,
        mask_BxSxS: jax.Array,
        *,
        deterministic: bool,
    ) -> tuple[jax.Array, ...]:
        """The embeddings, then each layer's output; the last is normed, what `__call__` gives
        (transformers counts and norms them likewise)."""
        last_BxSxD, states = self._run(
            x_BxSxD, positions_BxS, mask_BxSxS, keep=True, deterministic=deterministic
        )
        return (*states, last_BxSxD)

    def _run(
        self,
        x_BxSxD: jax.Array,
        positions_BxS: jax.Array,
        mask_BxSxS: jax.Array,
        *,
        keep: bool,
        deterministic: bool,
    ) -> tuple[jax.Array, list[Any]]:
        """The last state, normed, and what each layer reads (None unless it is to be kept)."""
        mask_bias = mask_to_bias(mask_BxSxS)[:, None]
        position_bias = None
        if not self.config.relative_bias_per_layer:
            position_bias = self.relpos_bias(positions_BxS, positions_BxS)
        x_BxSxD = self.dropout(x_BxSxD, deterministic=deterministic)

        def run(layer: EncoderLayer, x_BxSxD: jax.Array, _: None) -> tuple[jax.Array, Any]:
            output = layer(
                x_BxSxD, positions_BxS, mask_bias, position_bias, deterministic=deterministic
            )
            return output, x_BxSxD if keep else None

        count = self.config.num_encoder_layers
        x_BxSxD, read = run_layers(self.config, self.layers, count, run, x_BxSxD, [None] * count)
        return self.dropout(self.encoder_norm(x_BxSxD), deterministic=deterministic), read


class Decoder(nn.Module):
    """The stack of decoder layers, with the output projection where it is not tied."""

    config: T5Config

    def setup(self) -> None:
        config = self.config
        if not config.relative_bias_per_layer:
            self.relpos_bias = relative_bias(config, bidirectional=False)
        self.layers = stack_of(config, DecoderLayer, config.num_decoder_layers)
        self.decoder_norm = norm(config)
        self.dropout = nn.Dropout(config.dropout_rate, broadcast_dims=(-2,))
        if not config.tied_embedding:
            self.logits_dense = OutputProjection(config)

    def cross_key_value(self, encoded_BxSxD: jax.Array) -> Cache:
        def project(layer: DecoderLayer, nothing: tuple[()], _: None) -> tuple[tuple[()], KeyValue]:
            return nothing, layer.encoder_decoder_attention.key_value(encoded_BxSxD)

        count = self.config.num_decoder_layers
        # Inputs of later products: kept, since to project them again would cost more than it saves.
        config = self.config.replace(remat="none")
        _, projected = run_layers(config, self.layers, count, project, (), [None] * count)
        return tuple(projected)

    def __call__(
        self,
        x_BxQxD: jax.Array,
        positions: Positions,
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
            position_bias = self.relpos_bias(*positions)
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
                positions,
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
        x_BxQxD, blocks = run_layers(self.config, self.layers, count, run, x_BxQxD, inputs)
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
