"""Starting a smaller model from chosen layers of a larger one of the same widths.

Layers of a residual stack can be left out without the rest falling apart, so some of a teacher's
layers, with its embeddings, norms and relative biases, are a better start than random weights (Shleifer &
Rush 2020, arXiv 2010.13002, "shrink and fine-tune"; DistilBERT takes every second layer).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from distill_jax.errors import UserError
from distill_jax.models.encoder_tagger import EncoderTaggerConfig
from distill_jax.models.t5_config import T5Config

# What a layer and the embeddings are shaped or wired by; dropout, dtype and how layers are computed
# may differ.
_SIZES = (
    "vocab_size",
    "d_model",
    "d_kv",
    "d_ff",
    "num_heads",
    "relative_buckets",
    "relative_max_distance",
    "activation",
    "gated",
    "relative_bias_per_layer",
)


def t5_from_layers(
    teacher: Mapping[str, Any],
    teacher_config: T5Config,
    config: T5Config,
    *,
    encoder_layers: Sequence[int],
    decoder_layers: Sequence[int],
) -> dict[str, Any]:
    """Parameters of a T5 made of chosen layers of another; layer i is that of the teacher's i-th chosen.

    Args:
        teacher: its parameters, unboxed, layers not stacked; they are shared, not copied.
        teacher_config: of the teacher.
        config: of the student; the same widths, and as many layers as are chosen.
        encoder_layers: numbers of the teacher's layers, from 0; any order, repetitions allowed.
        decoder_layers: the same.

    Raises:
        UserError: a size differs, a layer does not exist, or their number is not the student's.
    """
    _check_sizes(teacher_config, config, ("tied_embedding", *_SIZES))
    return {
        "token_embedder": teacher["token_embedder"],
        "encoder": _chosen(
            teacher["encoder"],
            "encoder",
            encoder_layers,
            teacher_config.num_encoder_layers,
            config.num_encoder_layers,
        ),
        "decoder": _chosen(
            teacher["decoder"],
            "decoder",
            decoder_layers,
            teacher_config.num_decoder_layers,
            config.num_decoder_layers,
        ),
    }


def encoder_tagger_from_layers(
    params: Mapping[str, Any],
    teacher: Mapping[str, Any],
    teacher_config: T5Config,
    config: EncoderTaggerConfig,
    *,
    encoder_layers: Sequence[int],
) -> dict[str, Any]:
    """An encoder tagger's parameters with embedding and chosen encoder layers of a T5.

    `params` are the tagger's own, of which the output layer stays. The rest is as in `t5_from_layers`.
    """
    _check_sizes(teacher_config, config.encoder, _SIZES)
    return {
        **params,
        "token_embedder": teacher["token_embedder"],
        "encoder": _chosen(
            teacher["encoder"],
            "encoder",
            encoder_layers,
            teacher_config.num_encoder_layers,
            config.num_layers,
        ),
    }


def encoder_tagger_config(teacher: T5Config, num_layers: int, num_tags: int) -> EncoderTaggerConfig:
    """An encoder tagger of the widths of a T5."""
    names = {field.name for field in dataclasses.fields(EncoderTaggerConfig)}
    shared = {name: value for name, value in vars(teacher).items() if name in names}
    return EncoderTaggerConfig(**shared, num_layers=num_layers, num_tags=num_tags)


def encoder_tagger_from_tagger(
    params: Mapping[str, Any],
    source: Mapping[str, Any],
    source_config: EncoderTaggerConfig,
    *,
    encoder_layers: Sequence[int],
) -> dict[str, Any]:
    """An encoder tagger's parameters with embedding and chosen layers of another of the same widths.

    `params` are the tagger's own, of which the output layer stays; it has as many layers as are chosen.
    """
    return {
        **params,
        "token_embedder": source["token_embedder"],
        "encoder": _chosen(
            source["encoder"],
            "encoder",
            encoder_layers,
            source_config.num_layers,
            len(encoder_layers),
        ),
    }


def bert_from_layers(
    params: Mapping[str, Any], teacher: Mapping[str, Any], layers: Sequence[int]
) -> dict[str, Any]:
    """A BERT tagger's parameters with the embeddings and chosen layers of another.

    Args:
        params: the tagger's own, of which the output layer stays.
        teacher: the other's, of the same widths, with an output layer or without.
        layers: numbers of the other's layers, from 0, as many as the tagger has.

    Raises:
        UserError: a layer does not exist, or their number is not the tagger's.
    """
    stack = teacher["bert"]
    available, wanted = (
        sum(name.startswith("layers_") for name in each) for each in (stack, params["bert"])
    )
    return {**params, "bert": _chosen(stack, "encoder", layers, available, wanted)}


def check_layers(chosen: Sequence[int], available: int, stack: str) -> None:
    """Raises `UserError` if layers are chosen that a stack of `available` layers does not have."""
    if not chosen:
        raise UserError(f"no layers of the {stack} are chosen; name at least one")
    for number in chosen:
        if not isinstance(number, int) or not 0 <= number < available:
            raise UserError(
                f"layer {number} of the {stack} is chosen, but the teacher has layers 0 to "
                f"{available - 1}; choose among those"
            )


def _chosen(
    stack: Mapping[str, Any], name: str, chosen: Sequence[int], available: int, wanted: int
) -> dict[str, Any]:
    check_layers(chosen, available, name)
    if len(chosen) != wanted:
        raise UserError(
            f"{len(chosen)} layers of the {name} are chosen and the student has {wanted}; choose "
            "as many as it has"
        )
    others = {key: value for key, value in stack.items() if not key.startswith("layers_")}
    return others | {
        f"layers_{here}": stack[f"layers_{there}"] for here, there in enumerate(chosen)
    }


def _check_sizes(teacher: T5Config, student: T5Config, names: Sequence[str]) -> None:
    for name in names:
        theirs, own = getattr(teacher, name), getattr(student, name)
        if theirs != own:
            raise UserError(
                f"the student's {name} is {own}, the teacher's {theirs}; layers can be taken over "
                "only between models of the same widths"
            )
