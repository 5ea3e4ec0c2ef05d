"""Attention maps as a loss."""

from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.distill.attention_maps import (
    attention_loss,
    check_heads,
    map_pairs,
    states_and_maps,
)
from distill_jax.distill.states import StateMatching
from distill_jax.errors import UserError
from distill_jax.models.bert import BertTagger
from distill_jax.models.bilstm import BiLSTMTagger
from distill_jax.models.encoder_tagger import EncoderTagger
from tests.tiny import (
    BERT_CONFIG,
    BILSTM_CONFIG,
    ENCODER_CONFIG,
    bert_params,
    bilstm_params,
    encoder_params,
)

TOKENS = np.array([[5, 6, 7, 8, 9], [5, 6, 7, 0, 0]], np.int32)
FIRST = np.array([[1, 3, 4], [0, 2, -1]], np.int32)
MODELS: dict[str, tuple[Any, Any]] = {
    "bert": (BertTagger(BERT_CONFIG), bert_params()),
    "encoder": (EncoderTagger(ENCODER_CONFIG), encoder_params()),
}


@pytest.mark.parametrize("name", MODELS)
def test_maps_are_distributions_over_tokens_and_states_as_without(name: str) -> None:
    model, params = MODELS[name]

    def both(params: Any) -> Any:
        alone = model.apply({"params": params}, TOKENS, FIRST, method="word_states")
        return states_and_maps(model, params, (TOKENS, FIRST)), alone

    (states, maps), alone = jax.jit(both)(params)
    for one, other in zip(states, alone, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [each.shape for each in maps] == 2 * [(2, 2, 5, 5)]
    for each in maps:
        np.testing.assert_allclose(each.sum(-1), 1, rtol=1e-5)
        assert not np.any(each[1, :, :, 3:])  # padding
    assert np.abs(maps[0] - maps[1]).max() > 1e-3


def test_a_model_of_words_has_no_maps() -> None:
    words, chars = np.ones((1, 2), np.int32), np.ones((1, 2, 3), np.int32)
    states, maps = states_and_maps(BiLSTMTagger(BILSTM_CONFIG), bilstm_params(), (words, chars))
    assert len(states) == 2 and maps == []


@pytest.mark.parametrize("heads", ["equal", "mean"])
def test_the_loss_is_the_mean_square_over_heads_and_tokens(heads: Any) -> None:
    rng = np.random.default_rng(0)
    real = np.where(TOKENS > 0, 0.0, -np.inf)[:, None, None, :]
    own, theirs = (
        np.asarray(jax.nn.softmax(rng.normal(size=(2, 2, 5, 5)) + real), np.float32) for _ in "ab"
    )
    weights = np.array([[1.0, 2.0, 0.5], [1.0, 1.0, 0.0]], np.float32)
    total = 0.0
    for row, length in enumerate((5, 3)):
        for word, at in enumerate(FIRST[row]):
            if at < 0:
                continue
            a, b = own[row, :, at, :length], theirs[row, :, at, :length]
            if heads == "mean":
                a, b = a.mean(0), b.mean(0)
            total += weights[row, word] * np.square(a - b).mean()
    loss = attention_loss(own, theirs, FIRST, weights, heads)
    np.testing.assert_allclose(loss.total, total, rtol=1e-5)
    assert loss.weight == weights.sum()
    assert attention_loss(own, own, FIRST, weights, heads).total == 0


def test_no_gradient_flows_to_the_teacher() -> None:
    maps = np.full((2, 2, 5, 5), 0.2, np.float32)
    weights = (FIRST >= 0).astype(np.float32)

    def loss(own: Any, theirs: Any) -> Any:
        return attention_loss(own, theirs, FIRST, weights).total

    own, theirs = jax.grad(loss, argnums=(0, 1))(maps, 2 * maps)
    assert not np.any(theirs) and np.any(own[0, :, 1])
    assert not np.any(own[0, :, 0])  # no word begins there


def test_pairs_of_layers_and_heads() -> None:
    assert map_pairs(None, 0, 0) == ()
    assert map_pairs("last", 2, 5) == ((0, 3), (1, 4))
    assert map_pairs(((1, 5), (2, 2)), 2, 5) == ((0, 4), (1, 1))
    check_heads(2, 2, "equal")
    check_heads(2, 12, "mean")
    for wrong, line in (
        (lambda: map_pairs("last", 3, 2), "3 attention maps and the teacher 2"),
        (lambda: map_pairs(((0, 1),), 2, 2), "layer 0 of the student, whose maps are 1 to 2"),
        (lambda: map_pairs("last", 2, 0), "the teacher has none"),
        (lambda: check_heads(2, 12, "equal"), "2 attention heads a layer and the teacher 12"),
        (lambda: StateMatching(attention=((1,),)), "give pairs"),
        (lambda: StateMatching(attention="first"), "or 'last'"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UserError, match=line):
            wrong()
