"""Which labels are taken for which: gold spans against predicted ones.

A gold span and a predicted one are a pair if they share words; each is in one pair at most. Those
with the same words go first, then those that share most words, of equals those with the same label,
and the leftmost. A gold span left over is missed, a predicted one left over spurious.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from distill_jax.report.elements import Html, element, join, scrolling, table
from distill_jax.tagging import Span

_MOST = 15


class Pair(NamedTuple):
    """A gold span and what was predicted in its place; one of them may be missing."""

    gold: Span | None
    predicted: Span | None


class Confusion:
    """Counts of pairs.

    For each label the counts of its gold spans (`right`, `bounds`, `confused`, `missed`) sum to its
    support, and those of its predicted spans (`right`, `bounds`, `confused`, `spurious`) to how often
    it was predicted.
    """

    def __init__(self) -> None:
        self.right: Counter[str] = Counter()
        """The same words and the same label, as F1 counts."""
        self.bounds: Counter[str] = Counter()
        """The same label, but other words."""
        self.confused: Counter[tuple[str, str]] = Counter()
        """(gold, predicted): another label, whatever the words."""
        self.missed: Counter[str] = Counter()
        self.spurious: Counter[str] = Counter()

    def update(self, gold: Sequence[Span], predicted: Sequence[Span]) -> None:
        """Counts one sentence; the spans of each side do not overlap."""
        for of_gold, of_predicted in pairs(gold, predicted):
            if of_predicted is None:
                assert of_gold is not None
                self.missed[of_gold.label] += 1
            elif of_gold is None:
                self.spurious[of_predicted.label] += 1
            elif of_gold.label != of_predicted.label:
                self.confused[of_gold.label, of_predicted.label] += 1
            elif of_gold == of_predicted:
                self.right[of_gold.label] += 1
            else:
                self.bounds[of_gold.label] += 1

    @property
    def labels(self) -> list[str]:
        """All that were counted, by name."""
        single = (self.right, self.bounds, self.missed, self.spurious)
        return sorted(
            {label for counts in single for label in counts}
            | {label for pair in self.confused for label in pair}
        )

    def support(self, label: str) -> int:
        """Gold spans of a label."""
        confused = sum(count for (gold, _), count in self.confused.items() if gold == label)
        return self.right[label] + self.bounds[label] + self.missed[label] + confused


def pairs(gold: Sequence[Span], predicted: Sequence[Span]) -> list[Pair]:
    """The pairs of one sentence, in the order of their words."""
    candidates = []
    for of_gold in gold:
        for of_predicted in predicted:
            shared = min(of_gold.end, of_predicted.end) - max(of_gold.start, of_predicted.start)
            if shared > 0:
                same = (of_gold.start, of_gold.end) == (of_predicted.start, of_predicted.end)
                rank = (not same, -shared, of_gold.label != of_predicted.label)
                candidates.append((rank, of_gold, of_predicted))
    free_gold, free_predicted = set(gold), set(predicted)
    found = []
    for _, of_gold, of_predicted in sorted(candidates):
        if of_gold in free_gold and of_predicted in free_predicted:
            found.append(Pair(of_gold, of_predicted))
            free_gold.remove(of_gold)
            free_predicted.remove(of_predicted)
    found += [Pair(span, None) for span in free_gold]
    found += [Pair(None, span) for span in free_predicted]
    return sorted(found, key=lambda pair: (pair.gold or pair.predicted, pair.gold is None))


def confusion_tables(counts: Confusion) -> Html:
    """The most frequent mistakes as a list, and all counts as a shaded table."""
    return join([_most_frequent(counts), _matrix(counts)])


def _most_frequent(counts: Confusion) -> Html:
    mistakes: list[tuple[int, str, str]] = [
        *((n, gold, predicted) for (gold, predicted), n in counts.confused.items()),
        *((n, label, "(missed)") for label, n in counts.missed.items()),
        *((n, "(spurious)", label) for label, n in counts.spurious.items()),
        *((n, label, f"{label}, other words") for label, n in counts.bounds.items()),
    ]
    mistakes.sort(key=lambda mistake: (-mistake[0], *mistake[1:]))
    if not mistakes:
        return Html()
    rows = [[gold, predicted, f"{n:,}"] for n, gold, predicted in mistakes[:_MOST]]
    return table(
        ("gold", "predicted", "spans"),
        rows,
        caption=f"The most frequent mistakes ({len(rows)} of {len(mistakes)} kinds)",
        text_columns=(0, 1),
    )


def _matrix(counts: Confusion) -> Html:
    labels = counts.labels
    caption = (
        "Gold labels (rows) against predicted labels (columns), in spans. On the diagonal, blue: "
        "label and words right. Elsewhere, orange: mistakes. Shades are shares of a row."
    )
    # The sums stand first: of many labels the last ones are out of sight.
    head = [element("th", "gold ↓  predicted →", scope="col")]
    head += [
        element("th", element("span", name), scope="col")
        for name in ("all", "missed", "other words", *labels)
    ]
    rows = [element("tr", *_line(counts, label, labels)) for label in labels]
    total = sum(counts.spurious.values())
    rows.append(
        element(
            "tr",
            element("th", "spurious", scope="row"),
            element("td", f"{total:,}"),
            element("td"),
            element("td", class_="last"),
            *(_count(counts.spurious[label], total) for label in labels),
            class_="sums",
        )
    )
    matrix = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", join(rows, "\n")),
    )
    return element("div", scrolling(matrix, "Confusion between labels"), class_="confusion")


def _line(counts: Confusion, gold: str, labels: Sequence[str]) -> list[Html]:
    support = counts.support(gold)
    cells = [
        element("th", gold, scope="row"),
        element("td", f"{support:,}"),
        _count(counts.missed[gold], support),
        _count(counts.bounds[gold], support, last=True),
    ]
    for predicted in labels:
        if predicted == gold:
            cells.append(_count(counts.right[gold], support, kind="right"))
        else:
            cells.append(_count(counts.confused[gold, predicted], support))
    return cells


def _count(count: int, whole: int, *, kind: str = "wrong", last: bool = False) -> Html:
    """A cell; one of nothing is empty."""
    place = " last" if last else ""
    if not count:
        return element("td", class_=place.strip() or None)
    # Never so dark that the number cannot be read, nor so light that a mistake is not seen.
    share = 0.12 + 0.48 * count / whole
    return element("td", f"{count:,}", class_=kind + place, style=f"--share:{share:.2f}")
