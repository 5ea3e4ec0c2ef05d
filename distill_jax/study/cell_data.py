"""The sentences of a study's cell."""

import dataclasses
from collections.abc import Iterable

from distill_jax.data.prepared import PreparedDataset
from distill_jax.errors import UserError
from distill_jax.files import sha256_json
from distill_jax.jobs.sources import Sources
from distill_jax.study.grid import Cell
from distill_jax.tagging import LabelSet, Sentence
from distill_jax_runtime.text import TextWords


@dataclasses.dataclass(frozen=True)
class CellData:
    """The sentences of a cell; `silver` is in the order whose prefixes are the smaller sets.

    `text_words` is how texts become words for its models.
    """

    labels: LabelSet
    gold: list[Sentence]
    dev: list[Sentence]
    silver: list[Sentence]
    test: list[Sentence]
    content_hash: str
    text_words: TextWords = "blanks"


def load_data(cell: Cell, sources: Sources) -> CellData:
    """Prepares and reads a cell's sentences.

    Raises `UserError` for an unknown data set, one without tags or without a needed split, and gold
    and dev sizes beyond its training sentences.
    """

    def read(task: str, split: str) -> PreparedDataset:
        return sources.one(task, split, "DATASETS")

    gold = read(cell.task, cell.splits[0])
    dev = read(cell.task, cell.splits[1])
    pool = [] if cell.size.is_full else [read(cell.task, "silver")]
    test = read(cell.dataset, "test")
    if gold.labels is None:
        raise UserError(f"DATASETS: {cell.dataset!r} is plain text; a study needs tagged sentences")
    for part in (dev, test):
        if not len(part):
            raise UserError(f"{part.task}: the split {part.split!r} is empty; a study needs it")
    return CellData(
        gold.labels,
        list(gold),
        list(dev),
        [sentence for part in pool for sentence in distinct(part, excluded=gold)],
        list(test),
        sha256_json([part.content_hash() for part in (gold, dev, *pool, test)]),
        sources.rule_for_words(gold, dev),
    )


def distinct(sentences: Iterable[Sentence], excluded: Iterable[Sentence] = ()) -> list[Sentence]:
    """Each sentence with words once, in order: a store is looked up by words."""
    seen = {sentence.words for sentence in excluded} | {()}
    kept = []
    for sentence in sentences:
        if sentence.words not in seen:
            seen.add(sentence.words)
            kept.append(sentence)
    return kept
