"""Weights of silver sentences against the equations, word by word in plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.labels.confidence import confidence_weight

PROBABILITIES = [[0.7, 0.2, 0.1], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]]


def logs(rows: list[list[float]]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows, np.float32))


def test_by_hand() -> None:
    scores = logs(PROBABILITIES)
    assert confidence_weight(scores, "none") == 1
    assert confidence_weight(scores, "top_posterior") == pytest.approx((0.7 + 0.5 + 1) / 3)
    assert confidence_weight(scores, "sequence") == pytest.approx(0.7 * 0.5 * 1)
    entropy = -sum(p * math.log(p) for p in PROBABILITIES[0]) / math.log(3)
    # The second word has two legal tags, each as probable as the other; the third has one.
    expected = 1 - (entropy + 1 + 0) / 3
    assert confidence_weight(scores, "entropy") == pytest.approx(expected)
    # A constant a word changes nothing, and a sentence without words weighs 1.
    assert confidence_weight(scores + 5, "entropy") == pytest.approx(expected)
    assert confidence_weight(scores[:0], "entropy") == 1


@given(st.lists(st.lists(st.floats(-40, 0), min_size=3, max_size=3), min_size=1, max_size=5))
def test_weights_lie_between_no_knowledge_and_certainty(rows: list[list[float]]) -> None:
    scores = np.array(rows, np.float32)
    for weighting in ("top_posterior", "entropy", "sequence"):
        weight = confidence_weight(scores, weighting)  # type: ignore[arg-type]
        uniform = confidence_weight(np.zeros_like(scores), weighting)  # type: ignore[arg-type]
        assert uniform - 1e-6 <= weight <= 1
        # A sharper teacher is a surer one.
        assert confidence_weight(2 * scores, weighting) >= weight - 1e-6  # type: ignore[arg-type]


def test_uniform_posteriors() -> None:
    uniform = np.zeros((2, 4), np.float32)
    assert confidence_weight(uniform, "entropy") == pytest.approx(0, abs=1e-12)
    assert confidence_weight(uniform, "top_posterior") == pytest.approx(0.25)


def test_unknown_weighting() -> None:
    with pytest.raises(UserError, match="none, top_posterior, entropy, sequence"):
        confidence_weight(np.zeros((1, 2)), "margin")  # type: ignore[arg-type]
