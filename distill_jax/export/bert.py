"""A BERT or its like (`models.bert`) with a tag head as an ONNX graph.

Its inputs and outputs are those of `transformer.Encoder`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from distill_jax.export.graph import Graph
from distill_jax.export.tables import Storage, Table
from distill_jax.export.transformer import Encoder
from distill_jax.models.bert_config import BertConfig


def bert_graph(
    config: BertConfig, params: Mapping[str, Any], storage: Storage = "float32"
) -> onnx.ModelProto:
    """The graph; `storage` is that of the tokens' embedding."""
    graph = Graph()
    encoder = Encoder(graph, config.pad_id)
    bert = params["bert"]
    x = _embeddings(encoder, config, bert["embeddings"], storage)
    scale = (config.d_model // config.num_heads) ** -0.5
    for layer in range(config.num_layers):
        name = f"layers_{layer}"
        own = bert[name]
        attended = encoder.attention(
            x, f"{name}.attention", own["attention"], config.num_heads, encoder.mask_Bx1x1xS, scale
        )
        x = _norm(encoder, config, graph.node("Add", x, attended), f"{name}.attention_norm", own)
        hidden = encoder.activation(encoder.dense(x, f"{name}.wi", own["wi"]), config.activation)
        hidden = encoder.dense(hidden, f"{name}.wo", own["wo"])
        x = _norm(encoder, config, graph.node("Add", x, hidden), f"{name}.mlp_norm", own)
    encoder.tag(x, params["output"])
    return graph.model(config.model_type, {"num_tags": str(config.num_tags)})


def _embeddings(
    encoder: Encoder, config: BertConfig, params: Mapping[str, Any], storage: Storage
) -> str:
    graph = encoder.graph
    tokens = Table(graph, "tokens.embedding", params["tokens"]["embedding"], storage)
    if config.counts_from_padding:
        is_real = graph.cast(graph.node("Not", encoder.is_padding_BxS), np.int32)
        count = graph.node("CumSum", is_real, graph.number(1, np.int32))
        positions = graph.node("Mul", count, is_real)
        positions = graph.node("Add", positions, graph.number(config.pad_id, np.int32))
    else:
        positions = encoder.positions()
    # Padding may reach beyond the last position.
    last = graph.number(config.max_positions - 1, np.int32)
    positions = graph.node("Min", positions, last)
    # Every token is of the first type, so that its vector is added to the positions' once.
    table = np.asarray(params["positions"]["embedding"], np.float32)
    table = table + np.asarray(params["types"]["embedding"], np.float32)[0]
    places = graph.node("Gather", graph.constant("positions.embedding", table), positions, axis=0)
    summed = graph.node("Add", tokens.rows(encoder.tokens), places)
    x = _norm(encoder, config, summed, "norm", params)
    if config.embedding_width != config.d_model:
        x = encoder.dense(x, "projection", params["projection"])
    return x


def _norm(
    encoder: Encoder, config: BertConfig, x: str, name: str, params: Mapping[str, Any]
) -> str:
    own = params[name.rpartition(".")[2]]
    weights = [encoder.graph.constant(f"{name}.{key}", own[key]) for key in ("scale", "bias")]
    return encoder.graph.node(
        "LayerNormalization", x, *weights, axis=-1, epsilon=config.layer_norm_epsilon
    )
