"""Marginals over legal sequences, against all sequences written out."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.inference import Prediction
from distill_jax.tagging import constrained_tags, fit_marginal_temperature, spans_from_sbio
from distill_jax.tagging.labels import LabelSet
from distill_jax.tagging.temperature import HIGHEST, LOWEST, marginal_nll
from distill_jax_runtime.marginals import LegalMarginals

LABELS = LabelSet(("a", "b"))


def legal_sequences(length: int, num_tags: int) -> list[tuple[int, ...]]:
    return [
        tags
        for tags in itertools.product(range(num_tags), repeat=length)
        if all(tag != 1 or (i and tags[i - 1] != 0) for i, tag in enumerate(tags))
    ]


scores_of = st.integers(1, 5).flatmap(
    lambda length: st.lists(
        st.lists(st.floats(-30, 5) | st.just(-np.inf), min_size=4, max_size=4),
        min_size=length,
        max_size=length,
    )
)


def test_no_span_is_more_than_certain() -> None:
    for scores in 30 * np.random.default_rng(0).normal(size=(100, 6, 5)):
        marginals = LegalMarginals(scores)
        spans = itertools.combinations(range(7), 2)
        assert max(marginals.span(*span, tag) for span in spans for tag in (2, 3, 4)) <= 1


@given(scores_of)
@settings(deadline=None)
def test_against_enumeration(rows: list[list[float]]) -> None:
    scores = np.array(rows)
    weights = {
        tags: np.exp(scores[np.arange(len(tags)), tags].sum())
        for tags in legal_sequences(len(rows), 4)
    }
    total = sum(weights.values())
    if total == 0:
        with pytest.raises(ValueError, match="no legal sequence"):
            LegalMarginals(scores)
        return
    found = LegalMarginals(scores)
    expected = np.zeros_like(scores)
    spans: dict[tuple[int, int, int], float] = {}
    for tags, weight in weights.items():
        expected[np.arange(len(tags)), tags] += weight / total
        for start, end, label in spans_from_sbio([LABELS.tags[tag] for tag in tags]):
            key = (start, end, LABELS.index(label))
            spans[key] = spans.get(key, 0.0) + weight / total
    marginals = np.exp(found.log_tags())
    np.testing.assert_allclose(marginals, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(marginals.sum(-1), 1.0, rtol=1e-9)
    for (start, end, label), probability in spans.items():
        assert found.span(start, end, label) == pytest.approx(probability, rel=1e-9, abs=1e-12)


def test_far_apart_scores_neither_overflow_nor_vanish() -> None:
    scores = np.array([[0.0, 2000.0, -2000.0, -4000.0], [-3000.0, 0.0, -5000.0, -5000.0]])
    log_p = LegalMarginals(scores).log_tags()
    assert log_p[0, 1] == -np.inf and np.isfinite(log_p[1]).all()
    # label a, then I: -2000; O, then O: -3000.
    assert log_p[0, 2] == pytest.approx(0.0) and log_p[0, 0] == pytest.approx(-1000.0)


def test_without_words() -> None:
    assert LegalMarginals(np.zeros((0, 4))).log_tags().shape == (0, 4)


def test_a_prediction_of_words_alone_has_marginals() -> None:
    scores = np.log([[0.5, 0.3, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1]]).astype(np.float32)
    raw = Prediction(constrained_tags(scores), scores)
    legal = raw._replace(words_alone=True)
    assert raw.posteriors[0, 1] == pytest.approx(0.3) and legal.posteriors[0, 1] == 0
    np.testing.assert_allclose(legal.posteriors, np.exp(legal.completed), rtol=1e-6)
    np.testing.assert_array_equal(legal.posteriors, legal.distributions)
    np.testing.assert_array_equal(legal.log_likelihoods, scores)  # the raw scores stay beside it
    warm = legal._replace(temperature=2.0)
    np.testing.assert_allclose(
        warm.posteriors, np.exp(LegalMarginals(scores / 2).log_tags()), rtol=1e-6
    )
    np.testing.assert_array_equal(warm.completed, legal.completed)  # what students learn from


def test_the_fitted_temperature_has_the_least_nll() -> None:
    rng = np.random.default_rng(0)
    sentences = []
    for _ in range(40):
        scores = rng.normal(size=(6, 4)) * 2
        marginals = np.exp(LegalMarginals(scores).log_tags())
        gold = np.array([rng.choice(4, p=row / row.sum()) for row in marginals])
        sentences.append((scores * 3, gold))
    fitted = fit_marginal_temperature(sentences)
    assert 2 < fitted < 4.5
    everywhere = np.geomspace(LOWEST, HIGHEST, 300)
    least = min(marginal_nll(sentences, t) for t in everywhere)
    assert marginal_nll(sentences, fitted) <= least + 1e-6
    assert fit_marginal_temperature(sentences, current=fitted) == pytest.approx(fitted)
