"""The encoder tagger: T5's encoder with one linear layer to the sBIO tags, no decoder.

A word is represented by the state of its first subword (Devlin et al. 2019, section 5.3). The stack is
that of `t5`, parameter names included, so the encoder of a T5 teacher can be its start.
"""

import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from distill_jax.configuration import setting
from distill_jax.errors import UserError
from distill_jax.models.json_config import JsonConfig
from distill_jax.models.t5_config import MlpActivation, T5Config
from distill_jax.models.t5_stacks import Encoder
from distill_jax.models.word_states import rows_at, states_of_words


@dataclasses.dataclass(frozen=True)
class EncoderTaggerConfig(JsonConfig):
    """Describes an encoder tagger; fields are those of `T5Config`, with `num_layers` encoder layers.

    `vocab_size` counts embedding rows, `num_tags` the sBIO tags; 0 is what the data of a run will
    decide. Raises `UserError` as `T5Config` does.
    """

    model_type: ClassVar[str] = "encoder_tagger"
    sizes: ClassVar[tuple[str, ...]] = ("vocab_size", "num_tags")
    pad_id: ClassVar[int] = 0
    vocab_size: int = 0
    num_tags: int = 0
    d_model: int = 256
    d_kv: int = 32
    d_ff: int = 512
    num_heads: int = 8
    num_layers: int = 6
    relative_buckets: int = 32
    relative_max_distance: int = 128
    activation: MlpActivation = "gelu"
    gated: bool = True
    relative_bias_per_layer: bool = False
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    dtype: Literal["float32", "bfloat16"] = setting("float32", macro="DTYPE")

    def __post_init__(self) -> None:
        if self.num_tags < 0:
            raise UserError(
                f"EncoderTaggerConfig: num_tags is {self.num_tags}; it must be at least 1"
            )
        _ = self.encoder

    @property
    def encoder(self) -> T5Config:
        """The T5 whose encoder this is; its decoder is of no meaning."""
        fields = dataclasses.asdict(self)
        del fields["num_tags"]
        return T5Config(num_encoder_layers=fields.pop("num_layers"), num_decoder_layers=1, **fields)


class EncoderTagger(nn.Module):
    """Tags each word of a batch of sentences."""

    config: EncoderTaggerConfig

    def initial(self, key: jax.Array) -> Any:
        """Random parameters, boxed with their logical axis names."""
        tokens, first = jnp.ones((1, 2), jnp.int32), jnp.zeros((1, 2), jnp.int32)
        return self.init(key, tokens, first)["params"]

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
        self.encoder = Encoder(config.encoder)
        self.output = nn.Dense(
            config.num_tags,
            dtype=jnp.float32,
            kernel_init=nn.with_logical_partitioning(
                nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),
                ("embed", "tags"),
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
            tokens_BxS: the subwords of all words, one word behind the other, then 0 as padding.
            first_BxL: where each word's first subword stands; -1 behind the last word.
            deterministic: False in training: dropout is drawn from the random stream `dropout`.

        Returns:
            float32 logits, zero where there is no word. Padding has no influence on words.
        """
        inputs = self._encoder_inputs(tokens_BxS)
        states_BxSxD = self.encoder(*inputs, deterministic=deterministic)
        words_BxLxD = rows_at(states_BxSxD, first_BxL)
        return jnp.where((first_BxL >= 0)[..., None], self.output(words_BxLxD), 0.0)

    def hidden_states(
        self, tokens_BxS: Int[Array, "batch source"], *, deterministic: bool = True
    ) -> tuple[Float[Array, "batch source embed"], ...]:
        """The states of all layers, as `t5_stacks.Encoder.hidden_states` gives them."""
        inputs = self._encoder_inputs(tokens_BxS)
        return self.encoder.hidden_states(*inputs, deterministic=deterministic)

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

    def _encoder_inputs(self, tokens_BxS: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Embeddings, positions and the mask of what tokens see."""
        real_BxS = tokens_BxS != self.config.pad_id
        return (
            self.token_embedder(tokens_BxS),
            jnp.arange(tokens_BxS.shape[1])[None],
            jnp.broadcast_to(real_BxS[:, None, :], (*tokens_BxS.shape, tokens_BxS.shape[1])),
        )
