"""The names of a T5's parameters here (which are t5x's) and in Hugging Face's checkpoints.

Hugging Face stores a linear layer as `[out, in]` where Flax has `[in, out]`, and relative biases as
`[buckets, heads]` where t5x has `[heads, buckets]`: those are transposed.
"""

from collections.abc import Iterator
from typing import NamedTuple

from distill_jax.models.t5_config import T5Config

EMBEDDING = "shared.weight"
LM_HEAD = "lm_head.weight"

# Other names under which older checkpoints hold the token embedding, mostly beside `shared.weight`.
EMBEDDING_ALIASES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
UNUSED = {
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": (
        "early versions of transformers wrote it, and no T5 has such a bias"
    )
}
"""Tensors that no model uses, with the reason."""


class Parameter(NamedTuple):
    """One parameter: its name and shape in a Hugging Face checkpoint, and its path here."""

    hf_name: str
    hf_shape: tuple[int, ...]
    path: tuple[str, ...]
    transposed: bool


def parameters_of(config: T5Config) -> Iterator[Parameter]:
    """Every parameter of a T5, in the order in which they are stored."""
    embedding = (config.vocab_size, config.d_model)
    yield Parameter(EMBEDDING, embedding, ("token_embedder", "embedding"), False)
    yield from _stack(config, "encoder", config.num_encoder_layers)
    yield from _stack(config, "decoder", config.num_decoder_layers)
    if not config.tied_embedding:
        yield Parameter(LM_HEAD, embedding, ("decoder", "logits_dense", "kernel"), True)


def _stack(config: T5Config, stack: str, layers: int) -> Iterator[Parameter]:
    decoder = stack == "decoder"
    norm = (config.d_model,)
    for index in range(layers):
        hf, here = f"{stack}.block.{index}.layer", (stack, f"layers_{index}")

        own_bias = config.relative_bias_per_layer
        if own_bias or index == 0:
            yield Parameter(
                f"{hf}.0.SelfAttention.relative_attention_bias.weight",
                (config.relative_buckets, config.num_heads),
                (*(here if own_bias else (stack,)), "relpos_bias", "rel_embedding"),
                True,
            )
        name = "self_attention" if decoder else "attention"
        yield from _attention(config, f"{hf}.0.SelfAttention", (*here, name))
        yield Parameter(
            f"{hf}.0.layer_norm.weight", norm, (*here, f"pre_{name}_layer_norm", "scale"), False
        )
        if decoder:
            name = "encoder_decoder_attention"
            yield from _attention(config, f"{hf}.1.EncDecAttention", (*here, name))
            yield Parameter(
                f"{hf}.1.layer_norm.weight",
                norm,
                (*here, "pre_cross_attention_layer_norm", "scale"),
                False,
            )
        last = f"{hf}.{2 if decoder else 1}"
        for name in ("wi_0", "wi_1") if config.gated else ("wi",):
            yield Parameter(
                f"{last}.DenseReluDense.{name}.weight",
                (config.d_ff, config.d_model),
                (*here, "mlp", name, "kernel"),
                True,
            )
        yield Parameter(
            f"{last}.DenseReluDense.wo.weight",
            (config.d_model, config.d_ff),
            (*here, "mlp", "wo", "kernel"),
            True,
        )
        yield Parameter(
            f"{last}.layer_norm.weight", norm, (*here, "pre_mlp_layer_norm", "scale"), False
        )
    yield Parameter(
        f"{stack}.final_layer_norm.weight", norm, (stack, f"{stack}_norm", "scale"), False
    )


def _attention(config: T5Config, hf: str, here: tuple[str, ...]) -> Iterator[Parameter]:
    joined = config.num_heads * config.d_kv
    for hf_name, name in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out")):
        shape = (config.d_model, joined) if name == "out" else (joined, config.d_model)
        yield Parameter(f"{hf}.{hf_name}.weight", shape, (*here, name, "kernel"), True)
