"""Leaving out what a teacher is too unsure of, in place of weighting it (`confidence`)."""

from collections.abc import Collection, Iterator, Sequence

from distill_jax.errors import UserError
from distill_jax.labels.confidence import confidence_weight
from distill_jax.labels.record import LabelSequence, TeacherLabel


def check_least(least: float) -> None:
    """Raises `UserError` if it is no probability below 1."""
    if not 0 <= least < 1:
        raise UserError(f"MIN_CONFIDENCE is {least}; use a probability from 0 to below 1")


def sure_labels(
    labels: LabelSequence, least: float, gold: Collection[tuple[str, ...]] = ()
) -> LabelSequence:
    """As `sure_of`.

    Raises `UserError` if this is no probability below 1, or nothing but gold is left and there was more.
    """
    check_least(least)
    sure = sure_of(labels, least, gold)
    if len(sure) < len(labels) and all(label.words in gold for label in sure):
        raise UserError(
            f"MIN_CONFIDENCE: of none of the {len(labels) - len(sure):,} silver sentences the teacher is as "
            f"sure as {least:g}; lower it, or weight them (CONFIDENCE_WEIGHTING)"
        )
    return sure


def sure_of(
    labels: LabelSequence, least: float, gold: Collection[tuple[str, ...]]
) -> LabelSequence:
    """Those labels of which the teacher gives all tags together at least this probability (`sequence`).

    Labels of `gold` sentences stay: their tags are not the teacher's. They are read once here, and
    again when they are asked for.
    """
    if not least:
        return labels
    places = [i for i, label in enumerate(labels) if label.words in gold or is_sure(label, least)]
    return _Chosen(labels, places)


def is_sure(label: TeacherLabel, least: float) -> bool:
    """Whether the teacher gives all tags together at least this probability."""
    return confidence_weight(label.log_posteriors, "sequence") >= least


class _Chosen:
    """Some of the labels, by their places."""

    def __init__(self, labels: LabelSequence, places: Sequence[int]) -> None:
        self._labels, self._places = labels, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int, /) -> TeacherLabel:
        return self._labels[self._places[index]]

    def __iter__(self) -> Iterator[TeacherLabel]:
        return (self[index] for index in range(len(self)))
