"""The graphs of encoders give the models' own numbers, for every batch and length."""

from typing import Any

import jax
import numpy as np
import onnx
import onnxruntime
import pytest

from distill_jax.export.bert import bert_graph
from distill_jax.export.encoder import encoder_graph
from distill_jax.export.int8 import quantised
from distill_jax.models.bert import BertTagger
from distill_jax.models.encoder_tagger import EncoderTagger
from tests import tiny

BERT, ENCODER = tiny.BERT_CONFIG, tiny.ENCODER_CONFIG
CONFIGS = {
    "bert": BERT,
    "electra": BERT.replace(architecture="electra", d_embedding=4, activation="gelu_new"),
    "roberta": BERT.replace(architecture="roberta", pad_id=1, token_types=1, activation="silu"),
    "encoder": ENCODER,
    "encoder, not gated": ENCODER.replace(
        gated=False,
        relative_bias_per_layer=True,
        activation="relu",
        relative_buckets=8,
        relative_max_distance=9,
    ),
}


def made(config: Any) -> tuple[Any, Any, onnx.ModelProto]:
    """Module, parameters and graph."""
    if hasattr(config, "architecture"):
        params = tiny.bert_params(config)
        return BertTagger(config), params, bert_graph(config, params)
    params = tiny.encoder_params(config)
    return EncoderTagger(config), params, encoder_graph(config, params)


def batch_of(config: Any, lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of sentences of so many, every other one the first of a word."""
    rng = np.random.default_rng(2)
    tokens = rng.integers(3, config.vocab_size, (len(lengths), max(lengths)), np.int32)
    tokens[np.arange(max(lengths)) >= np.array(lengths)[:, None]] = config.pad_id
    first = np.full((len(lengths), max(lengths) // 2), -1, np.int32)
    for row, length in zip(first, lengths, strict=True):
        row[: length // 2] = np.arange(0, length - 1, 2)
    return tokens, first


def run(graph: onnx.ModelProto, tokens: np.ndarray, first: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    logits: np.ndarray = session.run(["logits"], {"tokens": tokens, "first": first})[0]
    return logits


@pytest.mark.parametrize("name", CONFIGS)
def test_the_model_s_logits_at_every_shape(name: str) -> None:
    config = CONFIGS[name]
    module, params, graph = made(config)
    for lengths in ([2], [7, 38, 20]):
        tokens, first = batch_of(config, lengths)
        expected = np.asarray(jax.jit(module.apply)({"params": params}, tokens, first))
        found = run(graph, tokens, first)
        np.testing.assert_allclose(found[first >= 0], expected[first >= 0], rtol=1e-4, atol=1e-4)


def test_int8_leaves_products_of_activations_alone() -> None:
    _, params, exact = made(BERT)
    near = quantised(bert_graph(BERT, params, "int8"))
    kinds = [node.op_type for node in near.graph.node]
    # Queries with keys, and weights with values, in each layer.
    assert kinds.count("MatMul") == 2 * BERT.num_layers
    tokens, first = batch_of(BERT, [9, 30])
    real = first >= 0
    off = np.abs(run(near, tokens, first)[real] - run(exact, tokens, first)[real])
    assert off.mean() < 0.2 * run(exact, tokens, first)[real].std()
