"""Span scores in closed form, and against enumeration of all sequences."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.tagging import BeamPart, beam_span_score, cut_beam, greedy_span_score

seeds = st.integers(0, 2**32 - 1)


def legal_sequences(length: int, num_tags: int) -> list[tuple[int, ...]]:
    return [
        tags
        for tags in itertools.product(range(num_tags), repeat=length)
        if all(tag != 1 or before != 0 for before, tag in zip((0, *tags), tags, strict=False))
    ]


def spans_of(tags: tuple[int, ...]) -> set[tuple[int, int, int]]:
    """(start, end, label id), by the definition of sBIO."""
    starts = [i for i, tag in enumerate(tags) if tag > 1]
    return {
        (i, next((j for j in range(i + 1, len(tags)) if tags[j] != 1), len(tags)), tags[i])
        for i in starts
    }


# ---- one decoded sequence ----------------------------------------------------------------------


def test_one_sequence_by_hand() -> None:
    posteriors = np.array([[0.1, 0, 0.9], [0.3, 0.5, 0.2], [0.6, 0.25, 0.15]], np.float32)
    tags = np.array([2, 1, 0])
    # Opened, gone on with, and not gone on with a second time.
    assert greedy_span_score(posteriors, tags, 0, 2) == pytest.approx(0.9 * 0.5 * (1 - 0.25))
    assert greedy_span_score(posteriors, np.array([0, 2, 1]), 1, 3) == pytest.approx(0.2 * 0.25)
    assert greedy_span_score(posteriors, np.array([0, 0, 2]), 2, 3) == pytest.approx(0.15)


@given(seeds, st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_one_sequence_is_the_probability_of_the_span(seed: int, length: int) -> None:
    """Where words do not depend on each other, the chain rule is the product over sequences."""
    rng = np.random.default_rng(seed)
    num_tags = 4
    posteriors = rng.dirichlet(np.ones(num_tags), length)
    start = int(rng.integers(length))
    end = int(rng.integers(start + 1, length + 1))
    tags = np.zeros(length, np.int32)
    tags[start:end] = [2] + [1] * (end - start - 1)
    # All sequences, illegal ones too: the words before the span do not matter to it.
    expected = sum(
        math.prod(posteriors[i, tag] for i, tag in enumerate(sequence))
        for sequence in itertools.product(range(num_tags), repeat=length)
        if (start, end, 2) in spans_of(sequence)
    )
    assert greedy_span_score(posteriors, tags, start, end) == pytest.approx(expected)


# ---- beams -------------------------------------------------------------------------------------


def test_a_beam_by_hand() -> None:
    tags = np.array([[2, 1, 0], [2, 0, 0], [3, 1, 0], [0, 0, 0]])
    scores = np.log([0.4, 0.2, 0.1, 0.1])
    beam = (BeamPart(0, tags, scores),)
    assert beam_span_score(beam, 0, 2, 2) == pytest.approx(0.5)
    assert beam_span_score(beam, 0, 1, 2) == pytest.approx(0.25)
    assert beam_span_score(beam, 0, 2, 3) == pytest.approx(0.125)
    assert beam_span_score(beam, 1, 2, 2) == 0
    squares = np.array([0.4, 0.2, 0.1, 0.1]) ** 2
    assert beam_span_score(beam, 0, 2, 2, temperature=0.5) == pytest.approx(
        squares[0] / squares.sum()
    )


@given(seeds, st.integers(1, 5))
@settings(deadline=None, max_examples=50)
def test_against_the_definition(seed: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    sequences = legal_sequences(length, 4)
    chosen = rng.choice(len(sequences), min(6, len(sequences)), replace=False)
    tags = np.array([sequences[i] for i in chosen])
    scores = rng.normal(size=len(tags)) * 3 - 40
    probability = np.exp(scores) / np.exp(scores).sum()
    beam = (BeamPart(0, tags, scores),)
    for start, end in itertools.combinations(range(length + 1), 2):
        for label in (2, 3):
            expected = sum(
                p
                for p, row in zip(probability, tags, strict=True)
                if (start, end, label) in spans_of(tuple(row))
            )
            assert beam_span_score(beam, start, end, label) == pytest.approx(expected)


def test_a_whole_beam_gives_the_true_probability() -> None:
    """With every legal sequence in it the beam is the distribution itself."""
    rng = np.random.default_rng(0)
    sequences = np.array(legal_sequences(3, 4))
    scores = rng.normal(size=len(sequences))
    beam = (BeamPart(0, sequences, scores),)
    total = {
        span: beam_span_score(beam, *span)
        for span in {span for row in sequences for span in spans_of(tuple(row))}
    }
    # Word 1 opens a span of label 2 exactly as often as the sequences say.
    weights = np.exp(scores) / np.exp(scores).sum()
    opened = sum(score for (start, _, label), score in total.items() if (start, label) == (1, 2))
    assert opened == pytest.approx(weights[sequences[:, 1] == 2].sum())


def test_impossible_sequences_weigh_nothing() -> None:
    tags = np.array([[2], [0]])
    assert beam_span_score((BeamPart(0, tags, np.array([-5.0, -np.inf])),), 0, 1, 2) == 1
    with pytest.raises(ValueError, match="without sequences"):
        beam_span_score((BeamPart(0, tags, np.full(2, -np.inf)),), 0, 1, 2)


# ---- parts -------------------------------------------------------------------------------------


def test_cutting_a_beam_keeps_open_spans() -> None:
    tags = np.array([[2, 1, 1, 3], [0, 2, 1, 0], [3, 0, 0, 2]])
    assert cut_beam(tags, 0, 4).tolist() == tags.tolist()
    # A span that is open where the cut is begins there, under its label.
    assert cut_beam(tags, 2, 4).tolist() == [[2, 3], [2, 0], [0, 2]]
    assert cut_beam(tags, 1, 3).tolist() == [[2, 1], [2, 1], [0, 0]]
    assert cut_beam(tags, 2, 2).shape == (3, 0)
    assert tags.tolist()[0] == [2, 1, 1, 3]


def test_a_span_across_a_seam_is_scored_part_by_part() -> None:
    first = BeamPart(0, np.array([[0, 2], [0, 0]]), np.log([0.75, 0.25]))
    second = BeamPart(2, np.array([[2, 0], [3, 0]]), np.log([0.5, 0.5]))
    beam = (first, second)
    assert beam_span_score(beam, 1, 3, 2) == pytest.approx(0.75 * 0.5)
    assert beam_span_score(beam, 1, 2, 2) == pytest.approx(0.75)
    assert beam_span_score(beam, 2, 3, 3) == pytest.approx(0.5)
