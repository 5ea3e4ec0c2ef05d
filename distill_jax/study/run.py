"""The paper's experiments on any tasks: data sets × sizes × seeds, each with teacher and students.

A study's folder holds `cells/`, `settings.json`, and what is made of the cells: `results.csv`,
`tables.md`, figures, and `report.html` with all of it. Cells that are finished are not done again,
so that more data sets, sizes and seeds can be added later; anything else that differs is refused.
Processes that are started with the same command share the cells among them.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gin
import numpy as np

from distill_jax.errors import UserError
from distill_jax.files import atomic_write, only_one
from distill_jax.interop.hf.checkpoint import HfCheckpoint
from distill_jax.jobs.together import TrainedStudent
from distill_jax.labels.confidence import Weighting, check_weighting
from distill_jax.report.plots import check_plotting
from distill_jax.sentscore import Normaliser
from distill_jax.study.cells import (
    Cell,
    Recipe,
    Row,
    Silver,
    Size,
    find_teacher,
    finished_rows,
    load_data,
    run_cell,
)
from distill_jax.study.comparison import Comparison, read_comparison
from distill_jax.study.page import study_page
from distill_jax.study.paper import display_name
from distill_jax.study.plots import draw_quality, draw_silver
from distill_jax.study.tables import csv_text, markdown
from distill_jax.tagger import model_hash

SETTINGS = "settings.json"
# They choose the cells or say where things lie, and change nothing within a cell.
_OF_NO_CELL = {
    *("STUDY_DIR", "DATASETS", "SIZES", "SEEDS", "DATA_DIR", "PREPARED_DATA_DIR"),
    *("study.directory", "study.datasets", "study.sizes", "study.seeds"),
    # The settings of these teachers must be those of the study.
    *("TEACHERS_OF", "study.teachers_of"),
    *("prepared_data.data_dir", "prepared_data.directory", "prepared_data.model_dir"),
    # Its content counts, not its place.
    *("INITIAL_CHECKPOINT_PATH", "study.initial_checkpoint_path"),
}


@gin.configurable
def study(
    *,
    directory: str = gin.REQUIRED,
    datasets: Sequence[str] = gin.REQUIRED,
    teacher: Callable[..., Any] = gin.REQUIRED,
    students: Callable[..., list[TrainedStudent]] = gin.REQUIRED,
    sizes: Sequence[str] = ("100/50",),
    silver: Sequence[Silver] = (0, 250, 500, 2000),
    lambdas: Sequence[float] = (0.0, 1.0),
    seeds: Sequence[int] = (0, 1, 2),
    temperature: float = 10.0,
    both_sides: bool = True,
    square_scale: bool = True,
    confidence_weighting: Weighting = "none",
    max_silver: int | None = None,
    t5_student: Callable[..., Any] | None = None,
    encoder_student: Callable[..., Any] | None = None,
    initial_checkpoint_path: str | None = None,
    teachers_of: str | None = None,
    label_normaliser: Normaliser | None = None,
    keep_students: bool = True,
) -> list[Row]:
    """Runs a study, or the cells of it that are missing; returns the lines of `results.csv`.

    Cells that another process is at are left to it; the results are of all cells finished by the end.

    Args:
        directory: the study's folder.
        datasets: tasks with `train`, `valid` and `test`.
        teacher, students, max_silver, temperature, both_sides, square_scale, confidence_weighting,
            label_normaliser, keep_students: see `Recipe`.
        t5_student, encoder_student: `distil_t5` and `train_encoder_tagger`, for students of those kinds
            beside the BiLSTMs.
        sizes: `gold/dev`, or `full`.
        silver: numbers of silver sentences, and `all`.
        lambdas: λ_KL.
        seeds: of subsets and models.
        initial_checkpoint_path: what the teacher starts from, for the settings' fingerprint alone.
        teachers_of: the folder of a study with the same settings of the teacher, whose teachers are
            taken over, so that losses and students are compared with the same ones.

    Raises:
        UserError: before any training, if a value makes no sense, a data set is not there or too
            small, matplotlib is missing, or the folder is of a study with other settings, or the
            study whose teachers are wanted is of other teachers or not finished.
    """
    check_plotting()
    check_weighting(confidence_weighting)
    cells = _cells(datasets, sizes, seeds)
    recipe = Recipe(
        teacher=teacher,
        students=students,
        silver=_silver(silver),
        lambdas=_lambdas(lambdas),
        temperature=_positive("TEMPERATURE", temperature),
        both_sides=both_sides,
        square_scale=square_scale,
        confidence_weighting=confidence_weighting,
        teachers_of=None if teachers_of is None else Path(teachers_of) / "cells",
        max_silver=None if max_silver is None else int(_positive("MAX_SILVER", max_silver)),
        others={
            kind: run
            for kind, run in (("t5", t5_student), ("encoder", encoder_student))
            if run is not None
        },
        label_normaliser=label_normaliser,
        keep_students=keep_students,
    )
    folder = Path(directory)
    settings = _fingerprint(initial_checkpoint_path)
    _check_folder(folder, settings)
    if teachers_of is not None:
        _check_teachers(Path(teachers_of), settings)
    for cell in cells:
        data = load_data(cell)
        if recipe.teachers_of is not None:
            find_teacher(recipe.teachers_of / cell.name, data)
        if data.silver or not cell.size.is_full:
            recipe.silver_counts(len(data.silver), cell.task)
    # Only now: settings that turn out to be a mistake can be corrected in the same folder.
    _claim(folder, settings)
    elsewhere = []
    for number, cell in enumerate(cells, 1):
        path = folder / "cells" / cell.name
        with only_one(path) as mine:
            if not mine:
                elsewhere.append(cell.name)
                continue
            _say(f"== cell {number} of {len(cells)}: {cell.name}")
            # The speed of a model does not depend on the seed.
            run_cell(cell, path, recipe, measure_speed=cell.seed == seeds[0])
    if elsewhere:
        _say(f"other processes are at {', '.join(elsewhere)}; the results are without these cells")
    # Whoever comes last sees all of them.
    with only_one(folder / "cells", wait=True):
        rows = finished_rows(folder / "cells", cells)
        if rows:
            write_outputs(folder, rows, settings)
    return rows


def write_outputs(folder: Path, rows: Sequence[Row], settings: Mapping[str, str]) -> None:
    """Writes `results.csv`, `tables.md`, the figures, and the page that holds all of them."""
    _write(folder / "results.csv", csv_text(rows))
    _write(folder / "tables.md", markdown(rows))
    written = ["results.csv", "tables.md"]
    drawings = {}
    for size in dict.fromkeys(row["size"] for row in rows):
        of_size = [row for row in rows if row["size"] == size]
        figures = {"quality": draw_quality} if size == "full" else _FIGURES
        for kind, draw in figures.items():
            name = f"{kind}_{size.replace('/', '_')}"
            for suffix in ("png", "svg"):
                draw(of_size, folder / f"{name}.{suffix}")
                written.append(f"{name}.{suffix}")
            drawings[name] = (folder / f"{name}.svg").read_text("utf-8")
    page = study_page(rows, drawings, settings, _comparisons(folder, rows))
    _write(folder / "report.html", page)
    written.append("report.html")
    print(f"{folder}: {', '.join(written)}")


_FIGURES = {"silver": draw_silver, "quality": draw_quality}


def _comparisons(folder: Path, rows: Sequence[Row]) -> dict[str, Comparison]:
    """Of each data set and size the first seed's whose cell has them."""
    found: dict[str, Comparison] = {}
    for row in rows:
        name = f"{display_name(row['dataset'])}, {row['size']}"
        if row["recipe"] == "teacher" and name not in found:
            cell = Cell(row["dataset"], Size.parse(row["size"]), row["seed"])
            one = read_comparison(folder / "cells" / cell.name)
            if one is not None:
                found[name] = one
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, "utf-8")


