"""Calibration figures against a plain loop over words."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.tagging import CalibrationCounts

seeds = st.integers(0, 2**32 - 1)


def sample(seed: int, words: int, num_tags: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    posteriors = rng.dirichlet(np.full(num_tags, rng.choice([0.1, 1.0])), words)
    return posteriors, rng.integers(0, num_tags, words)


def plain_loop(posteriors, gold_ids, bins: int) -> dict[str, float]:
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    brier = nll = right = 0.0
    for p, gold in zip(posteriors.tolist(), gold_ids.tolist(), strict=True):
        confidence = max(p)
        hit = p.index(confidence) == gold
        for b in range(bins):
            if b / bins < confidence <= (b + 1) / bins:
                members[b].append((confidence, hit))
        brier += sum((q - (k == gold)) ** 2 for k, q in enumerate(p))
        nll -= math.log(max(p[gold], float(np.finfo(np.float32).tiny)))
        right += hit
    n = len(gold_ids)
    ece = 0.0
    for group in filter(None, members):
        accuracy = sum(hit for _, hit in group) / len(group)
        confidence = sum(c for c, _ in group) / len(group)
        ece += len(group) / n * abs(accuracy - confidence)
    return {"ece": ece, "brier": brier / n, "nll": nll / n, "accuracy": right / n}


@given(seeds, st.integers(1, 30), st.integers(2, 6), st.sampled_from([1, 4, 15]))
@settings(deadline=None)
def test_against_a_plain_loop(seed: int, words: int, num_tags: int, bins: int) -> None:
    posteriors, gold_ids = sample(seed, words, num_tags)
    counts = CalibrationCounts(bins)
    counts.update(posteriors, gold_ids)
    result = counts.result()
    for name, value in plain_loop(posteriors, gold_ids, bins).items():
        assert result[name] == pytest.approx(value), name
    assert result["words"] == words == sum(b["count"] for b in result["bins"])
    for each in result["bins"]:
        if each["count"]:
            assert each["lower"] < each["confidence"] <= each["upper"]
    json.dumps(result, allow_nan=False)


@given(seeds, st.integers(0, 20))
@settings(deadline=None)
def test_merging_and_adding_arrays_equal_one_pass(seed: int, cut: int) -> None:
    posteriors, gold_ids = sample(seed, 20, 4)
    whole, left, right = CalibrationCounts(), CalibrationCounts(), CalibrationCounts()
    whole.update(posteriors, gold_ids)
    left.update(posteriors[:cut], gold_ids[:cut])
    right.update(posteriors[cut:], gold_ids[cut:])
    array = left.as_array() + right.as_array()
    assert array.dtype == np.float64
    assert array.shape == (2 + 3 * 15,)
    left.merge(right)
    np.testing.assert_allclose(left.as_array(), whole.as_array(), rtol=1e-12, atol=1e-12)
    restored = CalibrationCounts.from_array(array)
    assert restored.result() == left.result()
    before = array.copy()
    restored.update(posteriors, gold_ids)
    np.testing.assert_array_equal(array, before)


def test_a_batch_with_padding() -> None:
    posteriors, gold_ids = sample(0, 12, 3)
    flat, batched = CalibrationCounts(), CalibrationCounts()
    flat.update(posteriors[:10], gold_ids[:10])
    gold_ids[10:] = -1
    posteriors[10:] = np.nan
    batched.update(posteriors.reshape(3, 4, 3), gold_ids.reshape(3, 4))
    np.testing.assert_allclose(batched.as_array(), flat.as_array())


def test_bin_borders_belong_to_the_lower_bin() -> None:
    counts = CalibrationCounts(bins=4)
    counts.update(np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]], np.float32), np.array([0, 1, 0]))
    assert [b["count"] for b in counts.result()["bins"]] == [0, 1, 1, 1]


def test_a_certain_mistake_costs_a_finite_amount() -> None:
    counts = CalibrationCounts()
    counts.update(np.array([[1.0, 0.0]]), np.array([1]))
    result = counts.result()
    assert result["nll"] == pytest.approx(87.3, abs=0.1)
    assert (result["ece"], result["brier"], result["accuracy"]) == (1.0, 2.0, 0.0)


def test_nothing_counted_gives_zeros() -> None:
    result = CalibrationCounts(2).result()
    assert {result[name] for name in ("ece", "brier", "nll", "accuracy", "words")} == {0}
    assert [b["count"] for b in result["bins"]] == [0, 0]


def test_misuse() -> None:
    counts = CalibrationCounts()
    half = np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="do not fit gold ids"):
        counts.update(half, np.zeros(3, int))
    with pytest.raises(ValueError, match="gold id 2 but only 2 tags"):
        counts.update(half, np.array([0, 2]))
    for bad in (half * 3, half - 1, half * np.nan):
        with pytest.raises(ValueError, match="sum to one"):
            counts.update(bad, np.zeros(2, int))
    with pytest.raises(ValueError, match="at least one bin"):
        CalibrationCounts(0)
    with pytest.raises(ValueError, match="cannot merge"):
        counts.merge(CalibrationCounts(3))
    with pytest.raises(ValueError, match="no calibration sums"):
        CalibrationCounts.from_array(np.zeros(4))
