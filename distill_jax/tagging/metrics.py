"""Span metrics as sums and counts, so that batches and hosts merge by addition.

The headline is micro-F1 as conlleval defines it; the strict IOB2 figure (a span begins at `B` and
nowhere else, as `seqeval` computes with mode="strict", scheme=IOB2) stands beside it. Figures with
nothing to divide by are 0, as in both tools.

They are counted here because both tools score a whole data set at once, from lists of tags: counts
can be added up over batches and over the hosts that each saw a part, and need no library beside NumPy.
The tests compare them with `seqeval`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill_jax.errors import UserError
from distill_jax.tagging.schemes import is_legal
from distill_jax_runtime.spans import Span, spans_from_iob2

_SENTENCES, _WORDS, _PERFECT, _ILLEGAL, _STRICT = 0, 1, 2, 3, slice(4, 7)
_HEADER = 7  # numbers before those of the labels in `as_array`


def _no_spans() -> NDArray[np.int64]:
    return np.zeros(3, np.int64)


@dataclass(eq=False)
class SpanCounts:
    """Counts of sentences, words and spans. Span counts are int64[3]: correct, predicted, gold."""

    sentences: int = 0
    words: int = 0
    perfect: int = 0
    illegal: int = 0
    strict: NDArray[np.int64] = field(default_factory=_no_spans)
    per_label: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def update(self, gold_iob2: Sequence[str], predicted_iob2: Sequence[str]) -> None:
        """Counts one sentence.

        A sentence is perfect if its spans, as conlleval reads them, are exactly the gold ones.
        Pass predictions before repair: conlleval's reading repairs them, and `illegal` and the
        strict figure are to see them as they are.

        Raises `UserError` for a tag that is not IOB2, `ValueError` if the lengths differ.
        """
        if len(gold_iob2) != len(predicted_iob2):
            raise ValueError(f"{len(gold_iob2)} gold tags but {len(predicted_iob2)} predicted ones")
        gold, predicted = set(spans_from_iob2(gold_iob2)), set(spans_from_iob2(predicted_iob2))
        self.sentences += 1
        self.words += len(gold_iob2)
        self.perfect += gold == predicted
        self.illegal += not is_legal(predicted_iob2, "iob2")
        for column, spans in enumerate((gold & predicted, predicted, gold)):
            for span in spans:
                self.per_label.setdefault(span.label, _no_spans())[column] += 1
        strict_gold = _strict_spans(gold_iob2, gold)
        strict_predicted = _strict_spans(predicted_iob2, predicted)
        self.strict += [
            len(strict_gold & strict_predicted),
            len(strict_predicted),
            len(strict_gold),
        ]

    def merge(self, other: "SpanCounts") -> None:
        """Adds the counts of `other`, which stays as it is."""
        self.sentences += other.sentences
        self.words += other.words
        self.perfect += other.perfect
        self.illegal += other.illegal
        self.strict = self.strict + other.strict
        for label, counts in other.per_label.items():
            self.per_label[label] = self.per_label.get(label, _no_spans()) + counts

    def as_array(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """All counts as int64[7 + 3 · labels]; arrays of several hosts may be added.

        Take care that what adds them keeps 64 bits: JAX turns int64 into int32 unless told not to.

        Raises `UserError` if a label was counted that is not among `labels`.
        """
        outside = sorted(self.per_label.keys() - set(labels))
        if outside:
            raise UserError(
                f"the tags hold label {outside[0]!r}, which is not in the label set; "
                "evaluate with the label set that the data was made with"
            )
        header = [self.sentences, self.words, self.perfect, self.illegal, *self.strict]
        columns = [self.per_label.get(label, _no_spans()) for label in labels]
        return np.concatenate([np.array(header, np.int64), *columns])

    @classmethod
    def from_array(cls, array: NDArray[np.integer], labels: Sequence[str]) -> "SpanCounts":
        """The inverse of `as_array`. Raises `ValueError` if the length does not fit the labels."""
        numbers = np.array(array, np.int64)  # a copy: the counts must not share memory
        if numbers.shape != (_HEADER + 3 * len(labels),):
            raise ValueError(f"counts of shape {numbers.shape} do not fit {len(labels)} labels")
        rows = numbers[_HEADER:].reshape(-1, 3)
        return cls(
            sentences=int(numbers[_SENTENCES]),
            words=int(numbers[_WORDS]),
            perfect=int(numbers[_PERFECT]),
            illegal=int(numbers[_ILLEGAL]),
            strict=numbers[_STRICT],
            per_label={label: row for label, row in zip(labels, rows, strict=True) if row.any()},
        )

    def result(self) -> dict[str, Any]:
        """The figures, shares between 0 and 1, ready for JSON.

        Keys: `f1`, `precision`, `recall` (conlleval, micro), `f1_strict`, `perfect` (share of
        sentences), `illegal` (share of predictions illegal in IOB2), `sentences`, `words`, and
        `per_label`, from label to `precision`, `recall`, `f1` and `support` (gold spans).
        """
        precision, recall, f1 = _scores(sum(self.per_label.values(), _no_spans()))
        per_label = {}
        for label in sorted(self.per_label):
            label_scores = _scores(self.per_label[label])
            per_label[label] = dict(zip(("precision", "recall", "f1"), label_scores, strict=True))
            per_label[label]["support"] = int(self.per_label[label][2])
        return {
            "f1": f1,
            "precision": precision,
            "recall": recall,
            "f1_strict": _scores(self.strict)[2],
            "perfect": _share(self.perfect, self.sentences),
            "illegal": _share(self.illegal, self.sentences),
            "sentences": self.sentences,
            "words": self.words,
            "per_label": per_label,
        }


def _strict_spans(tags: Sequence[str], spans: set[Span]) -> set[Span]:
    """Those of conlleval's spans that begin at a `B`; where they end does not differ."""
    return {span for span in spans if tags[span.start][0] == "B"}


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _scores(counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """Precision, recall and F1 from (correct, predicted, gold) counts."""
    correct, predicted, gold = counts.tolist()
    return (
        _share(correct, predicted),
        _share(correct, gold),
        _share(2 * correct, predicted + gold),
    )
