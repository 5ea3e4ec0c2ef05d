"""The paper's experiments on any tasks: data sets × sizes × seeds, each with teacher and students.

A study's folder holds `cells/`, `settings.json`, and what is made of the cells: `results.csv`,
`tables.md`, figures, and `report.html` with all of it. Cells that are finished are not done again,
so that more data sets, sizes and seeds can be added later; anything else that differs is refused.
Processes that are started with the same command share the cells among them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_jax.configuration import setting
from distill_jax.files import only_one
from distill_jax.jobs.student import StudentRun
from distill_jax.report.plots import check_plotting
from distill_jax.study.cell_data import CellData, load_data
from distill_jax.study.cells import run_cell
from distill_jax.study.grid import (
    Cell,
    Silver,
    cells_of,
    check_positive,
    check_silver,
    silver_counts,
)
from distill_jax.study.labelling import label_cell, say
from distill_jax.study.outputs import write_outputs
from distill_jax.study.recipe import Assignment, Recipe, check_student
from distill_jax.study.results import Row, finished_rows
from distill_jax.study.settings import check_folder, check_teachers, claim, settings_of
from distill_jax.study.students import assignments, train_other
from distill_jax.study.teachers import finished_elsewhere
from distill_jax.tagger import Tagger


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(Recipe):
    """A study: a recipe, and the cells that it is carried out in.

    Attributes:
        directory: the study's folder.
        datasets: tasks with `train`, `valid` and `test`.
        sizes: `gold/dev`, or `full`.
        seeds: of subsets and models.
    """

    directory: str = setting(macro="STUDY_DIR", free=True)
    datasets: Sequence[str] = setting(macro="DATASETS", free=True)
    sizes: Sequence[str] = setting(("100/50",), macro="SIZES", free=True)
    seeds: Sequence[int] = setting((0, 1, 2), macro="SEEDS", free=True)

    def run(self) -> list[Row]:
        """Does the cells that are missing; returns the lines of `results.csv`.

        Cells that another process is at are left to it; the results are of all cells finished by the end.

        Raises:
            UserError: before any training, if a value makes no sense, a data set is not there or too
                small, matplotlib is missing, or the folder is of a study with other settings, or
                the study whose teachers are wanted is of other teachers or not finished.
        """
        check_plotting()
        cells = cells_of(self.datasets, self.sizes, self.seeds)
        folder = Path(self.directory)
        settings = settings_of(self)
        check_folder(folder, settings)
        if self.teachers_of is not None:
            check_teachers(Path(self.teachers_of), settings)
        self._check_data(cells)
        # Only now: settings that turn out to be a mistake can be corrected in the same folder.
        claim(folder, settings)
        self._do(cells, folder / "cells")
        # Whoever comes last sees all of them.
        with only_one(folder / "cells", wait=True):
            rows = finished_rows(folder / "cells", cells)
            if rows:
                self.write(folder, rows, settings)
        return rows

    def _check_data(self, cells: Sequence[Cell]) -> None:
        for cell in cells:
            data = load_data(cell, self.sources)
            if self.teachers_of is not None:
                finished_elsewhere(Path(self.teachers_of) / "cells" / cell.name, data)
            self.check(cell, data)

    def _do(self, cells: Sequence[Cell], folder: Path) -> None:
        elsewhere = []
        for number, cell in enumerate(cells, 1):
            with only_one(folder / cell.name) as mine:
                if not mine:
                    elsewhere.append(cell.name)
                    continue
                say(f"== cell {number} of {len(cells)}: {cell.name}")
                # The speed of a model does not depend on the seed.
                measure_speed = cell.seed == self.seeds[0]
                run_cell(cell, folder / cell.name, self, measure_speed=measure_speed)
        if elsewhere:
            say(
                f"other processes are at {', '.join(elsewhere)}; the results are without these cells"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyRun(Study):
    """The paper's study: silver sizes × λ of BiLSTMs, and students of other kinds.

    Attributes:
        others: students of any kind, each trained once for each λ on the largest silver set.
        silver: numbers of silver sentences, and `all`; 0 with a λ above 0 is the KL term on gold sentences
            alone.
        max_silver: what `all` is at most.
    """

    others: Sequence[StudentRun] = setting(())
    silver: Sequence[Silver] = setting((0, 250, 500, 2000), macro="SILVER")
    max_silver: int | None = setting(None, macro="MAX_SILVER")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_silver(self.silver)
        if self.max_silver is not None:
            check_positive("MAX_SILVER", self.max_silver)
        for run in self.others:
            check_student(run)

    def check(self, cell: Cell, data: CellData) -> None:
        """Raises `UserError` if a silver size is more than there are."""
        if not cell.size.is_full:
            silver_counts(self.silver, self.max_silver, len(data.silver), cell.task)

    def assign(
        self, cell: Cell, data: CellData, tagger: Tagger, folder: Path
    ) -> dict[str, Assignment]:
        """See `Recipe.assign`."""
        counts = self._counts(cell, data)
        silver = data.silver[: max(counts.values(), default=0)]
        labels = list(label_cell(cell, data, tagger, silver, folder))
        return assignments(cell, data, self, counts, labels)

    def train_others(self, cell: Cell, data: CellData, folder: Path) -> list[Row]:
        """See `Recipe.train_others`."""
        counts = self._counts(cell, data)
        return [
            row for run in self.others for row in train_other(run, cell, data, self, counts, folder)
        ]

    def write(self, folder: Path, rows: Sequence[Row], settings: Mapping[str, Any]) -> None:
        """See `outputs.write_outputs`."""
        write_outputs(folder, rows, settings)

    def _counts(self, cell: Cell, data: CellData) -> dict[Silver, int]:
        """How many silver sentences each size is; without any, 0 alone is left."""
        if not data.silver:
            return {0: 0} if 0 in self.silver else {}
        return silver_counts(self.silver, self.max_silver, len(data.silver), cell.task)
