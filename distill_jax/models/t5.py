"""T5 (Raffel et al. 2020) and its descendants as one Flax Linen module.

Parameters carry the names and the logical axes of t5x's T5, so that checkpoints of t5x map one to
one (`encoder/layers_0/attention/query/kernel`, axes `embed`, `joined_kv`). The layers are in
`t5_layers`, the encoder and the decoder in `t5_stacks`. Shape suffixes: B batch, L length, D model
width, V vocabulary rows.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from distill_jax.models.partitioning import constrain
from distill_jax.models.products import rows_dot
from distill_jax.models.t5_config import T5Config
from distill_jax.models.t5_layers import Positions, place
from distill_jax.models.t5_stacks import Cache, Decoder, Encoder


class T5(nn.Module):
    """An encoder-decoder transformer with T5's architecture.

    Dropout is active where `deterministic` is False and needs the random stream `dropout`.
    """

    config: T5Config

    def initial(self, key: jax.Array) -> Any:
        """Random parameters, boxed with their logical axis names."""
        tokens = jnp.ones((1, 2), jnp.int32)
        return self.init(key, tokens, tokens, tokens, tokens)["params"]

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
        inputs = self._encoder_inputs(tokens, segments)
        return self.encoder(*inputs, deterministic=deterministic)

    def encoder_states(
        self,
        tokens: Int[Array, "batch source"],
        segments: Int[Array, "batch source"],
        *,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "batch source embed"], ...]:
        """The states of all the encoder's layers (`t5_stacks.Encoder.hidden_states`), as `encode`."""
        inputs = self._encoder_inputs(tokens, segments)
        return self.encoder.hidden_states(*inputs, deterministic=deterministic)

    def _encoder_inputs(
        self, tokens: jax.Array, segments: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Embeddings, positions and the mask of what tokens see."""
        positions = jnp.arange(tokens.shape[1])[None]
        mask = (segments[:, :, None] == segments[:, None, :]) & (segments > 0)[:, None, :]
        return self._embed(tokens), positions, mask

    def _embed(self, tokens_BxL: jax.Array) -> jax.Array:
        # The table's rows stay where they are, its columns come together: then a device gathers the
        # rows it has for its own examples. Left to itself, XLA would replicate what is gathered.
        table_VxD = self.token_embedder.embedding.astype(jnp.dtype(self.config.dtype))
        rows_BxLxD = jnp.take(constrain(table_VxD, "vocab", None), tokens_BxL, axis=0)
        return place(rows_BxLxD)

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
            Positions(positions, key_positions),
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
            # Rounded after the product, as in `output_rows`: a scale that is rounded is a bias of all.
            scaled = hidden.astype(jnp.float32) * self.config.d_model**-0.5
            hidden = scaled.astype(dtype)
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
            Positions(steps[None], steps[None]),
            same & (steps[:, None] >= steps[None, :])[None],
            None,
            encoded,
            (decoder_segments[:, :, None] == encoder_segments[:, None, :])
            & (encoder_segments > 0)[:, None, :],
            keep_blocks=False,
            deterministic=deterministic,
        )
        return hidden
