"""Which labels are taken for which, as parts of a page: a list of mistakes, and all counts shaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from distill_jax.report.confusion import Confusion
from distill_jax.report.rendering import Block
from distill_jax.report.table import Column, Table

_MOST = 15


class Count(NamedTuple):
    """A number of spans, shaded by its share of the row it stands in."""

    spans: int
    share: float
    """From 0 to 1; of a row without spans 0."""
    right: bool = False
    """On the diagonal; all others count mistakes."""


class GoldLabel(NamedTuple):
    """A row of the matrix: what was predicted in place of the gold spans of a label."""

    label: str
    support: int
    missed: Count
    other_words: Count
    predicted: Sequence[Count]
    """One a label of the matrix."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """Gold labels against predicted ones, and under them the predicted spans that no gold one meets."""

    template: ClassVar[str] = "confusion_matrix.html.j2"
    labels: Sequence[str]
    """Of the columns."""
    rows: Sequence[GoldLabel]
    spurious_in_all: int
    spurious: Sequence[Count]
    """One a label."""


def confusion_tables(counts: Confusion) -> list[Block]:
    """The most frequent mistakes as a list, if there are any, and all counts as a shaded table."""
    return [*_most_frequent(counts), _matrix(counts)]


def _most_frequent(counts: Confusion) -> list[Table]:
    mistakes: list[tuple[int, str, str]] = [
        *((n, gold, predicted) for (gold, predicted), n in counts.confused.items()),
        *((n, label, "(missed)") for label, n in counts.missed.items()),
        *((n, "(spurious)", label) for label, n in counts.spurious.items()),
        *((n, label, f"{label}, other words") for label, n in counts.bounds.items()),
    ]
    mistakes.sort(key=lambda mistake: (-mistake[0], *mistake[1:]))
    if not mistakes:
        return []
    rows = [[gold, predicted, f"{n:,}"] for n, gold, predicted in mistakes[:_MOST]]
    return [
        Table(
            f"The most frequent mistakes ({len(rows)} of {len(mistakes)} kinds)",
            [Column("gold", "text"), Column("predicted", "text"), Column("spans")],
            rows,
        )
    ]


def _matrix(counts: Confusion) -> ConfusionMatrix:
    labels = counts.labels
    spurious = sum(counts.spurious.values())
    return ConfusionMatrix(
        labels,
        [_gold_label(counts, gold, labels) for gold in labels],
        spurious,
        [_count(counts.spurious[label], spurious) for label in labels],
    )


def _gold_label(counts: Confusion, gold: str, labels: Sequence[str]) -> GoldLabel:
    support = counts.support(gold)
    return GoldLabel(
        gold,
        support,
        _count(counts.missed[gold], support),
        _count(counts.bounds[gold], support),
        [
            _count(counts.right[gold], support, right=True)
            if predicted == gold
            else _count(counts.confused[gold, predicted], support)
            for predicted in labels
        ],
    )


def _count(spans: int, whole: int, *, right: bool = False) -> Count:
    return Count(spans, spans / whole if whole else 0.0, right)
