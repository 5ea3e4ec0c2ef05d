"""The states of all layers at words, of every model that has them."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.models.bert import BertTagger
from distill_jax.models.bilstm import BiLSTMTagger
from distill_jax.models.encoder_tagger import EncoderTagger
from distill_jax.models.stacking import stack_layers
from distill_jax.models.t5 import T5
from tests.tiny import (
    BERT_CONFIG,
    BILSTM_CONFIG,
    ENCODER_CONFIG,
    T5_CONFIG,
    bert_params,
    bilstm_params,
    encoder_params,
    t5_params,
)

TOKENS = np.array([[5, 6, 7, 8, 0, 0], [9, 3, 4, 0, 0, 0]], np.int32)
FIRST = np.array([[0, 2, 3], [0, 1, -1]], np.int32)
WORD_IDS = np.array([[2, 3, 1], [4, 2, 0]], np.int32)
CHAR_IDS = np.array([[[2, 3], [4, 0], [5, 6]], [[2, 0], [3, 3], [0, 0]]], np.int32)
SUBWORDS, WORDS = (TOKENS, FIRST), (WORD_IDS, CHAR_IDS)
MODELS: dict[str, tuple[Any, Any, tuple[np.ndarray, ...], list[int]]] = {
    "bert": (BertTagger(BERT_CONFIG), bert_params(), SUBWORDS, [8, 8, 8]),
    "encoder": (EncoderTagger(ENCODER_CONFIG), encoder_params(), SUBWORDS, [8, 8, 8]),
    "bilstm": (BiLSTMTagger(BILSTM_CONFIG), bilstm_params(), WORDS, [6 + 2 * 4, 2 * 8]),
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_head_on_the_last_states_gives_the_logits(kind: str) -> None:
    model, params, inputs, widths = MODELS[kind]
    states = jax.jit(lambda p: model.apply({"params": p}, *inputs, method="word_states"))(params)
    assert [layer.shape for layer in states] == [(2, 3, width) for width in widths]
    assert all(np.any(layer[1, :2]) and not np.any(layer[1, 2]) for layer in states)
    logits = jax.jit(model.apply)({"params": params}, *inputs)
    head = states[-1] @ params["output"]["kernel"] + params["output"]["bias"]
    np.testing.assert_allclose(logits[0], head[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits[1, :2], head[1, :2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "encoder"])
def test_states_are_those_of_first_subwords(kind: str) -> None:
    model, params, inputs, _ = MODELS[kind]
    hidden, states = jax.jit(
        lambda params: (
            model.apply({"params": params}, TOKENS, method="hidden_states"),
            model.apply({"params": params}, *inputs, method="word_states"),
        )
    )(params)
    assert len(hidden) == len(states) == model.config.num_layers + 1
    for whole, words in zip(hidden, states, strict=True):
        for row, word in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
            np.testing.assert_array_equal(words[row, word], whole[row, FIRST[row, word]])


def test_a_t5s_encoder_by_layers() -> None:
    config = T5_CONFIG.replace(num_encoder_layers=3)
    params, segments = t5_params(config), (TOKENS > 0).astype(np.int32)

    def of(layers: int, params: Any, method: str, **execution: Any) -> Any:
        model = T5(config.replace(num_encoder_layers=layers, **execution))
        apply = functools.partial(model.apply, method=method)
        return jax.jit(apply)({"params": params}, TOKENS, segments)

    states = of(3, params, "encoder_states")
    assert len(states) == 4
    np.testing.assert_array_equal(states[0], params["token_embedder"]["embedding"][TOKENS])
    np.testing.assert_array_equal(states[-1], of(3, params, "encode"))
    # Below the last there is no norm: an encoder of fewer layers norms what is there.
    scale = params["encoder"]["encoder_norm"]["scale"]
    root = np.sqrt(np.mean(np.square(states[2]), -1, keepdims=True) + config.layer_norm_epsilon)
    np.testing.assert_allclose(of(2, params, "encode"), states[2] / root * scale, rtol=1e-4)
    scanned = of(3, stack_layers(params), "encoder_states", scan_layers=True)
    for one, two in zip(scanned, states, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
