"""Legal sequences in the step, against NumPy's and against all sequences written out."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from distill_jax.distill.legal import best_legal_tags, legal_log_marginals
from distill_jax_runtime.legal import constrained_tags_batch
from distill_jax_runtime.marginals import LegalMarginals

BATCH, LENGTH, TAGS = 3, 5, 4
best = jax.jit(best_legal_tags)
marginals = jax.jit(legal_log_marginals)
lengths_of = arrays(np.int32, BATCH, elements=st.integers(0, LENGTH))


def scores_of(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return arrays(np.float32, (BATCH, LENGTH, TAGS), elements=elements)


def real(lengths: np.ndarray, length: int = LENGTH) -> np.ndarray:
    return np.arange(length) < lengths[:, None]


@given(scores_of(st.integers(-8, 0).map(lambda n: n / 4) | st.just(-np.inf)), lengths_of)
@example(np.zeros((BATCH, LENGTH, TAGS), np.float32), np.array([5, 3, 0], np.int32))
@settings(deadline=None)
def test_the_best_sequence_is_numpys_ties_included(scores: Any, lengths: Any) -> None:
    # Quarters are added without rounding, so equal sums are equal in float32 as in float64.
    expected = constrained_tags_batch(scores, lengths)
    scores[~real(lengths)] = np.nan  # what stands in the padding is not looked at
    found = best(scores, real(lengths))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


@given(
    scores_of(st.floats(-30, 0, width=32) | st.just(-np.inf)),
    lengths_of,
)
@settings(deadline=None)
def test_marginals_are_numpys(scores: Any, lengths: Any) -> None:
    behind = ~real(lengths)
    found = np.asarray(marginals(np.where(behind[..., None], np.nan, scores), real(lengths)))
    assert not found[behind].any()
    for row, length in enumerate(lengths):
        try:
            expected = LegalMarginals(scores[row, :length]).log_tags()
        except ValueError:
            assert np.isnan(found[row, :length]).any()
            continue
        np.testing.assert_allclose(found[row, :length], expected, rtol=1e-5, atol=1e-5)


def test_marginals_of_all_sequences_written_out() -> None:
    scores = np.random.default_rng(0).normal(size=(1, 4, TAGS)).astype(np.float32)
    expected = np.zeros((4, TAGS))
    for tags in itertools.product(range(TAGS), repeat=4):
        if all(tag != 1 or (i and tags[i - 1] != 0) for i, tag in enumerate(tags)):
            expected[np.arange(4), tags] += np.exp(scores[0, np.arange(4), tags].sum())
    found = np.exp(marginals(scores, np.ones((1, 4), bool))[0])
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), rtol=1e-5)


def test_long_sentences_of_far_apart_scores_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    scores = np.asarray(jax.nn.log_softmax(20 * rng.normal(size=(2, 300, 6)))).astype(np.float32)
    everything = np.ones((2, 300), bool)
    found = marginals(scores, everything)
    for row in range(2):
        expected = LegalMarginals(scores[row]).log_tags()
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(
        best(scores, everything), constrained_tags_batch(scores, np.array([300, 300]))
    )


def test_without_labels_everything_is_outside() -> None:
    scores = jnp.zeros((1, 3, 2)).at[..., 1].set(5.0)
    everything = np.ones((1, 3), bool)
    np.testing.assert_array_equal(best(scores, everything), np.zeros((1, 3)))
    np.testing.assert_array_equal(marginals(scores, everything)[0], [[0.0, -np.inf]] * 3)
