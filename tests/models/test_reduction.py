"""Truncated SVD against numpy's own, and against the best that any rank-k matrix can do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.models.reduction import truncated_svd


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 9), st.integers(0, 99))
def test_the_reconstruction_is_numpys(rows: int, columns: int, rank: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(rows, columns))
    coordinates, directions = truncated_svd(vectors, rank)
    kept = min(rank, rows, columns)
    assert coordinates.shape == (rows, kept) and directions.shape == (kept, columns)
    u, s, vt = np.linalg.svd(vectors, full_matrices=False)
    expected = (u[:, :rank] * s[:rank]) @ vt[:rank]
    np.testing.assert_allclose(coordinates @ directions, expected, atol=1e-10)
    # What is left over is what Eckart and Young say must be.
    error = np.square(vectors - coordinates @ directions).sum()
    np.testing.assert_allclose(error, np.square(s[rank:]).sum(), atol=1e-9)
    np.testing.assert_allclose(directions @ directions.T, np.eye(kept), atol=1e-10)


def test_signs_are_settled() -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 4))
    coordinates, directions = truncated_svd(vectors, 3)
    flipped, same = truncated_svd(-vectors, 3)
    np.testing.assert_allclose(directions, same, atol=1e-10)
    np.testing.assert_allclose(coordinates, -flipped, atol=1e-10)
    with pytest.raises(ValueError, match="rank"):
        truncated_svd(vectors, 0)
