"""BERT and its like in one module, and the tagger made of it.

Devlin et al. 2019 (arXiv 1810.04805); RoBERTa (1907.11692) and XLM-R (1911.02116) count positions
otherwise, ELECTRA (2003.10555) has embeddings of a width of their own, MiniLM (2002.10957) is a small
BERT. Norms follow the residuals, positions are absolute and learnt. The pooler, and the heads of
pre-training, are left out: nothing here reads them. Every sequence is of the first token type.

Shape suffixes: B batch, S subwords, L words, D model width.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from distill_jax.models.attention import Attention, mask_to_bias
from distill_jax.models.bert_config import BertConfig
from distill_jax.models.partitioning import constrain
from distill_jax.models.products import rows_dot
from distill_jax.models.word_states import rows_at, states_of_words

_ACTIVATIONS = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": jax.nn.gelu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


def _dense(config: BertConfig, features: int, axes: tuple[str | None, str]) -> nn.Dense:
    return nn.Dense(
        features,
        dtype=jnp.dtype(config.dtype),
        kernel_init=nn.with_logical_partitioning(
            nn.initializers.normal(config.initializer_range), axes
        ),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, axes[1:]),
        dot_general=rows_dot,
    )


def _norm(config: BertConfig) -> nn.LayerNorm:
    """Statistics in float32, from differences to the mean: those of squares lose digits."""
    return nn.LayerNorm(
        epsilon=config.layer_norm_epsilon,
        dtype=jnp.dtype(config.dtype),
        use_fast_variance=False,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones, ("embed",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("embed",)),
    )


def _place(x_BxSxD: jax.Array) -> jax.Array:
    return constrain(x_BxSxD, "batch", "length", "embed")


class BertEmbeddings(nn.Module):
    """Tokens, their positions and the first token type, summed and normed."""

    config: BertConfig

    def setup(self) -> None:
        config = self.config

        def table(rows: int, axis: str) -> nn.Embed:
            return nn.Embed(
                rows,
                config.embedding_width,
                dtype=jnp.dtype(config.dtype),
                embedding_init=nn.with_logical_partitioning(
                    nn.initializers.normal(config.initializer_range), (axis, "embed")
                ),
            )

        self.tokens = table(config.vocab_size, "vocab")
        self.positions = table(config.max_positions, "positions")
        self.types = table(config.token_types, "types")
        self.norm = _norm(config)
        self.dropout = nn.Dropout(config.dropout_rate)
        if config.embedding_width != config.d_model:
            self.projection = _dense(config, config.d_model, (None, "embed"))

    def __call__(
        self, tokens_BxS: jax.Array, real_BxS: jax.Array, *, deterministic: bool
    ) -> jax.Array:
        config = self.config
        if config.counts_from_padding:
            count_BxS = jnp.cumsum(real_BxS.astype(jnp.int32), axis=1)
            positions_BxS = config.pad_id + jnp.where(real_BxS, count_BxS, 0)
        else:
            positions_BxS = jnp.arange(tokens_BxS.shape[1])[None]
        # Padding may reach beyond the last position, and a row that is not there would be NaN.
        positions_BxS = jnp.minimum(positions_BxS, config.max_positions - 1)
        summed = self.tokens(tokens_BxS) + self.positions(positions_BxS) + self.types.embedding[0]
        x_BxSxD = self.dropout(self.norm(summed), deterministic=deterministic)
        if config.embedding_width != config.d_model:
            x_BxSxD = self.projection(x_BxSxD)
        return _place(x_BxSxD)


class BertLayer(nn.Module):
    """Self-attention and feed-forward, each with a residual and a norm behind it."""

    config: BertConfig

    def setup(self) -> None:
        config = self.config
        head_dim = config.d_model // config.num_heads
        self.attention = Attention(
            num_heads=config.num_heads,
            head_dim=head_dim,
            d_model=config.d_model,
            dropout_rate=config.attention_dropout_rate,
            dtype=jnp.dtype(config.dtype),
            implementation=config.attention_implementation,
            use_bias=True,
            scale=head_dim**-0.5,
            stddev=config.initializer_range,
            drops_keys=False,
        )
        self.attention_norm = _norm(config)
        self.wi = _dense(config, config.d_ff, ("embed", "mlp"))
        self.wo = _dense(config, config.d_model, ("mlp", "embed"))
        self.mlp_norm = _norm(config)
        self.dropout = nn.Dropout(config.dropout_rate)

    def __call__(
        self, x_BxSxD: jax.Array, mask_bias: jax.Array, *, deterministic: bool
    ) -> jax.Array:
        attended = self.attention(
            x_BxSxD,
            (self.attention.key_value(x_BxSxD),),
            mask_bias,
            deterministic=deterministic,
        )
        attended = self.dropout(attended, deterministic=deterministic)
        x_BxSxD = _place(self.attention_norm(x_BxSxD + attended))
        hidden = constrain(self.wi(x_BxSxD), "batch", "length", "mlp")
        hidden = self.wo(_ACTIVATIONS[self.config.activation](hidden))
        hidden = self.dropout(hidden, deterministic=deterministic)
        return _place(self.mlp_norm(x_BxSxD + hidden))


class Bert(nn.Module):
    """The encoder."""

    config: BertConfig

    def setup(self) -> None:
        self.embeddings = BertEmbeddings(self.config)
        self.layers = [BertLayer(self.config) for _ in range(self.config.num_layers)]

    def __call__(
        self,
        tokens_BxS: Int[Array, "batch source"],
        real_BxS: Bool[Array, "batch source"],
        *,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "batch source embed"], ...]:
        """All hidden states: the embeddings' output, then each layer's; the last is the encoder's.

        Args:
            tokens_BxS: ids.
            real_BxS: False at padding, which no other token sees; its own states mean nothing.
            deterministic: False in training: dropout is drawn from the random stream `dropout`.
        """
        states = [self.embeddings(tokens_BxS, real_BxS, deterministic=deterministic)]
        mask_bias = mask_to_bias(real_BxS[:, None, None, :])
        for layer in self.layers:
            states.append(layer(states[-1], mask_bias, deterministic=deterministic))
        return tuple(states)


class BertTagger(nn.Module):
    """Tags each word of a batch of sentences: a linear layer on the state of its first subword."""

    config: BertConfig

    def initial(self, key: jax.Array) -> Any:
        """Random parameters, boxed with their logical axis names; without tags those of the encoder alone."""
        tokens, first = jnp.ones((1, 2), jnp.int32), jnp.zeros((1, 2), jnp.int32)
        method = None if self.config.num_tags else "word_states"
        return self.init(key, tokens, first, method=method)["params"]

    def setup(self) -> None:
        config = self.config
        self.bert = Bert(config)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.output = nn.Dense(
            config.num_tags,
            dtype=jnp.float32,
            kernel_init=nn.with_logical_partitioning(
                nn.initializers.normal(config.initializer_range), ("embed", "tags")
            ),
            bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("tags",)),
        )

    def __call__(
        self,
        tokens_BxS: Int[Array, "batch source"],
        first_BxL: Int[Array, "batch length"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "batch length tags"]:
        """Computes the logits of every word's tag.

        Args:
            tokens_BxS: the special token in front, the subwords of all words, the special token
                behind, then `config.pad_id` as padding.
            first_BxL: where each word's first subword stands; -1 behind the last word.
            deterministic: False in training: dropout is drawn from the random stream `dropout`.

        Returns:
            float32 logits, zero where there is no word. Padding has no influence on words.
        """
        states_BxSxD = self.hidden_states(tokens_BxS, deterministic=deterministic)[-1]
        words_BxLxD = rows_at(states_BxSxD, first_BxL)
        words_BxLxD = self.dropout(words_BxLxD, deterministic=deterministic)
        return jnp.where((first_BxL >= 0)[..., None], self.output(words_BxLxD), 0.0)

    def hidden_states(
        self, tokens_BxS: Int[Array, "batch source"], *, deterministic: bool = True
    ) -> tuple[Float[Array, "batch source embed"], ...]:
        """The states of all layers, as `Bert` gives them."""
        real_BxS = tokens_BxS != self.config.pad_id
        return self.bert(tokens_BxS, real_BxS, deterministic=deterministic)

    def word_states(
        self,
        tokens_BxS: Int[Array, "batch source"],
        first_BxL: Int[Array, "batch length"],
        *,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "batch length embed"], ...]:
        """The states of all layers, as `hidden_states` gives them, at each word's first subword.

        Arguments are those of `__call__`. States are zero where there is no word.
        """
        states = self.hidden_states(tokens_BxS, deterministic=deterministic)
        return states_of_words(states, first_BxL)
