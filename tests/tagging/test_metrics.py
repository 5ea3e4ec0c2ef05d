"""Span metrics against seqeval, on legal and illegal sequences."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from distill_jax.errors import UserError
from distill_jax.tagging import SpanCounts

TAGS = ["O", "B-x", "I-x", "B-y", "I-y", "B-z", "I-z"]
LABELS = ("x", "y", "z")
Pairs = list[tuple[list[str], list[str]]]


@st.composite
def corpora(draw: st.DrawFn) -> Pairs:
    """Sentences of gold tags and predictions that often agree."""
    pairs = []
    for length in draw(st.lists(st.integers(1, 8), min_size=1, max_size=6)):
        gold = draw(st.lists(st.sampled_from(TAGS), min_size=length, max_size=length))
        change = st.sampled_from([None, None, None, *TAGS])
        changes = draw(st.lists(change, min_size=length, max_size=length))
        pairs.append((gold, [c or g for g, c in zip(gold, changes, strict=True)]))
    return pairs


def counted(pairs: Pairs) -> SpanCounts:
    counts = SpanCounts()
    for gold, predicted in pairs:
        counts.update(gold, predicted)
    return counts


@given(corpora())
@settings(deadline=None)
def test_figures_are_those_of_seqeval(pairs: Pairs) -> None:
    result = counted(pairs).result()
    gold, predicted = map(list, zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = classification_report(gold, predicted, output_dict=True, zero_division=0)
        assert result["f1"] == pytest.approx(f1_score(gold, predicted, zero_division=0))
        assert result["precision"] == pytest.approx(
            precision_score(gold, predicted, zero_division=0)
        )
        assert result["recall"] == pytest.approx(recall_score(gold, predicted, zero_division=0))
        strict = f1_score(gold, predicted, mode="strict", scheme=IOB2, zero_division=0)
        assert result["f1_strict"] == pytest.approx(strict)
    for label, figures in result["per_label"].items():
        expected = report[label]
        assert figures["precision"] == pytest.approx(expected["precision"])
        assert figures["recall"] == pytest.approx(expected["recall"])
        assert figures["f1"] == pytest.approx(expected["f1-score"])
        assert figures["support"] == expected["support"]
    assert result["per_label"].keys() == {label for label in LABELS if label in report}
    json.dumps(result, allow_nan=False)


def test_a_small_case_by_hand() -> None:
    counts = SpanCounts()
    counts.update(["B-x", "I-x", "O", "B-y"], ["B-x", "I-x", "O", "B-x"])
    counts.update(["B-x", "I-x"], ["I-x", "I-x"])  # right for conlleval, wrong when strict
    counts.update([], [])
    assert counts.result() == {
        "f1": 2 * 2 / 6,
        "precision": 2 / 3,
        "recall": 2 / 3,
        "f1_strict": 2 * 1 / 5,
        "perfect": 2 / 3,
        "illegal": 1 / 3,
        "sentences": 3,
        "words": 6,
        "per_label": {
            "x": {"precision": 2 / 3, "recall": 1.0, "f1": 4 / 5, "support": 2},
            "y": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
        },
    }


def test_nothing_counted_gives_zeros() -> None:
    result = SpanCounts().result()
    assert result.pop("per_label") == {}
    assert set(result.values()) == {0}


@given(corpora(), st.integers(0, 6))
@settings(deadline=None)
def test_merging_and_adding_arrays_equal_one_pass(pairs: Pairs, cut: int) -> None:
    whole = counted(pairs).result()
    left, right = counted(pairs[:cut]), counted(pairs[cut:])
    array = left.as_array(LABELS) + right.as_array(LABELS)
    assert array.dtype == np.int64
    assert array.shape == (7 + 3 * len(LABELS),)
    before = right.result()
    left.merge(right)
    assert left.result() == whole
    assert right.result() == before
    assert SpanCounts.from_array(array, LABELS).result() == whole
    # What was merged or restored can be counted on, without touching where it came from.
    left.update(["B-x"], ["B-x"])
    restored = SpanCounts.from_array(array, LABELS)
    restored.update(["B-x"], ["B-x"])
    assert restored.result() == left.result()
    assert right.result() == before
    assert SpanCounts.from_array(array, LABELS).result() == whole


def test_misuse() -> None:
    counts = SpanCounts()
    with pytest.raises(ValueError, match="1 gold tags but 2 predicted"):
        counts.update(["O"], ["O", "O"])
    with pytest.raises(UserError, match="neither 'O' nor"):
        counts.update(["O"], ["x"])
    counts.update(["B-x"], ["O"])
    with pytest.raises(UserError, match="label 'x', which is not in the label set"):
        counts.as_array(["y"])
    with pytest.raises(ValueError, match="do not fit 2 labels"):
        SpanCounts.from_array(counts.as_array(["x"]), ["x", "y"])
