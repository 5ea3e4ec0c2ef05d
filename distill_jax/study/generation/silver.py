"""What students of a generation study learn from: sets of sentences of a pool, with whose tags."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from distill_jax.jobs.labelling import certain
from distill_jax.labels.cut import is_sure
from distill_jax.labels.record import TeacherLabel
from distill_jax.study.cell_data import CellData, distinct
from distill_jax.study.generation.pools import REAL, CellPool
from distill_jax.study.grid import NO_FILTERS, SURE, Generated, Taught
from distill_jax.tagging import LabelSet, Sentence

Words = tuple[str, ...]


class Sets(NamedTuple):
    """Which sets of a pool are compared: filters, and the largest number of sentences of each size."""

    filters: Sequence[str]
    sizes: Sequence[int]
    min_confidence: float
    lambdas: Sequence[float]


def to_label(pools: Mapping[str, CellPool], filters: Sequence[str]) -> Iterator[Sentence]:
    """The sentences of pools that a set of filters asks for."""
    for name, pool in pools.items():
        for sample in pool.samples:
            if sample.rejected is None or (NO_FILTERS in filters and name != REAL):
                yield Sentence(sample.sentence.words)


def silver_sets(
    pools: Mapping[str, CellPool],
    sets: Sets,
    data: CellData,
    labels: Mapping[Words, TeacherLabel],
) -> Iterator[tuple[Taught, list[TeacherLabel]]]:
    """Each set of sentences with its labels, in an order of its own: the larger sizes begin as the smaller.

    Real sentences are not filtered. With its own tags a pool teaches bare tags (λ 0), and nobody asks how
    sure a teacher is. A size of which there are fewer sentences has those; a set of none is left out.

    Args:
        pools: by their generators.
        sets: which.
        data: of the cell.
        labels: the teacher's, by words, of all that `to_label` gives.
    """
    for name, pool in pools.items():
        for filters in (NO_FILTERS,) if name == REAL else sets.filters:
            sentences = _sentences(pool, filters, data.gold)
            taught = [labels[sentence.words] for sentence in sentences]
            if filters == SURE:
                taught = [label for label in taught if is_sure(label, sets.min_confidence)]
            generated = Generated(name, filters)
            yield from _sized(generated, taught, sets.sizes, sets.lambdas)
            own = [own_label(s, data.labels) for s in sentences if s.tags is not None]
            if own and filters != SURE:
                generated = dataclasses.replace(generated, tags="own")
                yield from _sized(generated, own, sets.sizes, (0.0,))


def own_label(sentence: Sentence, labels: LabelSet) -> TeacherLabel:
    """The tags that a sentence was made with, as those of a teacher who has no doubt."""
    assert sentence.tags is not None, "it has tags"
    tag_ids = labels.encode_iob2(sentence.tags)
    return TeacherLabel(sentence.words, tag_ids, certain(tag_ids, labels.num_tags))


def _sentences(pool: CellPool, filters: str, gold: Iterable[Sentence]) -> list[Sentence]:
    chosen = (s.sentence for s in pool.samples) if filters == NO_FILTERS else pool.accepted()
    return distinct(chosen, excluded=gold)


def _sized(
    generated: Generated,
    labels: Sequence[TeacherLabel],
    sizes: Sequence[int],
    lambdas: Sequence[float],
) -> Iterator[tuple[Taught, list[TeacherLabel]]]:
    for size in sizes:
        chosen = list(labels[:size])
        for kl_weight in sorted(lambdas):
            if chosen:
                yield Taught(size, len(chosen), float(kl_weight), generated), chosen
