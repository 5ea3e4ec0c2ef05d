"""The configuration of a T5 in a checkpoint of t5x: from the shapes of its arrays, and what these cannot say.

A checkpoint of t5x holds arrays alone. Heads are counted by the relative biases; a tree without
`logits_dense` has a tied embedding, and t5x then scales logits. Which activation the model was trained
with, and its dropout, is in the Gin file that its run leaves beside it (`config.gin`), or has to be said.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distill_jax.errors import UserError
from distill_jax.interop.t5x.layout import AXIS, LAYER, TOWERS, Names, Shape, is_scanned
from distill_jax.models.t5_config import MlpActivation, T5Config

GIN_FILE = "config.gin"
_ACTIVATION_OF: dict[Any, MlpActivation] = {
    "relu": "relu",
    "gelu": "gelu",
    "silu": "silu",
    "swish": "silu",
}


class Unsaid(NamedTuple):
    """What shapes cannot say; None: as `config.gin` has it, or as is usual."""

    activation: MlpActivation | None = None
    dropout_rate: float | None = None


NOTHING_SAID = Unsaid()


def config_from_shapes(shapes: Mapping[Names, Shape], where: str) -> T5Config:
    """The configuration that shapes describe; the activation is the usual one, dropout 0.1.

    Args:
        shapes: of the arrays below `target`.
        where: the checkpoint, for messages.

    Raises:
        UserError: this is no T5, or an array that says how large it is is missing.
    """
    _check_is_t5(shapes, where)
    scanned = is_scanned(shapes)

    def shape(rank: int, *names: str) -> Shape:
        found = shapes.get(names)
        if found is None:
            raise UserError(
                f"{where}: array {'/'.join(('target', *names))!r} is missing; copy the checkpoint again"
            )
        if len(found) != rank:
            raise UserError(
                f"{where}: array {'/'.join(('target', *names))!r} has shape {list(found)}, and in a T5 it "
                f"has {rank} axes; this is a checkpoint of another model"
            )
        return found

    first = {tower: (tower, tower if scanned else "layers_0") for tower in TOWERS}
    extra = 1 if scanned else 0
    vocab_size, d_model = shape(2, "token_embedder", "embedding")
    per_layer = (*first["encoder"], "relpos_bias", "rel_embedding") in shapes
    where_bias = first["encoder"] if per_layer else ("encoder",)
    bias = shape(2 + extra * per_layer, *where_bias, "relpos_bias", "rel_embedding")
    gated = (*first["encoder"], "mlp", "wi", "kernel") not in shapes
    wi = shape(2 + extra, *first["encoder"], "mlp", "wi_0" if gated else "wi", "kernel")
    query = (*first["encoder"], "attention", "query", "kernel")
    # The product of its axes is d · layers · heads · kv, in whatever way heads are kept.
    joined = _size(shape(len(shapes.get(query, ())), *query)) // d_model
    layers = {tower: _layers(shapes, tower, scanned) for tower in TOWERS}
    try:
        return T5Config(
            vocab_size=vocab_size,
            d_model=d_model,
            d_kv=joined // (bias[0] * (layers["encoder"] if scanned else 1)),
            d_ff=wi[-1],
            num_heads=bias[0],
            num_encoder_layers=layers["encoder"],
            num_decoder_layers=layers["decoder"],
            relative_buckets=bias[-1],
            activation="gelu" if gated else "relu",
            gated=gated,
            tied_embedding=("decoder", "logits_dense", "kernel") not in shapes,
            relative_bias_per_layer=per_layer,
        )
    except (UserError, ZeroDivisionError) as error:
        raise UserError(
            f"{where}: the shapes are of no T5 ({error}); this is a checkpoint of another model"
        ) from None


def with_unsaid(
    config: T5Config, said: Unsaid, places: tuple[Path, ...]
) -> tuple[T5Config, tuple[str, ...]]:
    """The configuration with what shapes cannot say, and what had to be assumed, in words.

    Args:
        config: of the shapes.
        said: what a user says, which comes first.
        places: folders in which `config.gin` is looked for.

    Raises:
        UserError: `config.gin` describes a model that is not supported, or another one.
    """
    file = next((p / GIN_FILE for p in places if (p / GIN_FILE).is_file()), None)
    found = _read_gin(file, config) if file else Unsaid()
    activation = said.activation or found.activation
    dropout = found.dropout_rate if said.dropout_rate is None else said.dropout_rate
    beside = f"{file} does not say it" if file else f"there is no {GIN_FILE} beside it"
    assumed = []
    if activation is None:
        assumed.append(
            f"the activation is taken to be {config.activation}, as in every T5 of Google's with such "
            f"arrays, since {beside}; --activation names another"
        )
    if dropout is None:
        assumed.append(
            f"dropout is taken to be {config.dropout_rate}, since {beside}; --dropout names another"
        )
    return config.replace(
        activation=activation or config.activation,
        dropout_rate=config.dropout_rate if dropout is None else dropout,
    ), tuple(assumed)


def activation_of(names: Sequence[Any], where: str) -> MlpActivation:
    """The activation that t5x's `mlp_activations` name.

    Raises:
        UserError: another combination than those of T5.
    """
    activation = _ACTIVATION_OF.get(names[0]) if names else None
    if activation is None or tuple(names[1:]) not in ((), ("linear",)):
        raise UserError(
            f"{where}: mlp_activations is {tuple(names)!r}, which is not supported; relu, gelu and silu "
            "are, alone or before 'linear'"
        )
    return activation


def gin_text(config: T5Config) -> str:
    """The model as a t5x Gin file has it; `config_from_shapes` and this file give it back."""
    scalable = config.relative_bias_per_layer
    activations = (config.activation, "linear") if config.gated else (config.activation,)
    return "\n".join(
        [
            "# Written by distill-jax export: the model, for a Gin file of t5x to include.",
            "from __gin__ import dynamic_registration",
            f"from t5x.examples.{'scalable_t5' if scalable else 't5'} import network",
            "",
            "MODULE = @network.Transformer()",
            "network.Transformer.config = @network.T5Config()",
            "network.T5Config:",
            f"  vocab_size = {config.vocab_size}",
            f"  emb_dim = {config.d_model}",
            f"  num_heads = {config.num_heads}",
            f"  num_encoder_layers = {config.num_encoder_layers}",
            f"  num_decoder_layers = {config.num_decoder_layers}",
            f"  head_dim = {config.d_kv}",
            f"  mlp_dim = {config.d_ff}",
            f"  mlp_activations = {activations}",
            f"  dropout_rate = {config.dropout_rate}",
            f"  logits_via_embedding = {config.tied_embedding}",
            "",
        ]
    )


def _check_is_t5(shapes: Mapping[Names, Shape], where: str) -> None:
    parts = {name for names in shapes for name in names}
    towers = {names[0] for names in shapes}
    wrong = None
    if {"side_relpos_bias", "global_relpos_bias", "global_input_layer_norm"} & parts:
        wrong = "of LongT5, whose attention is not supported"
    elif "router" in parts or "expert" in parts:
        wrong = "of a mixture of experts, which is not supported"
    elif "encoder" not in towers and "decoder" in towers:
        wrong = "of a decoder alone (there is no `target/encoder`)"
    elif "decoder" not in towers and "encoder" in towers:
        wrong = "of an encoder alone (there is no `target/decoder`)"
    elif not towers >= {"encoder", "decoder"}:
        wrong = "of no T5 (there is neither `target/encoder` nor `target/decoder`)"
    if wrong:
        raise UserError(f"{where}: a checkpoint {wrong}; use one of T5, Flan-T5, mT5, umT5 or ByT5")


def _layers(shapes: Mapping[Names, Shape], tower: str, scanned: bool) -> int:
    if scanned:
        norm = shapes.get((tower, tower, "pre_mlp_layer_norm", "scale"), ())
        return norm[AXIS] if len(norm) > AXIS else 0
    numbers = [
        int(found[1])
        for names in shapes
        if names[0] == tower and (found := LAYER.fullmatch(names[1]))
    ]
    return 1 + max(numbers, default=-1)


def _size(shape: Shape) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size


def _read_gin(file: Path, config: T5Config) -> Unsaid:
    """Activation and dropout in a Gin file, where it says them in so many words or by a macro."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); remove or correct it") from None
    activations, dropout = _binding(text, "mlp_activations"), _binding(text, "dropout_rate")
    activation = None
    if activations is not None:
        names = tuple(activations) if isinstance(activations, list | tuple) else (activations,)
        activation = activation_of(names, str(file))
        if (len(names) == 2) is not config.gated:
            raise UserError(
                f"{file}: mlp_activations is {names!r}, but the checkpoint has "
                f"{'wi_0 and wi_1' if config.gated else 'wi alone'}; remove the file if it is of "
                "another model"
            )
    if dropout is not None and (not isinstance(dropout, int | float) or not 0 <= dropout < 1):
        raise UserError(f"{file}: dropout_rate is {dropout!r}; correct it to 0 <= rate < 1")
    return Unsaid(activation, None if dropout is None else float(dropout))


def _binding(text: str, name: str) -> Any:
    """The value that a Gin file binds to a parameter; None where it cannot be told."""
    value = r"(%?[\w./]+|'[^']*'|\"[^\"]*\"|[(\[][^)\]]*[)\]])"
    found = re.search(rf"^(?!\s*#).*?\b{name}\s*=\s*(?:\\\s*)?{value}", text, re.M)
    if found is None:
        return None
    said = found[1]
    if said.startswith("%"):
        macro = re.search(rf"^{re.escape(said[1:])}\s*=\s*(?:\\\s*)?{value}", text, re.M)
        said = macro[1] if macro else "None"
    try:
        return ast.literal_eval(said)
    except (ValueError, SyntaxError):
        return None
