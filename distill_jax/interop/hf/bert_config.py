"""The `config.json` of a Hugging Face BERT, ELECTRA or RoBERTa as a `BertConfig`, and back.

A field that a file leaves out has the value that transformers gives it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from distill_jax.errors import UserError
from distill_jax.models.bert_config import BertConfig

BERT_TYPES = ("bert", "electra", "roberta", "xlm-roberta")
_USE = "use a BERT, MiniLM, ELECTRA, RoBERTa or XLM-R checkpoint"
NOT_BERT = {
    "albert": f"whose layers share their weights, which is not supported; {_USE}",
    "camembert": f"which is a RoBERTa under another name: set it to 'roberta', or {_USE}",
    "deberta": f"whose relative positions are not supported; {_USE}",
    "deberta-v2": f"whose relative positions are not supported; {_USE}",
    "distilbert": f"whose tensors have other names, which are not supported; {_USE}",
    "modernbert": f"whose rotary positions are not supported; {_USE}",
    "mpnet": f"whose relative positions are not supported; {_USE}",
}
"""Values of `model_type` that look like a BERT's: what is wrong with each, and the remedy."""

_CLASSES = {
    "bert": "BertForTokenClassification",
    "electra": "ElectraForTokenClassification",
    "roberta": "RobertaForTokenClassification",
    "xlm-roberta": "XLMRobertaForTokenClassification",
}
_ACTIVATION_OF = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
_PADDING = {"bert": 0, "electra": 0, "roberta": 1, "xlm-roberta": 1}


def bert_config_from_hf(fields: Mapping[str, Any], where: str) -> BertConfig:
    """The configuration that a `config.json` describes; activations float32.

    It has as many tags as the head of the file's tag classifier, 0 without one.

    Args:
        fields: the file's content.
        where: the file's name, for messages.

    Raises:
        UserError: the file describes something else, or a feature that is not supported.
    """
    kind = fields.get("model_type")
    if kind not in BERT_TYPES:
        reason = NOT_BERT.get(str(kind), f"not one of {', '.join(BERT_TYPES)}; {_USE}")
        raise UserError(f"{where}: model_type is {kind!r}, {reason}")
    positions = fields.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        raise UserError(
            f"{where}: position_embedding_type is {positions!r}, and only 'absolute' is supported; {_USE}"
        )
    for name in ("is_decoder", "add_cross_attention"):
        if fields.get(name):
            raise UserError(f"{where}: {name} is true, so this is a decoder; {_USE}")
    activation = fields.get("hidden_act", "gelu")
    if activation not in _ACTIVATION_OF:
        raise UserError(
            f"{where}: hidden_act {activation!r} is not supported; {', '.join(_ACTIVATION_OF)} are"
        )

    def whole(name: str, default: int | None = None) -> int:
        value = _value(fields, name, default, where)
        if not isinstance(value, int):
            raise UserError(f"{where}: {name} is {value!r}, not a whole number; correct it")
        return value

    def number(name: str, default: float) -> float:
        return float(_value(fields, name, default, where))

    try:
        return BertConfig(
            architecture=kind,
            vocab_size=whole("vocab_size"),
            num_tags=len(tag_names(fields, where)),
            d_model=whole("hidden_size"),
            d_embedding=whole("embedding_size", 128) if kind == "electra" else 0,
            d_ff=whole("intermediate_size"),
            num_heads=whole("num_attention_heads"),
            num_layers=whole("num_hidden_layers"),
            max_positions=whole("max_position_embeddings", 512),
            token_types=whole("type_vocab_size", 2),
            activation=_ACTIVATION_OF[activation],  # type: ignore[arg-type]
            dropout_rate=number("hidden_dropout_prob", 0.1),
            attention_dropout_rate=number("attention_probs_dropout_prob", 0.1),
            layer_norm_epsilon=number("layer_norm_eps", 1e-12),
            initializer_range=number("initializer_range", 0.02),
            pad_id=whole("pad_token_id", _PADDING[kind]),
        )
    except UserError as error:
        message = str(error)
        raise UserError(message if message.startswith(where) else f"{where}: {message}") from error


def tag_names(fields: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """What the outputs of a tag classifier mean, in their order; nothing for another model.

    Raises `UserError` if `id2label` does not name outputs 0, 1, ….
    """
    classes = fields.get("architectures") or ()
    if not any(str(name).endswith("ForTokenClassification") for name in classes):
        return ()
    names = fields.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})
    if not isinstance(names, Mapping) or {*names} != {str(i) for i in range(len(names))}:
        raise UserError(f"{where}: id2label does not name the outputs 0, 1, …; correct it")
    return tuple(str(names[str(i)]) for i in range(len(names)))


def hf_bert_fields(config: BertConfig, tags: Sequence[str]) -> dict[str, Any]:
    """The content of a `config.json` that describes the tagger to transformers.

    Args:
        config: of the tagger.
        tags: the names of its sBIO tags.
    """
    names = {str(number): tag for number, tag in enumerate(tags)}
    fields: dict[str, Any] = {
        "architectures": [_CLASSES[config.architecture]],
        "model_type": config.architecture,
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "max_position_embeddings": config.max_positions,
        "type_vocab_size": config.token_types,
        "hidden_act": config.activation,
        "hidden_dropout_prob": config.dropout_rate,
        "attention_probs_dropout_prob": config.attention_dropout_rate,
        "layer_norm_eps": config.layer_norm_epsilon,
        "initializer_range": config.initializer_range,
        "pad_token_id": config.pad_id,
        "position_embedding_type": "absolute",
        "id2label": names,
        "label2id": {tag: int(number) for number, tag in names.items()},
        "torch_dtype": "float32",
    }
    if config.architecture == "electra":
        fields["embedding_size"] = config.embedding_width
    return fields


def _value(fields: Mapping[str, Any], name: str, default: float | None, where: str) -> int | float:
    value = fields.get(name)
    value = default if value is None else value
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        fault = "missing" if value is None else f"{value!r}, not a number from 0"
        raise UserError(f"{where}: {name} is {fault}; use the checkpoint's own config.json")
    return value
