"""The pools of a cell: generators tuned on its gold sentences, what they write, and real sentences."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distill_jax.configuration import setting
from distill_jax.errors import UserError
from distill_jax.generate.figures import MOST, diversity
from distill_jax.generate.filters import FilterSettings, lengths_of
from distill_jax.generate.pool import GeneratedPool, PoolLayout
from distill_jax.generate.settings import SamplingSettings
from distill_jax.jobs.generation import FromModel, FromSwap, Material, generate
from distill_jax.jobs.generator import GeneratorRun
from distill_jax.study.cell_data import CellData
from distill_jax.study.grid import Cell
from distill_jax.study.labelling import say
from distill_jax.study.recipe import alone
from distill_jax.tagging import Sentence

SWAP, REAL = "swap", "real"
"""Pools that no T5 writes: gold sentences whose mentions changed places, and silver ones that there are."""


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How pools are drawn, whatever the generator.

    Attributes:
        sampling: how a T5 draws tokens.
        filters: what is accepted; `length` None: as long as the shortest and longest gold sentence.
        overdraw: so many times the sentences of the largest pool are drawn, for the filters take some.
        batch_size: rows that go through a T5 at a time.

    Raises:
        UserError: a value outside its range.
    """

    sampling: SamplingSettings = setting(SamplingSettings(top_p=0.95, max_tokens=128))
    filters: FilterSettings = setting(FilterSettings())
    overdraw: float = setting(1.5, macro="OVERDRAW")
    batch_size: int = setting(64, macro="SAMPLE_BATCH_SIZE")

    def __post_init__(self) -> None:
        if not 1 <= self.overdraw < math.inf:
            raise UserError(f"OVERDRAW is {self.overdraw}; use a number from 1")
        if self.batch_size < 1:
            raise UserError(f"SAMPLE_BATCH_SIZE is {self.batch_size}; use at least 1")


class Sample(NamedTuple):
    """A sentence of a pool, with the tags it was made with, and the filter that rejected it."""

    sentence: Sentence
    rejected: str | None = None


@dataclasses.dataclass(frozen=True)
class CellPool:
    """What a generator made for a cell: samples in their order, how many each filter took, and figures."""

    samples: list[Sample]
    counts: Mapping[str, int]
    figures: Mapping[str, Any]

    def accepted(self) -> Iterator[Sentence]:
        """Those that no filter rejected."""
        return (sample.sentence for sample in self.samples if sample.rejected is None)


def real_pool(data: CellData, most: int) -> CellPool:
    """The first of a cell's silver sentences, without their tags."""
    words = [sentence.words for sentence in data.silver[:most]]
    figures = {"diversity": diversity(words[:MOST], [each.words for each in data.gold])}
    samples = [Sample(Sentence(each)) for each in words]
    return CellPool(samples, {"accepted": len(samples)}, figures)


def swapped_pool(cell: Cell, data: CellData, drawing: Drawing, most: int, folder: Path) -> CellPool:
    """Leaves a pool of swapped mentions in `pools/swap` of a cell's folder."""
    return _pool(FromSwap(), cell, data, drawing, most, folder / "pools" / SWAP)


def written_pool(
    run: GeneratorRun, cell: Cell, data: CellData, drawing: Drawing, most: int, folder: Path
) -> CellPool:
    """Tunes a generator on a cell's gold sentences, and leaves what it writes in `pools/KIND` of its folder.

    Raises `UserError` as training and `generate` do, with the generator's name.
    """
    kind = run.writer.kind
    directory = folder / f"generator-{kind}"
    say(f"{cell.name}: the generator {kind}")
    train, dev = cell.splits
    text = dataclasses.replace(run.data, mixture=cell.task, train_split=train, eval_split=dev)
    training = alone(run.training, cell, directory)
    dataclasses.replace(run, data=text, training=training).run()
    origin = FromModel(
        str(directory / "model"), sampling=drawing.sampling, batch_size=drawing.batch_size
    )
    return _pool(origin, cell, data, drawing, most, folder / "pools" / kind)


def _pool(
    origin: FromModel | FromSwap,
    cell: Cell,
    data: CellData,
    drawing: Drawing,
    most: int,
    directory: Path,
) -> CellPool:
    """Draws for a pool of so many sentences. Dev and test are looked at for the overlap alone."""
    filters = drawing.filters
    if filters.length is None:
        band = lengths_of(sentence.words for sentence in data.gold)
        filters = dataclasses.replace(filters, length=band)
    number = math.ceil(drawing.overdraw * most)
    try:
        pool = generate(
            origin,
            Material(data.gold, {"dev": data.dev, "test": data.test}),
            directory,
            layout=PoolLayout(number),
            filters=filters,
            seed=cell.seed,
        )
    except UserError as error:
        raise UserError(
            f"{cell.name}: the generator {directory.name} (to go without, leave it out of GENERATORS, in "
            f"another STUDY_DIR): {error}"
        ) from None
    say(f"{cell.name}: {directory.name}: {len(pool):,} of {number:,} sentences accepted")
    return _read(pool)


def _read(pool: GeneratedPool) -> CellPool:
    samples = [Sample(sentence, rejected) for sentence, rejected in pool.samples()]
    return CellPool(samples, pool.counts, pool.figures)
