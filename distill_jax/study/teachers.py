"""The teacher of a cell: trained in it, or taken over from another study."""

import shutil
from pathlib import Path
from typing import NamedTuple

from distill_jax.errors import UserError
from distill_jax.files import atomic_directory
from distill_jax.study.cell_data import CellData
from distill_jax.study.grid import Cell
from distill_jax.study.recipe import Recipe
from distill_jax.study.results import Result, read_result
from distill_jax.train.selection import Outcome


class TrainingFacts(NamedTuple):
    """Of a model's training what results say."""

    dev_f1: float | None
    best_step: int
    seconds: float

    @classmethod
    def of(cls, outcome: Outcome) -> "TrainingFacts":
        """Those of a training that has ended here."""
        return cls(outcome.metrics.get("f1"), outcome.best_step, outcome.seconds)


def obtain_teacher(cell: Cell, data: CellData, recipe: Recipe, folder: Path) -> TrainingFacts:
    """Leaves the cell's teacher in `teacher/model` of its folder.

    Raises `UserError` as training does, or as `finished_elsewhere`.
    """
    directory = folder / "teacher"
    if recipe.teachers_of is None:
        return TrainingFacts.of(recipe.teacher_of(cell, directory).run())
    there = Path(recipe.teachers_of) / "cells" / cell.name
    row = finished_elsewhere(there, data).teacher
    with atomic_directory(directory / "model") as temporary:
        shutil.copytree(there / "teacher" / "model", temporary, dirs_exist_ok=True)
    return TrainingFacts(row.dev_f1, row.best_step, row.seconds_to_train)


def finished_elsewhere(cell: Path, data: CellData) -> Result:
    """The result of another study's cell, whose teacher is wanted.

    Raises `UserError` if the cell is not finished, or was made from other sentences.
    """
    result = read_result(cell)
    if result is None:
        raise UserError(f"TEACHERS_OF: {cell} is not a finished cell; run that study to its end")
    if result.data_sha256 != data.content_hash:
        raise UserError(
            f"TEACHERS_OF: {cell} was made from other sentences than the task has now; give a study "
            "of the same data"
        )
    return result
