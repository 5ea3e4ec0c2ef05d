"""The study of generated sentences: generators × filters × sizes, beside gold alone and a real pool.

In each cell a teacher as in every study; generators, tuned on the cell's gold sentences, write pools; the
teacher labels these; BiLSTMs learn from gold and so many sentences of a pool, with the teacher's labels or,
where a pool has tags, with its own. Nothing of the test split is seen but by the figures of overlap.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_jax.configuration import setting
from distill_jax.errors import UserError
from distill_jax.jobs.generator import GeneratorRun
from distill_jax.study.cell_data import CellData
from distill_jax.study.generation.facts import facts_of, shown_samples, write_facts
from distill_jax.study.generation.outputs import write_generation_outputs
from distill_jax.study.generation.pools import (
    REAL,
    SWAP,
    CellPool,
    Drawing,
    real_pool,
    swapped_pool,
    written_pool,
)
from distill_jax.study.generation.silver import Sets, silver_sets, to_label
from distill_jax.study.grid import ALL_FILTERS, FILTER_SETS, SURE, Cell, Taught, check_list
from distill_jax.study.labelling import label_cell
from distill_jax.study.recipe import Assignment, check_left_to_cells
from distill_jax.study.results import BILSTM, Row
from distill_jax.study.run import Study
from distill_jax.study.students import GOLD_ONLY, Lessons
from distill_jax.tagger import Tagger
from distill_jax.tagging import Sentence


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationStudyRun(Study):
    """A study of pools that were made.

    Attributes:
        writers: a run for each generator that is tuned, whose task, splits, seed and folder are the cells'.
        generators: the pools: kinds of `writers`, `swap`, and `real`, the silver sentences that there are.
        multiples: sizes of the pools, as multiples of the gold sentences.
        filter_sets: of `grid.FILTER_SETS`; `sure` cuts at the MIN_CONFIDENCE of the students.
        drawing: how pools are drawn.

    Raises:
        UserError: a value makes no sense, or belongs to the cells.
    """

    writers: Sequence[GeneratorRun] = setting(())
    generators: Sequence[str] = setting(
        ("text", "infill", "labelled", SWAP, REAL), macro="GENERATORS"
    )
    multiples: Sequence[int] = setting((1, 10, 40), macro="POOL_SIZES")
    filter_sets: Sequence[str] = setting((ALL_FILTERS,), macro="FILTER_SETS")
    drawing: Drawing = setting(Drawing())

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = [*(run.writer.kind for run in self.writers), SWAP, REAL]
        _check_among("GENERATORS", self.generators, kinds)
        _check_among("FILTER_SETS", self.filter_sets, FILTER_SETS)
        check_list("POOL_SIZES", self.multiples)
        if any(multiple < 1 for multiple in self.multiples):
            raise UserError(f"POOL_SIZES is {self.multiples!r}; use multiples of gold from 1")
        least = self.students.data.min_confidence
        if (SURE in self.filter_sets) != (least > 0):
            raise UserError(
                f"FILTER_SETS is {self.filter_sets!r} and MIN_CONFIDENCE {least}; 'sure' is what the teacher "
                "gives at least a MIN_CONFIDENCE above 0: set both, or neither"
            )
        for run in self.writers:
            check_left_to_cells(run.data, "train_split", "eval_split")
            check_left_to_cells(run.training, "seed")

    def check(self, cell: Cell, data: CellData) -> None:
        """Raises `UserError` for cells of all labelled sentences, which leave none to compare with."""
        if cell.size.is_full:
            raise UserError(
                "SIZES: 'full'; a study of generated sentences is of few labelled ones: write '100/50'"
            )

    def assign(
        self, cell: Cell, data: CellData, tagger: Tagger, folder: Path
    ) -> dict[str, Assignment]:
        """See `Recipe.assign`; it leaves `pools.json` in the cell's folder."""
        sizes = [multiple * len(data.gold) for multiple in sorted(self.multiples)]
        pools = {
            name: pool
            for name in self.generators
            if (pool := self._pool(name, cell, data, sizes[-1], folder)).samples
        }
        shown = [sample.sentence for pool in pools.values() for sample in shown_samples(pool)]
        wanted = [*to_label(pools, self.filter_sets), *(Sentence(each.words) for each in shown)]
        store = list(label_cell(cell, data, tagger, wanted, folder))
        labels = {label.words: label for label in store}
        least = self.students.data.min_confidence
        facts = [facts_of(name, pool, data, labels, least) for name, pool in pools.items()]
        write_facts(folder, facts)
        of_gold = [labels[words] for words in dict.fromkeys(s.words for s in data.gold if s.words)]
        lessons = Lessons(cell, data, self)
        assigned = {GOLD_ONLY: lessons.of_gold()}
        for kl_weight in sorted(self.lambdas):
            if kl_weight:
                taught = Taught(0, 0, float(kl_weight))
                assigned[taught.name(BILSTM)] = lessons.of_labels(taught, of_gold)
        sets = Sets(self.filter_sets, sizes, least, self.lambdas)
        for taught, silver in silver_sets(pools, sets, data, labels):
            own = taught.generated is not None and taught.generated.tags == "own"
            given = silver if own else [*of_gold, *silver]
            assigned[taught.name(BILSTM)] = lessons.of_labels(taught, given)
        return assigned

    def write(self, folder: Path, rows: Sequence[Row], settings: Mapping[str, Any]) -> None:
        """See `outputs.write_generation_outputs`."""
        write_generation_outputs(folder, rows, settings)

    def _pool(self, name: str, cell: Cell, data: CellData, most: int, folder: Path) -> CellPool:
        if name == REAL:
            return real_pool(data, most)
        if name == SWAP:
            return swapped_pool(cell, data, self.drawing, most, folder)
        run = next(run for run in self.writers if run.writer.kind == name)
        return written_pool(run, cell, data, self.drawing, most, folder)


def _check_among(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    check_list(name, values)
    for value in values:
        if value not in known:
            raise UserError(f"{name}: {value!r} is none of {', '.join(dict.fromkeys(known))}")
