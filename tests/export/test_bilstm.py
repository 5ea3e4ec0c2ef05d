"""The graphs of a BiLSTM give the model's own numbers, for every batch and length."""

import jax
import numpy as np
import onnx
import onnxruntime
import pytest

from distill_jax.export.bilstm import spelling_graph, word_graph
from distill_jax.export.int8 import quantised
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger, with_frozen_embedding
from tests import tiny

CONFIGS = {
    "one layer": tiny.BILSTM_CONFIG,
    "two layers": tiny.BILSTM_CONFIG.replace(num_layers=2),
    "frozen words": tiny.BILSTM_CONFIG.replace(num_frozen_words=5),
}


def session(graph: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def random_ids(
    config: BiLSTMConfig, lengths: list[int], chars: int
) -> tuple[np.ndarray, np.ndarray]:
    """Words and characters of sentences of these lengths, padded."""
    rng = np.random.default_rng(1)
    shape = (len(lengths), max(lengths))
    words = rng.integers(1, config.num_words + config.num_frozen_words, shape, np.int32)
    words[np.arange(shape[1]) >= np.array(lengths)[:, None]] = 0
    spelt = rng.integers(1, config.num_chars, (*shape, chars), np.int32)
    spelt[np.arange(chars) >= rng.integers(1, chars + 1, shape)[..., None]] = 0
    spelt[words == 0] = 0
    return words, spelt


def scores_of(
    words: onnxruntime.InferenceSession,
    spelling: onnxruntime.InferenceSession,
    word_ids: np.ndarray,
    char_ids: np.ndarray,
) -> list[np.ndarray]:
    batch, length, chars = char_ids.shape
    (vectors,) = spelling.run(None, {"char_ids": char_ids.reshape(-1, chars)})
    inputs = {"word_ids": word_ids, "spelling": vectors.reshape(batch, length, -1)}
    found: list[np.ndarray] = words.run(["logits", "log_probabilities"], inputs)
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_the_model_s_logits_at_every_shape(name: str) -> None:
    config = CONFIGS[name]
    params = tiny.bilstm_params(config)
    graphs = session(word_graph(config, params)), session(spelling_graph(config, params))
    model = jax.jit(BiLSTMTagger(config).apply)
    for lengths, chars in (([1], 1), ([7], 20), ([3, 1, 9, 4], 6), ([40, 2], 3)):
        word_ids, char_ids = random_ids(config, lengths, chars)
        expected = np.asarray(model({"params": params}, word_ids, char_ids))
        logits, log_probabilities = scores_of(*graphs, word_ids, char_ids)
        real = word_ids != 0
        np.testing.assert_allclose(logits[real], expected[real], atol=2e-5)
        log_softmax = np.asarray(jax.nn.log_softmax(expected))
        np.testing.assert_allclose(log_probabilities[real], log_softmax[real], atol=2e-5)


def test_padding_and_the_rest_of_the_batch_change_nothing() -> None:
    config, params = tiny.BILSTM_CONFIG, tiny.bilstm_params()
    graphs = session(word_graph(config, params)), session(spelling_graph(config, params))
    word_ids, char_ids = random_ids(config, [3, 8], 5)
    together, _ = scores_of(*graphs, word_ids, char_ids)
    alone, _ = scores_of(*graphs, word_ids[:1, :3], char_ids[:1, :3])
    np.testing.assert_allclose(together[0, :3], alone[0], atol=1e-5)


def test_the_layers_are_native() -> None:
    config = CONFIGS["two layers"]
    params = tiny.bilstm_params(config)
    kinds = [node.op_type for node in word_graph(config, params).graph.node]
    assert kinds.count("LSTM") == 2 and "Loop" not in kinds and "Scan" not in kinds
    assert [node.op_type for node in spelling_graph(config, params).graph.node].count("LSTM") == 1


def test_frozen_vectors_stay_in_half_the_bytes_and_are_exact() -> None:
    config = CONFIGS["frozen words"]
    params = tiny.bilstm_params(config)
    half = params["frozen_embedding"]["embedding"].astype(np.float16)
    params = with_frozen_embedding(params, half)
    graph = word_graph(config, params)
    stored = {tensor.name: tensor.data_type for tensor in graph.graph.initializer}
    assert stored["frozen_embedding"] == onnx.TensorProto.FLOAT16
    word_ids, char_ids = random_ids(config, [9], 4)
    expected = np.asarray(
        jax.jit(BiLSTMTagger(config).apply)({"params": params}, word_ids, char_ids)
    )
    logits, _ = scores_of(
        session(graph), session(spelling_graph(config, params)), word_ids, char_ids
    )
    np.testing.assert_allclose(logits, expected, atol=2e-5)


def test_int8_is_near_and_quantises_every_layer() -> None:
    config = BiLSTMConfig(num_words=300, num_chars=20, num_tags=5, hidden=64, word_dim=32)
    params = jax.tree.map(lambda leaf: 0.1 * leaf, tiny.bilstm_params(config))
    graph = quantised(word_graph(config, params, "int8"))
    assert graph.metadata_props
    kinds = [node.op_type for node in graph.graph.node]
    assert "LSTM" not in kinds and "MatMul" not in kinds
    spelling = session(spelling_graph(config, params))
    word_ids, char_ids = random_ids(config, [12, 5], 6)
    exact, _ = scores_of(session(word_graph(config, params)), spelling, word_ids, char_ids)
    near, _ = scores_of(session(graph), spelling, word_ids, char_ids)
    real = word_ids != 0
    spread = exact[real].std()
    assert spread > 0.05
    assert np.abs(near[real] - exact[real]).max() < 0.2 * spread
    assert len(graph.SerializeToString()) < len(word_graph(config, params).SerializeToString()) / 3
