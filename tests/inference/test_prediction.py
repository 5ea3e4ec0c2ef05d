"""Posteriors of predictions: at a temperature, and with tags that were not looked at."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.inference import Prediction, Unexplored
from distill_jax.inference.prediction import epsilon_at_temperature


def test_posteriors_at_a_temperature() -> None:
    scores = np.array([[0.0, -np.inf, np.log(3.0), -np.inf]], np.float32)
    cold = Prediction(np.array([2], np.int32), scores)
    np.testing.assert_allclose(cold.posteriors, [[0.25, 0, 0.75, 0]], rtol=1e-6)
    np.testing.assert_array_equal(cold.posteriors, cold.distributions)
    np.testing.assert_array_equal(cold.completed, scores)
    assert cold.unexplored_mass is None
    warm = cold._replace(temperature=2.0)
    root = np.sqrt(3)
    np.testing.assert_allclose(warm.posteriors, [[1, 0, root, 0]] / (1 + root), rtol=1e-6)


def test_no_posteriors() -> None:
    bare = Prediction(np.array([2], np.int32), None)
    for name in ("posteriors", "distributions", "unexplored_mass", "completed"):
        with pytest.raises(UserError, match="no posteriors; use sentscore or pruned"):
            getattr(bare, name)


def pruned(scores: np.ndarray, looked_at: np.ndarray, temperature: float) -> Prediction:
    """As the decoder leaves it that looks at these tags alone and bounds the others exactly."""
    total = np.exp(scores).sum(-1)
    mass = np.where(looked_at, 0, np.exp(scores)).sum(-1) / total
    return Prediction(
        np.zeros(len(scores), np.int32),
        np.where(looked_at, scores, -np.inf).astype(np.float32),
        temperature,
        Unexplored(mass.astype(np.float32), ~looked_at),
    )


def test_unexplored_mass_by_hand() -> None:
    scores = np.log([[6.0, 2.0, 1.0, 1.0]])
    found = pruned(scores, np.array([[True, True, False, False]]), 1.0)
    np.testing.assert_allclose(found.unexplored_mass, [0.2], rtol=1e-5)
    # What is certain of each tag: its true posterior, and at least 0 for the others.
    np.testing.assert_allclose(found.posteriors, [[0.6, 0.2, 0, 0]], rtol=1e-5)
    np.testing.assert_allclose(found.distributions, [[0.6, 0.2, 0.1, 0.1]], rtol=1e-5)
    # Where the two are alike, completing the scores gives them back.
    np.testing.assert_allclose(found.completed, scores, rtol=1e-5, atol=1e-6)
    # At T = 2 the others have at most sqrt(2) * sqrt(2), which they reach, being equal.
    warm = found._replace(temperature=2.0)
    expected = np.sqrt([6, 2, 1, 1]) / np.sqrt([6, 2, 1, 1]).sum()
    np.testing.assert_allclose(warm.unexplored_mass, [expected[2:].sum()], rtol=1e-5)
    np.testing.assert_allclose(warm.distributions, [expected], rtol=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(2, 7), st.floats(0.1, 20))
@settings(deadline=None)
def test_pruned_posteriors_are_bounds_at_every_temperature(
    seed: int, words: int, num_tags: int, temperature: float
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(words, num_tags)) * 4 - 30
    looked_at = rng.random((words, num_tags)) < 0.6
    looked_at[np.arange(words), scores.argmax(-1)] = True
    found = pruned(scores, looked_at, temperature)
    truth = np.exp((scores - scores.max(-1, keepdims=True)) / temperature)
    truth /= truth.sum(-1, keepdims=True)
    mass = found.unexplored_mass
    assert mass is not None and mass.dtype == found.posteriors.dtype == np.float32
    tolerance = 1e-5
    assert (found.posteriors <= truth + tolerance).all()
    assert (truth <= found.posteriors + mass[:, None] + tolerance).all()
    assert (np.where(looked_at, 0, truth).sum(-1) <= mass + tolerance).all()
    np.testing.assert_allclose(found.posteriors.sum(-1) + mass, 1, rtol=1e-5)
    np.testing.assert_allclose(found.distributions.sum(-1), 1, rtol=1e-5)
    assert (found.posteriors[~looked_at] == 0).all()


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.floats(0.3, 4), st.floats(1e-4, 0.3))
@settings(deadline=None)
def test_an_epsilon_for_a_temperature_holds_there(
    seed: int, num_tags: int, temperature: float, epsilon: float
) -> None:
    searched = epsilon_at_temperature(epsilon, temperature, num_tags)
    assert 0 < searched < 1
    scores = np.random.default_rng(seed).normal(size=(1, num_tags)) * 6 - 30
    # The search may stop as soon as what is left is below its epsilon, taking the likeliest first.
    order = scores[0].argsort()
    below = np.cumsum(np.exp(scores[0][order])) / np.exp(scores).sum() <= searched
    looked_at = np.ones((1, num_tags), bool)
    looked_at[0, order[below]] = False
    mass = pruned(scores, looked_at, temperature).unexplored_mass
    assert mass is not None and mass.max() <= epsilon * 1.001


def test_an_epsilon_without_a_temperature_stays() -> None:
    assert epsilon_at_temperature(1e-4, 1.0, 41) == 1e-4


def test_no_mass_is_left() -> None:
    found = Prediction(
        np.array([0], np.int32),
        np.array([[-50.0, -np.inf, -np.inf]], np.float32),
        2.0,
        Unexplored(np.zeros(1, np.float32), np.array([[False, False, True]])),
    )
    np.testing.assert_array_equal(found.unexplored_mass, [0])
    for array in (found.posteriors, found.distributions):
        np.testing.assert_array_equal(array, [[1, 0, 0]])
    np.testing.assert_array_equal(found.completed, found.log_likelihoods)
