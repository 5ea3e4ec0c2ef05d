"""Fitting a temperature: it is found again, and it never makes the NLL worse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.tagging import fit_temperature
from distill_jax.tagging.temperature import HIGHEST, LOWEST, concatenated, nll

seeds = st.integers(0, 2**32 - 1)


def sample(seed: int, words: int, num_tags: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores with some impossible tags, and gold tags drawn from their softmax."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(words, num_tags)) * rng.choice([0.5, 2.0, 6.0])
    scores[:, 1:][rng.random((words, num_tags - 1)) < 0.2] = -np.inf
    posteriors = np.exp(scores - scores.max(-1, keepdims=True))
    posteriors /= posteriors.sum(-1, keepdims=True)
    return scores, np.array([rng.choice(num_tags, p=row) for row in posteriors])


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    """Scores `temperature` times those that gold tags were drawn from."""
    scores, gold = sample(0, 20_000, 5)
    found = fit_temperature(scores * temperature, gold)
    assert found == pytest.approx(temperature, rel=0.03)
    # Exactly the one that fits the sample best, whatever it was drawn from.
    assert found == pytest.approx(temperature * fit_temperature(scores, gold), rel=1e-9)


def test_the_minimum_in_closed_form() -> None:
    """Two tags a distance d apart, right in a share p of words: p = 1 / (1 + exp(-d / T))."""
    scores = np.tile([0.0, 3.0], (10, 1)).astype(np.float32)
    gold = np.array([1] * 8 + [0] * 2)
    assert fit_temperature(scores, gold) == pytest.approx(3 / np.log(0.8 / 0.2))


@given(seeds, st.integers(1, 40), st.integers(2, 6), st.floats(0.1, 10))
@settings(deadline=None)
def test_the_nll_is_never_increased(seed: int, words: int, num_tags: int, current: float) -> None:
    scores, gold = sample(seed, words, num_tags)
    gold = np.where(np.random.default_rng(seed).random(words) < 0.3, 0, gold)
    if not (np.isfinite(scores).sum(-1) > 1).any():
        return
    found = fit_temperature(scores, gold, current=current)
    assert LOWEST <= found <= HIGHEST or found == current
    best = nll(scores, gold, found)
    assert best <= nll(scores, gold, current)
    for other in (LOWEST, 0.5, 1.0, 2.0, HIGHEST, found * 0.99, found * 1.01):
        if LOWEST <= other <= HIGHEST:
            assert best <= nll(scores, gold, other) + 1e-12


def test_the_limits() -> None:
    right, wrong = np.array([[0.0, 5.0]]), np.array([[5.0, 0.0]])
    assert fit_temperature(right, np.array([1])) == LOWEST
    assert fit_temperature(wrong, np.array([1])) == HIGHEST


def test_words_whose_gold_tag_was_impossible_say_nothing() -> None:
    scores, gold = sample(1, 200, 4)
    more = np.concatenate([scores, np.tile([0.0, -np.inf, 1.0, 2.0], (50, 1))])
    assert fit_temperature(more, np.concatenate([gold, np.ones(50, int)])) == fit_temperature(
        scores, gold
    )


def test_scores_of_any_size() -> None:
    scores, gold = sample(2, 500, 4)
    assert fit_temperature(scores - 1e5, gold) == pytest.approx(fit_temperature(scores, gold))
    assert np.isfinite(nll(scores * 1e4, gold, LOWEST))


def test_nothing_to_fit() -> None:
    for scores in (np.zeros((0, 3)), np.array([[0.0, -np.inf]]), np.array([[-np.inf, 0.0]])):
        with pytest.raises(UserError, match="cannot be fitted"):
            fit_temperature(scores, np.zeros(len(scores), int))
    with pytest.raises(ValueError, match="do not fit"):
        fit_temperature(np.zeros((2, 3)), np.zeros(3, int))
    with pytest.raises(ValueError, match="NaN"):
        fit_temperature(np.full((1, 2), np.nan), np.zeros(1, int))


def test_sentences_are_joined() -> None:
    sentences = [(np.ones((2, 3)), np.array([0, 1])), (np.zeros((0, 3)), np.zeros(0, int))]
    scores, gold = concatenated([*sentences, (np.zeros((1, 3)), np.array([2]))])
    assert scores.tolist() == [[1] * 3] * 2 + [[0] * 3]
    assert gold.tolist() == [0, 1, 2]
    assert concatenated([])[1].shape == (0,)
