"""Vectors from co-occurrence: who stands in the same places is alike."""

import numpy as np

from distill_jax.data.cooccurrence import cooccurrence_vectors

_PLAY, _BY, _CITIES, _BANDS, _IN = 0, 1, (2, 3, 4), (5, 6, 7), 8


def _sentences() -> list[list[int]]:
    rng = np.random.default_rng(0)
    songs = [[_PLAY, int(rng.choice(_BANDS)), _BY, int(rng.choice(_BANDS))] for _ in range(60)]
    trips = [[_IN, int(rng.choice(_CITIES)), _IN, int(rng.choice(_CITIES))] for _ in range(60)]
    return songs + trips


def test_the_same_places_give_the_same_direction() -> None:
    vectors = cooccurrence_vectors(_sentences(), size=10, dim=6)
    similar = vectors @ vectors.T
    for group, other in ((_CITIES, _BANDS), (_BANDS, _CITIES)):
        within = min(similar[a, b] for a in group for b in group)
        across = max(similar[a, b] for a in group for b in other)
        assert within > 0.8 > 0.3 > across


def test_vectors_are_units_and_those_of_rare_tokens_zero() -> None:
    vectors = cooccurrence_vectors([*_sentences(), [9]], size=10, dim=6)
    assert vectors.dtype == np.float32 and vectors.shape == (10, 6)
    np.testing.assert_allclose(np.linalg.norm(vectors[:9], axis=1), 1, rtol=1e-5)
    assert not vectors[9].any()
    assert cooccurrence_vectors([[9], *_sentences()], size=10, dim=6, min_count=1)[9].any()


def test_the_same_text_gives_the_same_vectors() -> None:
    once, again = (cooccurrence_vectors(_sentences(), size=10, dim=4) for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_a_width_beyond_the_rank_is_filled_with_zeros() -> None:
    vectors = cooccurrence_vectors([[0, 1], [0, 1]], size=3, dim=8)
    assert vectors.shape == (3, 8) and np.isfinite(vectors).all()
    assert not vectors[2].any()


def test_no_text_gives_zeros() -> None:
    assert not cooccurrence_vectors([], size=3, dim=2).any()
