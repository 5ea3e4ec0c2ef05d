"""The exact legal decoder against full enumeration."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distill_jax.tagging import constrained_tags, constrained_tags_batch

# Small whole numbers make ties; -inf forbids.
values = st.sampled_from([-np.inf, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0])
scores = st.tuples(st.integers(0, 5), st.integers(2, 4)).flatmap(
    lambda shape: hnp.arrays(np.float32, shape, elements=values)
)


def is_legal_ids(ids) -> bool:
    return all(tag != 1 or previous != 0 for previous, tag in zip([0, *ids], ids, strict=False))


def total(scores_LxK, ids) -> float:
    return float(sum(scores_LxK[i, tag] for i, tag in enumerate(ids)))


@given(scores)
@settings(deadline=None, max_examples=200)
def test_best_of_all_legal_sequences(scores_LxK) -> None:
    length, num_tags = scores_LxK.shape
    legal = [ids for ids in product(range(num_tags), repeat=length) if is_legal_ids(ids)]
    best = max(total(scores_LxK, ids) for ids in legal)

    found = constrained_tags(scores_LxK)

    assert found.dtype == np.int32
    assert tuple(found.tolist()) in legal
    assert total(scores_LxK, found) == best
    winners = [ids for ids in legal if total(scores_LxK, ids) == best]
    if len(winners) == 1:
        assert tuple(found.tolist()) == winners[0]
    free = tuple(scores_LxK.argmax(-1).tolist())
    if is_legal_ids(free) and best > -np.inf:
        assert total(scores_LxK, free) == best


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 8), st.integers(2, 5))
@settings(deadline=None)
def test_batch_equals_one_by_one_whatever_the_padding(seed, batch, length, num_tags) -> None:
    rng = np.random.default_rng(seed)
    scores_BxLxK = rng.normal(size=(batch, length, num_tags))
    scores_BxLxK[rng.random(scores_BxLxK.shape) < 0.2] = -np.inf
    lengths_B = rng.integers(0, length + 1, batch)
    padded = scores_BxLxK.copy()
    padded[np.arange(length) >= lengths_B[:, None]] = rng.choice([np.nan, np.inf, 9.0, -np.inf])

    found = constrained_tags_batch(padded, lengths_B)

    assert found.shape == (batch, length)
    for row, scores_LxK, n in zip(found, scores_BxLxK, lengths_B, strict=True):
        assert row[:n].tolist() == constrained_tags(scores_LxK[:n]).tolist()
        assert not row[n:].any()
    whole = constrained_tags_batch(scores_BxLxK)
    assert whole.tolist() == [constrained_tags(s).tolist() for s in scores_BxLxK]


def test_a_global_optimum_that_greedy_search_misses() -> None:
    # Word by word, O wins at first; but the second word must be I, which needs a label before it.
    scores_LxK = np.log([[0.6, 0.0001, 0.3999], [0.0001, 0.9, 0.0999]])
    assert constrained_tags(scores_LxK).tolist() == [2, 1]


def test_legal_even_if_everything_is_forbidden() -> None:
    assert is_legal_ids(constrained_tags(np.full((4, 3), -np.inf)).tolist())
    only_inside = np.full((3, 3), -np.inf)
    only_inside[:, 1] = 0
    assert is_legal_ids(constrained_tags(only_inside).tolist())
    assert constrained_tags(only_inside[:, :2]).tolist() == [0, 0, 0]


def test_empty_inputs() -> None:
    assert constrained_tags(np.zeros((0, 4))).shape == (0,)
    assert constrained_tags_batch(np.zeros((0, 3, 4)), np.zeros(0, int)).shape == (0, 3)
    assert constrained_tags_batch(np.zeros((2, 0, 4)), np.zeros(2, int)).shape == (2, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("tag", [0, 1, 2, 3])
def test_non_finite_scores_are_refused(bad: float, tag: int) -> None:
    scores_LxK = np.zeros((2, 4))
    scores_LxK[1, tag] = bad
    with pytest.raises(ValueError, match="diverged"):
        constrained_tags(scores_LxK)


def test_wrong_shapes() -> None:
    with pytest.raises(ValueError, match="length, tags"):
        constrained_tags(np.zeros(3))
    with pytest.raises(ValueError, match="2 tags at least"):
        constrained_tags(np.zeros((3, 1)))
    for lengths in ([1], [1, 4], [-1, 1]):
        with pytest.raises(ValueError, match="lengths"):
            constrained_tags_batch(np.zeros((2, 3, 3)), np.array(lengths))
