"""The fields in which BERT, MiniLM, ELECTRA, RoBERTa and XLM-R differ, and nothing else."""

import dataclasses
from typing import ClassVar, Literal, get_args

from distill_jax.configuration import setting
from distill_jax.errors import UserError
from distill_jax.models.json_config import JsonConfig
from distill_jax.models.t5_config import AttentionImplementation

Architecture = Literal["bert", "electra", "roberta", "xlm-roberta"]
BertActivation = Literal["gelu", "gelu_new", "relu", "silu"]
"""`gelu` is the exact one, by erf; `gelu_new` its approximation by tanh."""

_COUNTS_FROM_PADDING = ("roberta", "xlm-roberta")


@dataclasses.dataclass(frozen=True)
class BertConfig(JsonConfig):
    """Describes a tagger with an encoder of BERT's kind.

    | architecture           | d_embedding        | token_types | first position |
    |------------------------|--------------------|-------------|----------------|
    | `bert` (MiniLM as well) | d_model            | 2           | 0              |
    | `electra`              | any, then a projection | 2       | 0              |
    | `roberta`, `xlm-roberta` | d_model          | 1           | pad_id + 1     |

    `vocab_size` counts embedding rows, `num_tags` the sBIO tags (0: no tag head, as in a checkpoint
    that was pre-trained alone); where a run's data decide, 0 is what they will. `d_embedding` 0
    stands for `d_model`. `max_positions` counts rows of the position embedding. `dropout_rate` is
    that of embeddings, residuals and the head, `attention_dropout_rate` that of attention weights.
    `dtype` is that of activations; parameters, norms, softmax and logits are float32 always.

    Raises `UserError` if a value is unknown or out of range, or values contradict each other.
    """

    model_type: ClassVar[str] = "bert"
    sizes: ClassVar[tuple[str, ...]] = ("vocab_size", "num_tags")
    architecture: Architecture = "bert"
    vocab_size: int = 0
    num_tags: int = 0
    d_model: int = 384
    d_embedding: int = 0
    d_ff: int = 1536
    num_heads: int = 12
    num_layers: int = 6
    max_positions: int = 512
    token_types: int = 2
    activation: BertActivation = "gelu"
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-12
    initializer_range: float = 0.02
    pad_id: int = 0
    dtype: Literal["float32", "bfloat16"] = setting("float32", macro="DTYPE")
    attention_implementation: AttentionImplementation = setting("einsum", macro="ATTENTION")

    def __post_init__(self) -> None:
        for name, known in (
            ("architecture", Architecture),
            ("activation", BertActivation),
            ("attention_implementation", AttentionImplementation),
            ("dtype", Literal["float32", "bfloat16"]),
        ):
            if getattr(self, name) not in get_args(known):
                raise UserError(
                    f"BertConfig: {name} {getattr(self, name)!r} is not supported; use one of "
                    f"{', '.join(get_args(known))}"
                )
        if self.attention_implementation == "cudnn" and self.dtype != "bfloat16":
            raise UserError(
                "BertConfig: attention_implementation 'cudnn' computes in bfloat16 only; set dtype "
                "to 'bfloat16' or use 'xla'"
            )
        for name in ("d_model", "d_ff", "num_heads", "num_layers", "token_types"):
            _at_least(self, name, 1)
        for name in ("vocab_size", "num_tags", "d_embedding", "pad_id"):
            _at_least(self, name, 0)
        if self.d_model % self.num_heads:
            raise UserError(
                f"BertConfig: d_model {self.d_model} is not a multiple of num_heads {self.num_heads}; "
                "correct one of them"
            )
        _at_least(self, "max_positions", self.first_position + 3)  # a word, and what stands around
        if self.vocab_size and self.pad_id >= self.vocab_size:
            raise UserError(
                f"BertConfig: pad_id {self.pad_id} is no row of {self.vocab_size}; correct it"
            )
        for name in ("dropout_rate", "attention_dropout_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"BertConfig: {name} is {getattr(self, name)}; use 0 <= rate < 1")

    @property
    def first_position(self) -> int:
        """The row of the position embedding that the first token has."""
        return self.pad_id + 1 if self.counts_from_padding else 0

    @property
    def counts_from_padding(self) -> bool:
        """Whether positions count the tokens that are not padding, from `pad_id + 1` (RoBERTa)."""
        return self.architecture in _COUNTS_FROM_PADDING

    def padded_with(self, pad_id: int) -> "BertConfig":
        """With a vocabulary's padding, where padding is no more than what attention leaves out.

        A published model's `pad_token_id` may be another than its tokenizer's (multilingual MiniLM's is).
        """
        return self if self.counts_from_padding else self.replace(pad_id=pad_id)

    @property
    def max_tokens(self) -> int:
        """The most tokens of a sequence, special ones counted."""
        return self.max_positions - self.first_position

    @property
    def embedding_width(self) -> int:
        """The width of the embeddings, before ELECTRA's projection."""
        return self.d_embedding or self.d_model


def _at_least(config: BertConfig, name: str, least: int) -> None:
    if getattr(config, name) < least:
        raise UserError(
            f"BertConfig: {name} is {getattr(config, name)}; it must be at least {least}"
        )
