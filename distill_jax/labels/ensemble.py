"""Several teachers as one: the mean of their posteriors."""

from collections.abc import Iterator, Sequence

import numpy as np

from distill_jax.errors import UserError
from distill_jax.labels.record import LabelSequence, TeacherLabel
from distill_jax.labels.store import TeacherLabels
from distill_jax_runtime.legal import constrained_tags


def average_teachers(stores: Sequence[TeacherLabels]) -> LabelSequence:
    """The labels of one teacher whose posterior is the mean of several teachers' probabilities.

    Of word i it is p̄_i(k) = 1/M Σ_m p_i^(m)(k): of probabilities, not of scores, whose scales may
    differ. A tag that is illegal for a teacher (I after its own O) has probability 0 for that one.
    The tags are the legal sequence that maximises Σ_i log p̄_i. Sentences are in the order of the
    first store; of one that occurs several times in a store the last counts, as in training. The
    labels of a single store are as they stand there. Means are computed when they are asked for: only
    where the sentences stand in the stores is kept.

    Raises:
        UserError: the stores' label sets differ, or they are not of the same sentences.
        ValueError: there is no store.
    """
    if not stores:
        raise ValueError("no store to take labels from")
    first, *others = stores
    if not others:
        return first
    for other in others:
        other.check_labels(first.labels, f"the store {first.directory}")
    places = [{label.words: index for index, label in enumerate(store)} for store in stores]
    for other, index in zip(others, places[1:], strict=True):
        for words in index.keys() ^ places[0].keys():
            lacking, having = (first, other) if words in index else (other, first)
            raise UserError(
                f"{lacking.directory}: has no labels for '{' '.join(words[:8])}', which "
                f"{having.directory} has; let all teachers label the same sentences"
            )
    return _Averaged(stores, [tuple(index[words] for index in places) for words in places[0]])


class _Averaged:
    def __init__(self, stores: Sequence[TeacherLabels], places: Sequence[tuple[int, ...]]) -> None:
        self._stores = stores
        self._places = places  # of a sentence in each store

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[TeacherLabel]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> TeacherLabel:
        places = zip(self._stores, self._places[index], strict=True)
        return _mean([store[place] for store, place in places])


def _mean(labels: Sequence[TeacherLabel]) -> TeacherLabel:
    log_posteriors = np.stack([label.log_posteriors for label in labels]).astype(np.float64)
    with np.errstate(divide="ignore"):  # of a tag illegal for all teachers
        log_mean = np.log(np.exp(log_posteriors).mean(axis=0)).astype(np.float32)
    return TeacherLabel(labels[0].words, constrained_tags(log_mean), log_mean)
