"""Which labels are taken for which: gold spans against predicted ones.

A gold span and a predicted one are a pair if they share words; each is in one pair at most. Those
with the same words go first, then those that share most words, of equals those with the same label,
and the leftmost. A gold span left over is missed, a predicted one left over spurious.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from distill_jax.tagging import Span


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
    chosen = []
    for _, of_gold, of_predicted in sorted(candidates):
        if of_gold in free_gold and of_predicted in free_predicted:
            chosen.append(Pair(of_gold, of_predicted))
            free_gold.remove(of_gold)
            free_predicted.remove(of_predicted)
    chosen += [Pair(span, None) for span in free_gold]
    chosen += [Pair(None, span) for span in free_predicted]
    return sorted(chosen, key=lambda pair: (pair.gold or pair.predicted, pair.gold is None))
