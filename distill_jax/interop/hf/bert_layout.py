"""The names of a BERT's parameters here and in Hugging Face's checkpoints, and what is not a parameter.

A checkpoint of a bare encoder names its tensors without a prefix, one with a head puts `bert.`,
`electra.` or `roberta.` before those of the encoder. Names here are those without.
"""

import re
from collections.abc import Iterator

from distill_jax.interop.hf.layout import Parameter
from distill_jax.models.bert_config import BertConfig

PREFIXES = {
    "bert": "bert.",
    "electra": "electra.",
    "roberta": "roberta.",
    "xlm-roberta": "roberta.",
}
EMBEDDING = "embeddings.word_embeddings.weight"
HEAD = "classifier."

_UNUSED = (
    (r"pooler\.", "the pooler: words are read at their own states"),
    (r"embeddings\.(position|token_type)_ids$", "numbers that the program knows"),
    (
        r"(cls|lm_head|generator_predictions|generator_lm_head|discriminator_predictions)\.",
        "a head of pre-training",
    ),
    (r"(classifier|qa_outputs|sequence_summary|logits_proj)\.", "a head of another task"),
)


def own_name(name: str, architecture: str) -> str:
    """A tensor's name without the encoder's prefix; norms of old checkpoints are named as today's."""
    name = name.removeprefix(PREFIXES[architecture])
    return re.sub(
        r"LayerNorm\.(gamma|beta)$",
        lambda found: "LayerNorm." + {"gamma": "weight", "beta": "bias"}[found[1]],
        name,
    )


def why_unused(name: str, *, has_tag_head: bool) -> str | None:
    """The reason why a tensor (its name without prefix) is not read; None for one that is."""
    if has_tag_head and name.startswith(HEAD):
        return None
    return next((reason for pattern, reason in _UNUSED if re.match(pattern, name)), None)


def parameters_of_bert(config: BertConfig) -> Iterator[Parameter]:
    """Every parameter, in the order in which they are stored; a tag head's if there are tags."""
    width, wide = config.d_model, config.embedding_width
    here = ("bert", "embeddings")
    for hf, name, rows in (
        ("word", "tokens", config.vocab_size),
        ("position", "positions", config.max_positions),
        ("token_type", "types", config.token_types),
    ):
        path = (*here, name, "embedding")
        yield Parameter(f"embeddings.{hf}_embeddings.weight", (rows, wide), path, False)
    yield from _norm("embeddings.LayerNorm", wide, (*here, "norm"))
    if wide != width:
        yield from _dense("embeddings_project", (width, wide), (*here, "projection"))
    for index in range(config.num_layers):
        hf, here = f"encoder.layer.{index}", ("bert", f"layers_{index}")
        for name in ("query", "key", "value"):
            path = (*here, "attention", name)
            yield from _dense(f"{hf}.attention.self.{name}", (width, width), path)
        output = f"{hf}.attention.output"
        yield from _dense(f"{output}.dense", (width, width), (*here, "attention", "out"))
        yield from _norm(f"{output}.LayerNorm", width, (*here, "attention_norm"))
        yield from _dense(f"{hf}.intermediate.dense", (config.d_ff, width), (*here, "wi"))
        yield from _dense(f"{hf}.output.dense", (width, config.d_ff), (*here, "wo"))
        yield from _norm(f"{hf}.output.LayerNorm", width, (*here, "mlp_norm"))
    if config.num_tags:
        yield from _dense("classifier", (config.num_tags, width), ("output",))


def _dense(hf: str, shape: tuple[int, int], here: tuple[str, ...]) -> Iterator[Parameter]:
    yield Parameter(f"{hf}.weight", shape, (*here, "kernel"), True)
    yield Parameter(f"{hf}.bias", shape[:1], (*here, "bias"), False)


def _norm(hf: str, width: int, here: tuple[str, ...]) -> Iterator[Parameter]:
    yield Parameter(f"{hf}.weight", (width,), (*here, "scale"), False)
    yield Parameter(f"{hf}.bias", (width,), (*here, "bias"), False)
