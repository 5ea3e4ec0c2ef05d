"""The `config.json` of a Hugging Face T5 as a `T5Config`, and back.

Whether logits are scaled by d_model ** -0.5 has to be read between the lines. Up to transformers 4
they are where the output embedding is tied, and `tie_word_embeddings` says so. transformers 5
(checked with 5.23) writes `tie_word_embeddings: true` for every T5, ties whenever a checkpoint has
no `lm_head.weight` of its own, and scales

* T5 where its new field `scale_decoder_outputs` says so, or, in an older file without that field,
  unless `tie_word_embeddings` is false;
* mT5 never;
* umT5 always, even a checkpoint like Google's that says `tie_word_embeddings: false` and was
  trained without the scale. Such a file is read as it was trained; see `hf_config_fields` for what
  is written.
"""

from typing import Any

from distill_jax.errors import UserError
from distill_jax.models.t5_config import MlpActivation, T5Config

T5_TYPES = ("t5", "mt5", "umt5", "byt5")
NOT_T5 = {
    "longt5": "whose local attention is not supported; use a T5, mT5, umT5, ByT5 or Flan-T5 checkpoint"
}
"""Values of `model_type` that look like a T5's: what is wrong with each, and the remedy."""

# Both names of the activation that T5 calls "gelu" in "gated-gelu": the tanh approximation.
_ACTIVATION_OF: dict[str, MlpActivation] = {
    "relu": "relu",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "silu": "silu",
    "swish": "silu",
}
_FEED_FORWARD_PROJ = {
    ("relu", False): "relu",
    ("relu", True): "gated-relu",
    ("gelu", False): "gelu_new",
    ("gelu", True): "gated-gelu",
    ("silu", False): "silu",
    ("silu", True): "gated-silu",
}


def t5_config_from_hf(fields: dict[str, Any], *, tied: bool, where: str) -> T5Config:
    """The configuration that a `config.json` describes; activations float32.

    Args:
        fields: the file's content.
        tied: whether the model is to have a tied output embedding, which the file alone does not
            tell (`distill_jax.interop.hf.checkpoint` looks at the tensors).
        where: the file's name, for messages.

    Raises:
        UserError: the file describes no T5, or one with a feature that this T5 lacks.
    """
    model_type = check_model_type(fields, where)
    activation, gated = _feed_forward(fields, model_type, where)
    layers = _integer(fields, "num_layers", where)
    for name, only in (("pad_token_id", 0), ("eos_token_id", 1)):
        if fields.get(name, only) not in (only, [only], None):
            raise UserError(
                f"{where}: {name} is {fields[name]!r}; every T5 has {only}, so this is a model "
                "with a vocabulary that cannot be used"
            )
    try:
        return T5Config(
            vocab_size=_integer(fields, "vocab_size", where),
            d_model=_integer(fields, "d_model", where),
            d_kv=_integer(fields, "d_kv", where),
            d_ff=_integer(fields, "d_ff", where),
            num_heads=_integer(fields, "num_heads", where),
            num_encoder_layers=layers,
            num_decoder_layers=_integer(fields, "num_decoder_layers", where, layers),
            relative_buckets=_integer(fields, "relative_attention_num_buckets", where, 32),
            relative_max_distance=_integer(fields, "relative_attention_max_distance", where, 128),
            activation=activation,
            gated=gated,
            tied_embedding=tied,
            relative_bias_per_layer=model_type == "umt5",
            dropout_rate=_number(fields, "dropout_rate", where, 0.1),
            layer_norm_epsilon=_number(fields, "layer_norm_epsilon", where, 1e-6),
            decoder_start_id=_integer(fields, "decoder_start_token_id", where, 0),
        )
    except UserError as error:
        message = str(error)
        raise UserError(message if message.startswith(where) else f"{where}: {message}") from error


def check_model_type(fields: dict[str, Any], where: str) -> str:
    """The `model_type` of a file that describes an encoder-decoder of the T5 family.

    Raises:
        UserError: it describes something else.
    """
    model_type = fields.get("model_type")
    if reason := NOT_T5.get(str(model_type)):
        raise UserError(f"{where}: model_type is {model_type!r}, {reason}")
    if model_type not in T5_TYPES:
        raise UserError(
            f"{where}: model_type is {model_type!r}, not one of {', '.join(T5_TYPES)}; use a T5, "
            "mT5, umT5, ByT5 or Flan-T5 checkpoint"
        )
    if fields.get("is_encoder_decoder") is False:
        raise UserError(
            f"{where}: this is an encoder alone (is_encoder_decoder is false); use a checkpoint "
            "that has the decoder too"
        )
    return str(model_type)


def ties_embeddings(fields: dict[str, Any]) -> bool:
    """Whether a file says that the output embedding is the token embedding, whatever tensors there are.

    What transformers 5 writes does not (see the head of this module).
    """
    default = fields.get("model_type") != "mt5"
    return (
        fields.get("tie_word_embeddings", default) is not False
        and not isinstance(fields.get("scale_decoder_outputs"), bool)
        and _major_version(fields) < 5
    )


