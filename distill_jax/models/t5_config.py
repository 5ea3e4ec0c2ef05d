"""The fields in which the members of the T5 family differ, and nothing else."""

import dataclasses
from typing import Any, Literal

from distill_jax.configuration import setting
from distill_jax.errors import UserError

MlpActivation = Literal["relu", "gelu", "silu"]
Remat = Literal["none", "full", "dots"]
AttentionImplementation = Literal["einsum", "xla", "cudnn"]


@dataclasses.dataclass(frozen=True)
class T5Config:
    """Describes one T5 of any kind.

    | family           | tied_embedding | activation, gated | relative_bias_per_layer |
    |------------------|----------------|-------------------|-------------------------|
    | T5 v1.0          | True           | relu, False       | False                   |
    | v1.1, Flan, mT5  | False          | gelu, True        | False                   |
    | ByT5             | False          | gelu, True        | False                   |
    | umT5             | False          | gelu, True        | True                    |

    `vocab_size` counts the model's embedding rows, padding rows included (32,128 for T5, whose
    vocabulary has 32,100 entries); 0 stands for as many as the vocabulary of a run will need.
    `tied_embedding` ties the output projection to the token embedding and scales the logits by
    `d_model ** -0.5`. `dtype` is that of activations; parameters are float32 always, as are norms,
    softmax and logits.

    The last three fields say how a model is computed, not what it is; no checkpoint holds them:

    - `scan_layers`: layers are one `lax.scan` over stacked parameters (`models.stacking`), compiled
      once whatever their number. Dropout then draws other numbers than without.
    - `remat`: what the backward pass computes again in place of keeping it: `full` all but each
      layer's input, `dots` all but that and the results of products with parameters.
    - `attention_implementation`: `einsum`, or `jax.nn.dot_product_attention` by `xla` or `cudnn`
      (a GPU, and bfloat16). These two cannot drop attention weights: while dropout is active, and
      behind a cache, `einsum` computes attention whatever this says.
    """

    vocab_size: int = 0
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 1024
    num_heads: int = 6
    num_encoder_layers: int = 8
    num_decoder_layers: int = 8
    relative_buckets: int = 32
    relative_max_distance: int = 128
    activation: MlpActivation = "gelu"
    gated: bool = True
    tied_embedding: bool = False
    relative_bias_per_layer: bool = False
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    decoder_start_id: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    scan_layers: bool = False
    remat: Remat = "none"
    attention_implementation: AttentionImplementation = "einsum"

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16"):
            raise UserError(
                f"T5Config: dtype {self.dtype!r} is not supported (T5's activations overflow "
                "float16); use 'bfloat16' or 'float32'"
            )
        if self.activation not in ("relu", "gelu", "silu"):
            raise UserError(
                f"T5Config: activation {self.activation!r} is unknown; use relu, gelu or silu"
            )
        if self.remat not in ("none", "full", "dots"):
            raise UserError(f"T5Config: remat {self.remat!r} is unknown; use none, full or dots")
        if self.attention_implementation not in ("einsum", "xla", "cudnn"):
            raise UserError(
                f"T5Config: attention_implementation {self.attention_implementation!r} is unknown; "
                "use einsum, xla or cudnn"
            )
        if self.attention_implementation == "cudnn" and self.dtype != "bfloat16":
            raise UserError(
                "T5Config: attention_implementation 'cudnn' computes in bfloat16 only; set dtype "
                "to 'bfloat16' or use 'xla'"
            )
        if self.vocab_size < 0:
            raise UserError(f"T5Config: vocab_size is {self.vocab_size}; it must be at least 1")
        for name in (
            "d_model",
            "d_kv",
            "d_ff",
            "num_heads",
            "num_encoder_layers",
            "num_decoder_layers",
            "relative_max_distance",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"T5Config: {name} is {getattr(self, name)}; it must be at least 1")
        if self.relative_buckets < 4 or self.relative_buckets % 2:
            raise UserError(
                f"T5Config: relative_buckets is {self.relative_buckets}; use an even number from 4"
            )
        if self.relative_max_distance <= self.relative_buckets // 2:
            raise UserError(
                f"T5Config: relative_max_distance is {self.relative_max_distance}; it must exceed "
                f"half of relative_buckets ({self.relative_buckets // 2}), whose distances have a "
                "bucket each"
            )
        if not 0 <= self.dropout_rate < 1:
            raise UserError(f"T5Config: dropout_rate is {self.dropout_rate}; use 0 <= rate < 1")

    def replace(self, **changes: Any) -> "T5Config":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class T5Execution:
    """How a T5 is to be computed, whatever checkpoint it comes from: fields of `T5Config`.

    With the defaults a checkpoint's configuration stays as it is.
    """

    scan_layers: bool = setting(False, macro="SCAN_LAYERS")
    remat: Remat = setting("none", macro="REMAT")
    attention_implementation: AttentionImplementation = setting("einsum", macro="ATTENTION")
    dtype: Literal["float32", "bfloat16"] | None = setting(None, macro="DTYPE")

    def apply(self, config: T5Config) -> T5Config:
        """The configuration with these fields; `dtype` None keeps its own."""
        changes = dataclasses.asdict(self)
        if self.dtype is None:
            del changes["dtype"]
        return config.replace(**changes)
