"""Span corruption: lengths told beforehand, nothing lost, and a pure function of the stream."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.data.span_corruption import corrupt_spans, corruption_lengths
from distill_jax.errors import UserError

SENTINELS = np.arange(999, 899, -1)
EOS = 1


def corrupt(length: int, seed: int, **options: float) -> tuple[np.ndarray, np.ndarray]:
    return corrupt_spans(
        np.arange(10, 10 + length),
        sentinel_ids=SENTINELS,
        eos_id=EOS,
        rng=np.random.default_rng(seed),
        **options,
    )


def segments(ids: np.ndarray) -> tuple[list[int], list[list[int]]]:
    """The sentinels in order, and what stands before, between and behind them."""
    sentinels, found = [], [[]]
    for i in ids.tolist():
        if i >= 900:
            sentinels.append(i)
            found.append([])
        else:
            found[-1].append(i)
    return sentinels, found


options = st.fixed_dictionaries(
    {"noise_density": st.floats(0.05, 0.6), "mean_span_length": st.floats(1, 6)}
)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 120), st.integers(0, 2**32), options)
def test_inputs_and_targets_reassemble_the_text(length: int, seed: int, options: dict) -> None:
    inputs, targets = corrupt(length, seed, **options)
    told = corruption_lengths(length, **options)
    assert (len(inputs), len(targets)) == (told.inputs, told.targets)
    assert inputs.dtype == targets.dtype == np.int32
    assert (inputs[-1], targets[-1]) == (EOS, EOS)

    in_inputs, kept = segments(inputs[:-1])
    in_targets, dropped = segments(targets[:-1])
    assert in_inputs == SENTINELS[: told.spans].tolist()
    assert in_targets == SENTINELS[: told.spans + 1].tolist()
    assert (dropped[0], dropped[-1]) == ([], [])
    assert all(kept[1:-1]) and all(dropped[1:-1])
    assert sum(map(len, dropped)) == told.noise
    text = [i for keep, drop in zip(kept, [*dropped[1:-1], []], strict=True) for i in keep + drop]
    assert text == list(range(10, 10 + length))


def test_lengths_are_those_of_t5() -> None:
    # 512 raw tokens: 77 noise tokens in 26 spans.
    assert corruption_lengths(512) == (77, 26, 512 - 77 + 26 + 1, 77 + 26 + 2)
    assert corruption_lengths(2) == (1, 1, 3, 4)


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 600), options)
def test_a_longer_text_needs_no_less(length: int, options: dict) -> None:
    shorter, longer = (corruption_lengths(n, **options) for n in (length, length + 1))
    assert shorter.inputs <= longer.inputs
    assert shorter.targets <= longer.targets


def test_the_stream_alone_decides() -> None:
    for one, two in zip(corrupt(60, 7), corrupt(60, 7), strict=True):
        np.testing.assert_array_equal(one, two)
    drawn = {tuple(corrupt(60, seed)[0].tolist()) for seed in range(20)}
    assert len(drawn) > 15


@pytest.mark.parametrize("length", [2, 3, 20, 60])
def test_every_token_may_be_corrupted(length: int) -> None:
    """Short texts have one span; it must not always be the same."""
    counts = np.zeros(length)
    for seed in range(400):
        inputs, _ = corrupt(length, seed)
        counts += ~np.isin(np.arange(10, 10 + length), inputs)
    assert (counts > 5).all()
    assert counts.sum() == 400 * corruption_lengths(length).noise


def test_one_span_lies_anywhere_with_equal_probability() -> None:
    assert corruption_lengths(12)[:2] == (2, 1)
    starts = [int(np.flatnonzero(corrupt(12, seed)[0] >= 900)[0]) for seed in range(2200)]
    np.testing.assert_allclose(np.bincount(starts, minlength=11), 200, atol=60)


def test_too_few_sentinels() -> None:
    with pytest.raises(UserError, match="needs 4 sentinels but the vocabulary has 3; use shorter"):
        corrupt_spans(
            np.arange(60), sentinel_ids=SENTINELS[:3], eos_id=EOS, rng=np.random.default_rng(0)
        )
