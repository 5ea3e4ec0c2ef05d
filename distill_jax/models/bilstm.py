"""The BiLSTM tagger: the small student of Farina et al. 2023 (arXiv 2302.05454), without a CRF.

Word embeddings ⊕ the last states of a character BiLSTM → word BiLSTM → one linear layer to the sBIO
tags. Decoding to legal tags is not the model's business (`distill_jax_runtime.legal`).

Not stated in the paper and chosen here: dropout on the input and output of each word layer, and
`word_dropout`, which trains the vector of unknown words by putting it in the place of known ones; and a
frozen table of words that were not in training, whose vectors are of the space that the trained ones
started in. It is there at prediction alone: training is that of the same model without
(`num_frozen_words` 0), so that a step neither reads nor carries it. Of words too rare for a row of their own
training has the vectors given with the batch, as the table would give them.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from distill_jax.errors import UserError
from distill_jax.models.json_config import JsonConfig
from distill_jax.models.lstm import BidirectionalLSTM

# Ids of `distill_jax.vocab.WordVocabulary`, the same for words and characters.
PAD_ID = 0
UNK_ID = 1

FROZEN_EMBEDDING = "frozen_embedding"
"""The name of the frozen table's module among the parameters."""


@dataclasses.dataclass(frozen=True)
class BiLSTMConfig(JsonConfig):
    """Describes a BiLSTM tagger; the defaults are the paper's student.

    `num_words` and `num_chars` count embedding rows, those of padding (0) and unknown (1) included;
    `num_tags` counts the sBIO tags; 0 is what the data of a run will decide. `num_frozen_words` counts
    the rows of the frozen table, whose ids follow `num_words`. `char_hidden` and
    `hidden` are widths of one direction. `dropout` and `word_dropout` are probabilities. `dtype` is
    that of activations; parameters, the LSTM's states and the logits are float32 always.
    """

    model_type: ClassVar[str] = "bilstm_tagger"
    sizes: ClassVar[tuple[str, ...]] = ("num_words", "num_chars", "num_tags")
    num_words: int = 0
    num_chars: int = 0
    num_tags: int = 0
    num_frozen_words: int = 0
    word_dim: int = 100
    char_dim: int = 25
    char_hidden: int = 25
    hidden: int = 200
    num_layers: int = 1
    dropout: float = 0.5
    word_dropout: float = 0.05
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name in ("word_dim", "char_dim", "char_hidden", "hidden", "num_layers"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"BiLSTMConfig: {name} is {getattr(self, name)}; it must be at least 1"
                )
        for name in ("num_words", "num_chars"):
            if 0 != getattr(self, name) <= UNK_ID:
                raise UserError(
                    f"BiLSTMConfig: {name} is {getattr(self, name)}; it must be at least 2, as ids 0"
                    " and 1 stand for padding and unknown"
                )
        if self.num_frozen_words < 0:
            raise UserError(
                f"BiLSTMConfig: num_frozen_words is {self.num_frozen_words}; it must be at least 0"
            )
        if self.num_tags < 0:
            raise UserError(f"BiLSTMConfig: num_tags is {self.num_tags}; it must be at least 1")
        for name in ("dropout", "word_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"BiLSTMConfig: {name} is {getattr(self, name)}; use 0 <= rate < 1")
        if self.dtype not in ("float32", "bfloat16"):
            raise UserError(
                f"BiLSTMConfig: dtype {self.dtype!r} is not supported (float16 is refused in the"
                " whole program, as T5 overflows it); use 'bfloat16' or 'float32'"
            )


class BiLSTMTagger(nn.Module):
    """Tags each word of a batch of sentences."""

    config: BiLSTMConfig

    def initial(self, key: jax.Array) -> Any:
        """Random parameters, boxed with their logical axis names."""
        word_ids, char_ids = jnp.ones((1, 2), jnp.int32), jnp.ones((1, 2, 2), jnp.int32)
        return self.init(key, word_ids, char_ids)["params"]

    def __call__(
        self,
        word_ids_BxL: Int[Array, "batch length"],
        char_ids_BxLxC: Int[Array, "batch length chars"],
        given_BxLxE: Float[Array, "batch length features"] | None = None,
        *,
        deterministic: bool = True,
    ) -> Float[Array, "batch length tags"]:
        """Computes the logits of every word's tag.

        Args:
            word_ids_BxL: 0 marks padding, after the words.
            char_ids_BxLxC: each word's characters, 0 for padding after them.
            given_BxLxE: the vectors of words whose id is below 0, where there may be any.
            deterministic: False in training: dropout and word dropout apply, drawn from the random
                stream `dropout`.

        Returns:
            float32 logits, zero where there is padding. Padding has no influence on other words.
        """
        logits_BxLxK, _ = self._run(
            word_ids_BxL, char_ids_BxLxC, given_BxLxE, deterministic=deterministic
        )
        return logits_BxLxK

    def word_states(
        self,
        word_ids_BxL: Int[Array, "batch length"],
        char_ids_BxLxC: Int[Array, "batch length chars"],
        given_BxLxE: Float[Array, "batch length features"] | None = None,
        *,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "batch length features"], ...]:
        """The words' vectors with their spelling, then each word layer's output (of other widths),
        behind dropout.

        Arguments are those of `__call__`. States are zero where there is padding.
        """
        _, states = self._run(
            word_ids_BxL, char_ids_BxLxC, given_BxLxE, deterministic=deterministic
        )
        real_BxLx1 = (word_ids_BxL != PAD_ID)[..., None]
        return tuple(jnp.where(real_BxLx1, layer, 0.0) for layer in states)

    @nn.compact
    def _run(
        self,
        word_ids_BxL: jax.Array,
        char_ids_BxLxC: jax.Array,
        given_BxLxE: jax.Array | None,
        *,
        deterministic: bool,
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Logits, and what each layer and the head read."""
        config = self.config
        dtype = jnp.dtype(config.dtype)
        word_mask_BxL = word_ids_BxL != PAD_ID
        char_mask_BxLxC = (char_ids_BxLxC != PAD_ID) & word_mask_BxL[..., None]

        # Dropout is drawn with the length as the first axis: what a word draws then does not depend
        # on how far the batch is padded, and padding has no influence in training either.
        if config.word_dropout and not deterministic:
            dropped = jax.random.bernoulli(
                self.make_rng("dropout"), config.word_dropout, word_ids_BxL.T.shape
            ).T
            word_ids_BxL = jnp.where(dropped & word_mask_BxL, UNK_ID, word_ids_BxL)

        def dropout(values: jax.Array) -> jax.Array:
            steps_first = nn.Dropout(config.dropout)(
                jnp.swapaxes(values, 0, 1), deterministic=deterministic
            )
            return jnp.swapaxes(steps_first, 0, 1)

        trained_BxL = word_ids_BxL
        if config.num_frozen_words:
            is_frozen_BxL = word_ids_BxL >= config.num_words
            trained_BxL = jnp.where(is_frozen_BxL, UNK_ID, word_ids_BxL)
        if given_BxLxE is not None:
            is_given_BxL = word_ids_BxL < 0
            trained_BxL = jnp.where(is_given_BxL, UNK_ID, trained_BxL)
        words_BxLxE = embedding(config.num_words, config.word_dim, dtype, "word_embedding")(
            trained_BxL
        )
        if config.num_frozen_words:
            frozen_BxLxE = FrozenEmbedding(
                config.num_frozen_words, config.word_dim, name=FROZEN_EMBEDDING
            )(jnp.maximum(word_ids_BxL - config.num_words, 0)).astype(dtype)
            words_BxLxE = jnp.where(is_frozen_BxL[..., None], frozen_BxLxE, words_BxLxE)
        if given_BxLxE is not None:
            words_BxLxE = jnp.where(is_given_BxL[..., None], given_BxLxE.astype(dtype), words_BxLxE)
        chars_BxLxCxE = embedding(config.num_chars, config.char_dim, dtype, "char_embedding")(
            char_ids_BxLxC
        )
        batch, length, chars = char_ids_BxLxC.shape
        _, spelling = BidirectionalLSTM(config.char_hidden, dtype, name="char_lstm")(
            chars_BxLxCxE.reshape(batch * length, chars, config.char_dim),
            char_mask_BxLxC.reshape(batch * length, chars),
        )
        spelling_BxLxE = spelling.reshape(batch, length, -1).astype(dtype)

        states_BxLxD = dropout(jnp.concatenate([words_BxLxE, spelling_BxLxE], axis=-1))
        states = [states_BxLxD]
        for layer in range(config.num_layers):
            states_BxLxD, _ = BidirectionalLSTM(config.hidden, dtype, name=f"word_lstm_{layer}")(
                states_BxLxD, word_mask_BxL
            )
            states_BxLxD = dropout(states_BxLxD)
            states.append(states_BxLxD)
        logits_BxLxK = nn.Dense(
            config.num_tags,
            dtype=jnp.float32,
            kernel_init=nn.with_logical_partitioning(
                nn.initializers.variance_scaling(1.0, "fan_avg", "uniform"), ("lstm_hidden", "tags")
            ),
            bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("tags",)),
            name="output",
        )(states_BxLxD)
        return jnp.where(word_mask_BxL[..., None], logits_BxLxK, 0.0), states


def embedding(rows: int, features: int, dtype: Any, name: str) -> nn.Embed:
    """An embedding drawn from U(-√(3/features), √(3/features)), padding and unknown zero.

    Unknown is zero at first because it may never be trained (characters, or words without word
    dropout), and a random vector would then be noise at prediction.
    """

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        bound = math.sqrt(3 / features)
        values = jax.random.uniform(key, shape, dtype, -bound, bound)
        return values.at[jnp.array([PAD_ID, UNK_ID])].set(0)

    return nn.Embed(
        rows,
        features,
        dtype=dtype,
        embedding_init=nn.with_logical_partitioning(init, ("vocab", "embed")),
        name=name,
    )


class FrozenEmbedding(nn.Module):
    """Rows of a table that is not trained, in the table's own type, float32 or float16.

    The rows are looked up before they are widened: `nn.Embed` would widen all of the table.
    """

    rows: int
    features: int

    @nn.compact
    def __call__(self, ids: Int[Array, "..."]) -> Float[Array, "... features"]:
        """Looks up."""
        table_FxE = self.param(
            "embedding",
            nn.with_logical_partitioning(nn.initializers.zeros, ("vocab", "embed")),
            (self.rows, self.features),
        )
        return jnp.take(table_FxE, ids, axis=0)


def with_frozen_embedding(params: Mapping[str, Any], table_FxE: Any) -> dict[str, Any]:
    """The parameters of a trained tagger with a frozen table: those of the model that predicts."""
    return {**params, FROZEN_EMBEDDING: {"embedding": table_FxE}}


def with_word_embeddings(
    params: Mapping[str, Any], embeddings_VxE: Float[Any, "words features"]
) -> dict[str, Any]:
    """A copy of the tagger's parameters with other word embeddings (GloVe's, say).

    Args:
        params: of `BiLSTMTagger`, with or without boxes that hold logical axis names.
        embeddings_VxE: `[num_words, word_dim]`, as `distill_jax.vocab.WordTable.embeddings` gives them.

    Raises:
        UserError: if the shape is not that of the model's word embeddings.
    """
    old = params["word_embedding"]["embedding"]
    new = jnp.asarray(embeddings_VxE, jnp.float32)
    shape = nn.meta.unbox(old).shape
    if new.shape != shape:
        raise UserError(
            f"word embeddings have shape {new.shape}, the model expects {shape}; set num_words and"
            " word_dim to theirs"
        )
    boxed = nn.meta.replace_boxed(old, new)
    return {**params, "word_embedding": {**params["word_embedding"], "embedding": boxed}}
