"""An encoder tagger (`models.encoder_tagger`) as an ONNX graph.

Its inputs and outputs are those of `transformer.Encoder`.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx

from distill_jax.export.graph import Graph
from distill_jax.export.tables import Storage, Table
from distill_jax.export.transformer import Encoder
from distill_jax.models.attention import relative_position_bucket
from distill_jax.models.encoder_tagger import EncoderTaggerConfig


def encoder_graph(
    config: EncoderTaggerConfig, params: Mapping[str, Any], storage: Storage = "float32"
) -> onnx.ModelProto:
    """The graph; `storage` is that of the tokens' embedding."""
    graph = Graph()
    encoder = Encoder(graph, config.pad_id)
    table = Table(graph, "token_embedder.embedding", params["token_embedder"]["embedding"], storage)
    x = table.rows(encoder.tokens)
    stack = params["encoder"]
    distance_SxS = _distances(encoder, config)
    shared = None
    if not config.relative_bias_per_layer:
        shared = _bias(encoder, config, "relpos_bias", stack["relpos_bias"], distance_SxS)
    for layer in range(config.num_layers):
        name = f"layers_{layer}"
        own = stack[name]
        bias = shared or _bias(
            encoder, config, f"{name}.relpos_bias", own["relpos_bias"], distance_SxS
        )
        normed = _norm(encoder, config, x, f"{name}.pre_attention_layer_norm", own)
        attended = encoder.attention(
            normed, f"{name}.attention", own["attention"], config.num_heads, bias, 1.0
        )
        x = graph.node("Add", x, attended)
        normed = _norm(encoder, config, x, f"{name}.pre_mlp_layer_norm", own)
        x = graph.node("Add", x, _mlp(encoder, config, normed, f"{name}.mlp", own["mlp"]))
    encoder.tag(_norm(encoder, config, x, "encoder_norm", stack), params["output"])
    return graph.model(config.model_type, {"num_tags": str(config.num_tags)})


def _distances(encoder: Encoder, config: EncoderTaggerConfig) -> str:
    """int32[S, S]: for query and key the row of what `_bias` adds."""
    graph = encoder.graph
    positions = encoder.positions()
    keys = graph.node("Unsqueeze", positions, graph.number([0], np.int64))
    queries = graph.node("Unsqueeze", positions, graph.number([1], np.int64))
    most = config.relative_max_distance
    limits = graph.number(-most, np.int32), graph.number(most, np.int32)
    clipped = graph.node("Clip", graph.node("Sub", keys, queries), *limits)
    return graph.node("Add", clipped, limits[1])


def _bias(
    encoder: Encoder,
    config: EncoderTaggerConfig,
    name: str,
    params: Mapping[str, Any],
    distance_SxS: str,
) -> str:
    """T5's bias of relative positions with the mask of padding, float32[B, H, S, S].

    All distances from `relative_max_distance` on have one bucket, so a table of those up to it has all.
    """
    graph = encoder.graph
    most = config.relative_max_distance
    buckets = relative_position_bucket(
        jnp.arange(-most, most + 1),
        bidirectional=True,
        num_buckets=config.relative_buckets,
        max_distance=most,
    )
    table_NxH = np.asarray(params["rel_embedding"]).T[np.asarray(buckets)]
    rows_SxSxH = graph.node("Gather", graph.constant(name, table_NxH), distance_SxS, axis=0)
    bias_HxSxS = graph.node("Transpose", rows_SxSxH, perm=(2, 0, 1))
    return graph.node("Add", bias_HxSxS, encoder.mask_Bx1x1xS)


def _mlp(
    encoder: Encoder, config: EncoderTaggerConfig, x: str, name: str, params: Mapping[str, Any]
) -> str:
    # T5's `gelu` is the approximation by tanh.
    activation = "gelu_new" if config.activation == "gelu" else config.activation
    first = "wi_0" if config.gated else "wi"
    hidden = encoder.activation(encoder.dense(x, f"{name}.{first}", params[first]), activation)
    if config.gated:
        other = encoder.dense(x, f"{name}.wi_1", params["wi_1"])
        hidden = encoder.graph.node("Mul", hidden, other)
    return encoder.dense(hidden, f"{name}.wo", params["wo"])


def _norm(
    encoder: Encoder, config: EncoderTaggerConfig, x: str, name: str, params: Mapping[str, Any]
) -> str:
    """x / √(mean(x²) + ε) · scale: no mean subtracted, no bias."""
    graph = encoder.graph
    square = graph.node("Mul", x, x)
    mean = graph.node("ReduceMean", square, axes=(-1,), keepdims=1)
    epsilon = graph.number(config.layer_norm_epsilon, np.float32)
    root = graph.node("Sqrt", graph.node("Add", mean, epsilon))
    scale = graph.constant(f"{name}.scale", params[name.rpartition(".")[2]]["scale"])
    return graph.node("Mul", graph.node("Div", x, root), scale)
