"""The paper's experiments on any tasks: data sets × sizes × seeds, each with teacher and students.

A study's folder holds `cells/`, `settings.json`, and what is made of the cells: `results.csv`,
`tables.md`, figures, and `report.html` with all of it. Cells that are finished are not done again,
so that more data sets, sizes and seeds can be added later; anything else that differs is refused.
Processes that are started with the same command share the cells among them.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from distill_jax.configuration import setting
from distill_jax.files import only_one
from distill_jax.report.plots import check_plotting
from distill_jax.study.cell_data import load_data
from distill_jax.study.cells import run_cell, say
from distill_jax.study.grid import Cell, cells_of, silver_counts
from distill_jax.study.outputs import write_outputs
from distill_jax.study.recipe import Recipe
from distill_jax.study.results import Row, finished_rows
from distill_jax.study.settings import check_folder, check_teachers, claim, settings_of
from distill_jax.study.teachers import finished_elsewhere


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyRun(Recipe):
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
                write_outputs(folder, rows, settings)
        return rows

    def _check_data(self, cells: Sequence[Cell]) -> None:
        for cell in cells:
            data = load_data(cell, self.sources)
            if self.teachers_of is not None:
                finished_elsewhere(Path(self.teachers_of) / "cells" / cell.name, data)
            if not cell.size.is_full:
                silver_counts(self.silver, self.max_silver, len(data.silver), cell.task)

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
