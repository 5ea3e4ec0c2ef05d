"""A BiLSTM tagger (`models.bilstm`) as two ONNX graphs, with one `LSTM` node a layer.

ONNX's `LSTM` is that of `models.lstm`, with the gates in another order and two biases, which are only ever
added. Its `sequence_lens` reverses each sequence within its own length, and its outputs are zero behind that,
as `BidirectionalLSTM` has it. The graphs compute in float32, whatever the type of the model's activations.

Two graphs, since a word's spelling depends on the word alone: who tags one sentence after another computes it
once for each word, which is a third of the work of a batch.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from distill_jax.export.graph import Graph
from distill_jax.export.tables import Storage, Table
from distill_jax.models.bilstm import FROZEN_EMBEDDING, PAD_ID, UNK_ID, BiLSTMConfig
from distill_jax.models.lstm import DIRECTIONS, GATES

_GATES_IN_ONNX = (0, 3, 1, 2)
"""Ours are i, f, g, o; ONNX's i, o, f, c, of which c is our g."""


def word_graph(
    config: BiLSTMConfig, params: Mapping[str, Any], storage: Storage = "float32"
) -> onnx.ModelProto:
    """From words to scores.

    Inputs: `word_ids` int32[batch, length], 0 for padding behind the words, and `spelling` float32[batch,
    length, features], what `spelling_graph` gives for each word, at padding anything. Outputs: `logits` and
    `log_probabilities` (log-softmax over tags), float32[batch, length, tags]; at padding they have no
    meaning.

    Args:
        config: of the model.
        params: float32 arrays, the frozen table maybe float16.
        storage: of the embeddings; the frozen table is never stored in more bytes than it has.
    """
    graph = Graph()
    word_ids = graph.input("word_ids", np.int32, ("batch", "length"))
    spelling_size = DIRECTIONS * config.char_hidden
    spelling_BxLxE = graph.input("spelling", np.float32, ("batch", "length", spelling_size))
    words_BxLxE = _words(graph, config, params, word_ids, storage)
    inputs = graph.node("Concat", words_BxLxE, spelling_BxLxE, axis=-1)
    states_LxBxD = graph.node("Transpose", inputs, perm=(1, 0, 2))
    lengths_B = _lengths(graph, word_ids)
    for layer in range(config.num_layers):
        states_Lx2xBxH, _ = _lstm(graph, params, f"word_lstm_{layer}", states_LxBxD, lengths_B)
        states_LxBx2xH = graph.node("Transpose", states_Lx2xBxH, perm=(0, 2, 1, 3))
        shape = graph.number([0, 0, DIRECTIONS * config.hidden], np.int64)
        states_LxBxD = graph.node("Reshape", states_LxBx2xH, shape)
    states_BxLxD = graph.node("Transpose", states_LxBxD, perm=(1, 0, 2))
    output = params["output"]
    product = graph.node("MatMul", states_BxLxD, graph.constant("output.kernel", output["kernel"]))
    logits = graph.node("Add", product, graph.constant("output.bias", output["bias"]))
    log_probabilities = graph.node("LogSoftmax", logits, axis=-1)
    shape_of_scores = ("batch", "length", config.num_tags)
    graph.output(logits, "logits", np.float32, shape_of_scores)
    graph.output(log_probabilities, "log_probabilities", np.float32, shape_of_scores)
    return graph.model(config.model_type, _sizes(config))


def spelling_graph(
    config: BiLSTMConfig, params: Mapping[str, Any], storage: Storage = "float32"
) -> onnx.ModelProto:
    """From characters to a vector for each word: the last states of the characters' BiLSTM.

    Input: `char_ids` int32[words, chars], 0 for padding behind the characters, at least one of them wide.
    Output: `spelling` float32[words, features]. Arguments are those of `word_graph`.
    """
    graph = Graph()
    char_ids_NxC = graph.input("char_ids", np.int32, ("words", "chars"))
    table = Table(graph, "char_embedding", params["char_embedding"]["embedding"], storage)
    steps_CxNxE = table.rows(graph.node("Transpose", char_ids_NxC, perm=(1, 0)))
    lengths_N = _lengths(graph, char_ids_NxC)
    _, last_2xNxH = _lstm(graph, params, "char_lstm", steps_CxNxE, lengths_N)
    last_Nx2xH = graph.node("Transpose", last_2xNxH, perm=(1, 0, 2))
    size = DIRECTIONS * config.char_hidden
    spelling_NxE = graph.node("Reshape", last_Nx2xH, graph.number([-1, size], np.int64))
    graph.output(spelling_NxE, "spelling", np.float32, ("words", size))
    return graph.model(f"{config.model_type}_spelling", _sizes(config))


def _sizes(config: BiLSTMConfig) -> dict[str, str]:
    names = ("num_words", "num_frozen_words", "num_chars", "num_tags")
    return {name: str(getattr(config, name)) for name in names}


def _words(
    graph: Graph, config: BiLSTMConfig, params: Mapping[str, Any], ids: str, storage: Storage
) -> str:
    """The words' vectors, float32[batch, length, features]: trained ones, or of the frozen table."""
    trained = Table(graph, "word_embedding", params["word_embedding"]["embedding"], storage)
    if not config.num_frozen_words:
        return trained.rows(ids)
    first_frozen = graph.number(config.num_words, np.int32)
    is_frozen = graph.node("Not", graph.node("Less", ids, first_frozen))
    unknown = graph.number(UNK_ID, np.int32)
    own_rows = trained.rows(graph.node("Where", is_frozen, unknown, ids))
    frozen = Table(graph, FROZEN_EMBEDDING, params[FROZEN_EMBEDDING]["embedding"], storage)
    places = graph.node("Sub", ids, first_frozen)
    rows = frozen.rows(graph.node("Max", places, graph.number(0, np.int32)))
    last_axis = graph.number([-1], np.int64)
    return graph.node("Where", graph.node("Unsqueeze", is_frozen, last_axis), rows, own_rows)


def _lengths(graph: Graph, ids: str) -> str:
    """int32: how many of the last axis are no padding."""
    is_padding = graph.node("Equal", ids, graph.number(PAD_ID, np.int32))
    real = graph.cast(graph.node("Not", is_padding), np.int32)
    return graph.node("ReduceSum", real, graph.number([-1], np.int64), keepdims=0)


def _lstm(
    graph: Graph, params: Mapping[str, Any], name: str, steps: str, lengths: str
) -> tuple[str, str]:
    """All states [length, 2, batch, hidden], and the last of each direction [2, batch, hidden]."""
    own = params[name]
    hidden = own["recurrent_kernel"].shape[1]

    def in_order(array: np.ndarray) -> np.ndarray:
        """[2, …, 4 * hidden], with the gates as ONNX has them."""
        gates = np.split(np.asarray(array), GATES, axis=-1)
        return np.concatenate([gates[gate] for gate in _GATES_IN_ONNX], axis=-1)

    bias = in_order(own["bias"])
    constants = {
        "W": np.swapaxes(in_order(own["input_kernel"]), 1, 2),
        "R": np.swapaxes(in_order(own["recurrent_kernel"]), 1, 2),
        "B": np.concatenate([bias, np.zeros_like(bias)], axis=-1),
    }
    weights = [graph.constant(f"{name}.{key}", array) for key, array in constants.items()]
    states, last = graph.nodes(
        "LSTM", [steps, *weights, lengths], 2, hidden_size=hidden, direction="bidirectional"
    )
    return states, last