def _cells(datasets: Sequence[str], sizes: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    for name, values in (("DATASETS", datasets), ("SIZES", sizes), ("SEEDS", seeds)):
        _check_list(name, values)
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise UserError(f"SEEDS: {seed!r} is not a number from 0; write SEEDS=(0, 1, 2)")
    parsed = [Size.parse(size) for size in sizes]
    return [Cell(name, size, seed) for name in datasets for size in parsed for seed in seeds]


def _check_list(name: str, values: Any) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise UserError(f"{name} is {values!r}; write a list with at least one value")
    if len(set(values)) != len(values):
        raise UserError(f"{name} is {values!r}; a value is there twice")


def _silver(values: Sequence[Silver]) -> tuple[Silver, ...]:
    _check_list("SILVER", values)
    for value in values:
        number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if not number and value != "all":
            raise UserError(f"SILVER: {value!r} is neither a number from 0 nor 'all'")
    return tuple(sorted(values, key=lambda value: np.inf if value == "all" else value))


def _lambdas(values: Sequence[float]) -> tuple[float, ...]:
    _check_list("LAMBDAS", values)
    for value in values:
        if not isinstance(value, int | float) or not 0 <= value < np.inf:
            raise UserError(f"LAMBDAS: {value!r} is not a number from 0")
    return tuple(float(value) for value in sorted(values))


def _positive(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or not 0 < value < np.inf:
        raise UserError(f"{name} is {value!r}; it must be a number above 0")
    return value


def _fingerprint(checkpoint: str | None) -> dict[str, str]:
    """Everything bound in Gin that a cell's result depends on, and what the teacher starts from."""
    # A value a line; Gin also draws lines of this length.
    lines = gin.config_str(max_line_length=10_000).splitlines()
    bound = (re.match(r"(?!#)(\S+) = (.*)", line) for line in lines)
    settings = {match[1]: match[2] for match in bound if match and match[1] not in _OF_NO_CELL}
    if checkpoint is not None:
        HfCheckpoint(checkpoint)  # raises if it is none
        settings["initial checkpoint"] = model_hash(checkpoint)
    return settings


def _claim(folder: Path, settings: dict[str, str]) -> None:
    """Makes a folder the study's, unless it is already."""
    _check_folder(folder, settings)  # again: another process may have begun meanwhile
    if not (folder / SETTINGS).exists():
        _write(folder / SETTINGS, json.dumps(settings, indent=2, sort_keys=True) + "\n")


def _check_folder(folder: Path, settings: dict[str, str]) -> None:
    """Raises `UserError` if a folder holds something else, or a study with other settings."""
    path = folder / SETTINGS
    # Looked at before the settings, which another process may be writing now, under a hidden name.
    names = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    foreign = any(name != "prepared" and not name.startswith(".") for name in names)
    if not path.exists():
        if foreign or (folder.exists() and not folder.is_dir()):
            raise UserError(f"{folder}: is not empty and not a study; choose another STUDY_DIR")
        return
    items = _read_settings(path)
    difference = _difference(items, settings)
    if difference:
        raise UserError(
            f"{folder}: holds a study with other settings: {difference}; set them as they were, or "
            "choose another STUDY_DIR"
        )


def _check_teachers(folder: Path, settings: dict[str, str]) -> None:
    """Raises `UserError` if a folder holds no study, or its teachers were trained otherwise."""
    if not (folder / SETTINGS).exists():
        raise UserError(f"TEACHERS_OF: {folder} holds no study; give the STUDY_DIR of one")
    there, here = (
        {name: value for name, value in each.items() if _is_of_teacher(name, each)}
        for each in (_read_settings(folder / SETTINGS), settings)
    )
    difference = _difference(there, here)
    if difference:
        raise UserError(
            f"TEACHERS_OF: the teachers of {folder} have other settings: {difference}; set them as "
            "they were, or leave TEACHERS_OF out"
        )


def _is_of_teacher(name: str, settings: Mapping[str, str]) -> bool:
    if name.startswith(("T5Config.", "new_vocabulary.")):  # a checkpoint has its own
        return "initial checkpoint" not in settings
    return name.startswith(("TEACHER_", "teacher/", "TASK_FEATURE_LENGTHS", "initial checkpoint"))


def _read_settings(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        raise UserError(f"{path}: damaged; restore it, or choose another STUDY_DIR") from None


def _difference(there: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs between the settings of a folder and the present ones, up to five of them."""
    different = sorted(name for name in {**there, **now} if there.get(name) != now.get(name))
    shown = ", ".join(
        f"{name} (there {there.get(name, 'not set')}, now {now.get(name, 'not set')})"
        for name in different[:5]
    )
    return shown + (f" and {len(different) - 5} more" if len(different) > 5 else "")