def scales_logits(fields: dict[str, Any], *, has_lm_head: bool) -> bool:
    """Whether the model multiplies the decoder's states by d_model ** -0.5 before its logits."""
    if isinstance(fields.get("scale_decoder_outputs"), bool):
        return bool(fields["scale_decoder_outputs"])
    if fields.get("tie_word_embeddings") is False:
        return False
    if fields.get("model_type") == "mt5":
        return not has_lm_head and _major_version(fields) < 5
    return True


def hf_config_fields(config: T5Config) -> dict[str, Any]:
    """The content of a `config.json` that describes the model to transformers 4 and 5.

    An untied umT5 carries `scale_decoder_outputs: true` besides `tie_word_embeddings: false`, and
    its `lm_head.weight` is written multiplied by d_model ** 0.5, because transformers 5 scales its
    logits whatever the file says. (transformers 4 does not, so there the order of tokens is right
    and their probabilities are not.)
    """
    per_layer = config.relative_bias_per_layer
    fields = {
        "architectures": ["UMT5ForConditionalGeneration" if per_layer else _T5_CLASS],
        "model_type": "umt5" if per_layer else "t5",
        "is_encoder_decoder": True,
        "vocab_size": config.vocab_size,
        "d_model": config.d_model,
        "d_kv": config.d_kv,
        "d_ff": config.d_ff,
        "num_heads": config.num_heads,
        "num_layers": config.num_encoder_layers,
        "num_decoder_layers": config.num_decoder_layers,
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_max_distance,
        "feed_forward_proj": _FEED_FORWARD_PROJ[config.activation, config.gated],
        "tie_word_embeddings": config.tied_embedding,
        "dropout_rate": config.dropout_rate,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "decoder_start_token_id": config.decoder_start_id,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "torch_dtype": "float32",
        "use_cache": True,
    }
    if lm_head_is_scaled(config):
        fields["scale_decoder_outputs"] = True
    return fields


def lm_head_is_scaled(config: T5Config) -> bool:
    """Whether `lm_head.weight` is written multiplied by d_model ** 0.5."""
    return config.relative_bias_per_layer and not config.tied_embedding


_T5_CLASS = "T5ForConditionalGeneration"


def _feed_forward(
    fields: dict[str, Any], model_type: str, where: str
) -> tuple[MlpActivation, bool]:
    default = "relu" if model_type == "t5" else "gated-gelu"
    said = fields.get("feed_forward_proj")
    projection = str(default if said is None else said)
    *prefix, name = projection.split("-")
    # As in transformers: only behind "gated" does "gelu" mean the approximation.
    name = "gelu_new" if projection == "gated-gelu" else name
    if prefix not in ([], ["gated"]) or name not in _ACTIVATION_OF:
        raise UserError(
            f"{where}: feed_forward_proj is {projection!r}, which is not supported; relu, gated-gelu and "
            "gated-silu are"
        )
    gated = bool(prefix)
    # Derived from it when a file is written; whoever edits one of them leaves the others behind.
    dense, is_gated = fields.get("dense_act_fn"), fields.get("is_gated_act")
    if said is None:
        name = str(dense or name)
        gated = is_gated if isinstance(is_gated, bool) else gated
        if name not in _ACTIVATION_OF:
            raise UserError(
                f"{where}: dense_act_fn is {name!r}, which is not supported; "
                f"{', '.join(_ACTIVATION_OF)} are"
            )
    elif dense is not None and _ACTIVATION_OF.get(str(dense)) != _ACTIVATION_OF[name]:
        raise UserError(
            f"{where}: dense_act_fn is {dense!r}, but feed_forward_proj is {projection!r}, which means "
            f"{name!r}; remove dense_act_fn if feed_forward_proj is what the model was trained with, "
            "as with every published T5"
        )
    elif is_gated is not None and is_gated is not gated:
        raise UserError(
            f"{where}: is_gated_act is {is_gated!r}, but feed_forward_proj is {projection!r}; correct "
            "the one that is not what the model was trained with"
        )
    return _ACTIVATION_OF[name], gated


def _integer(fields: dict[str, Any], name: str, where: str, default: int | None = None) -> int:
    value = fields.get(name)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        fault = "missing" if value is None else f"{value!r}, not a whole number"
        raise UserError(f"{where}: {name} is {fault}; use the config.json of a T5 checkpoint")
    return value


def _number(fields: dict[str, Any], name: str, where: str, default: float) -> float:
    value = fields.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UserError(
            f"{where}: {name} is {value!r}, not a number; use the config.json of a T5 checkpoint"
        )
    return float(value)


def _major_version(fields: dict[str, Any]) -> int:
    """Of the transformers that wrote the file; 0 if it does not say."""
    major = str(fields.get("transformers_version", "")).partition(".")[0]
    return int(major) if major.isdigit() else 0
