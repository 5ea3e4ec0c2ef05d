"""Pairs of gold and predicted spans, and what is counted of them."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from distill_jax.report.confusion import Confusion, Pair, pairs
from distill_jax.report.confusion_tables import confusion_tables
from distill_jax.report.page import Section, page
from distill_jax.tagging import Span, SpanCounts, iob2_from_spans
from tests.html_reader import Page


@st.composite
def spans(draw: st.DrawFn, length: int = 7) -> list[Span]:
    """Spans that do not overlap."""
    cuts = sorted(draw(st.sets(st.integers(0, length), max_size=5)))
    labels = st.sampled_from(["a", "b", "O", "<c>"])
    drawn = [Span(x, y, draw(labels)) for x, y in itertools.pairwise(cuts)]
    return [span for span in drawn if draw(st.booleans())]


def overlap(one: Span, other: Span) -> int:
    return max(0, min(one.end, other.end) - max(one.start, other.start))


@given(spans(), spans())
def test_pairs(gold: list[Span], predicted: list[Span]) -> None:
    made = pairs(gold, predicted)
    # Each span is there once.
    assert sorted(pair.gold for pair in made if pair.gold) == sorted(gold)
    assert sorted(pair.predicted for pair in made if pair.predicted) == sorted(predicted)
    assert all(overlap(pair.gold, pair.predicted) for pair in made if pair.gold and pair.predicted)
    # What could be a pair is one, and equal spans always are.
    missed = [pair.gold for pair in made if pair.gold and not pair.predicted]
    spurious = [pair.predicted for pair in made if pair.predicted and not pair.gold]
    assert not any(overlap(a, b) for a in missed for b in spurious)
    assert all(Pair(span, span) in made for span in set(gold) & set(predicted))


def test_which_pairs() -> None:
    a, b = Span(0, 2, "a"), Span(2, 5, "b")
    whole = Span(0, 5, "a")
    assert pairs([a, b], [whole]) == [Pair(a, None), Pair(b, whole)]  # most words shared
    assert pairs([whole], [Span(0, 1, "b"), Span(1, 2, "a")]) == [
        Pair(None, Span(0, 1, "b")),
        Pair(whole, Span(1, 2, "a")),  # as many words, but the right label
    ]
    same = Span(1, 2, "c")
    assert pairs([same], [Span(1, 2, "d")]) == [Pair(same, Span(1, 2, "d"))]


@given(st.lists(st.tuples(spans(), spans()), max_size=6))
def test_counts_agree_with_those_of_f1(sentences: list[tuple[list[Span], list[Span]]]) -> None:
    confusion, counts = Confusion(), SpanCounts()
    for gold, predicted in sentences:
        confusion.update(gold, predicted)
        counts.update(iob2_from_spans(gold, 7), iob2_from_spans(predicted, 7))
    assert confusion.labels == sorted(counts.per_label)
    for label, (correct, predicted_count, support) in counts.per_label.items():
        assert confusion.right[label] == correct
        assert confusion.support(label) == support
        taken = sum(n for (_, other), n in confusion.confused.items() if other == label)
        of_predicted = confusion.bounds[label] + confusion.spurious[label] + taken
        assert confusion.right[label] + of_predicted == predicted_count


def test_the_tables() -> None:
    confusion = Confusion()
    confusion.update([Span(0, 1, "a"), Span(2, 4, "b")], [Span(0, 1, "b"), Span(2, 3, "b")])
    confusion.update([Span(0, 1, "a"), Span(3, 4, "a")], [Span(0, 1, "a"), Span(5, 6, "<c>")])
    read = Page(page("t", "", [], [Section("s", "s", confusion_tables(confusion))]))
    frequent, matrix = read.tables
    assert frequent[1:] == [
        ["(spurious)", "<c>", "1"],
        ["a", "(missed)", "1"],
        ["a", "b", "1"],
        ["b", "b, other words", "1"],
    ]
    assert matrix == [
        ["gold ↓  predicted →", "all", "missed", "other words", "<c>", "a", "b"],
        ["<c>", "0", "", "", "", "", ""],
        ["a", "3", "1", "", "", "1", "1"],
        ["b", "1", "", "1", "", "", ""],
        ["spurious", "1", "", "", "1", "", ""],
    ]


def test_no_spans_at_all() -> None:
    confusion = Confusion()
    confusion.update([], [])
    Page(page("t", "", [], [Section("s", "s", confusion_tables(confusion))]))
