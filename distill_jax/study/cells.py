"""One cell of a study: a data set, a size and a seed, with its teacher, its labels and its students.

A cell lies in a folder of its own, which `result.json`, written last, makes a finished one. In an
unfinished one the teacher goes on from its checkpoint and the labels from their last shard; the
students are trained again.
"""

import shutil
import time
from pathlib import Path

from distill_jax.errors import UserError
from distill_jax.study.cell_data import CellData, load_data
from distill_jax.study.comparison import compare, write_comparison
from distill_jax.study.grid import Cell
from distill_jax.study.labelling import say
from distill_jax.study.measuring import ModelFacts, row_of, timed_predictions
from distill_jax.study.recipe import Recipe
from distill_jax.study.results import RESULT, Result, Row, read_result, write_result
from distill_jax.study.students import (
    best_distilled,
    bilstm_rows,
    save_bilstms,
    train_bilstms,
)
from distill_jax.study.teachers import obtain_teacher
from distill_jax.tagger import Tagger


def run_cell(cell: Cell, folder: Path, recipe: Recipe, *, measure_speed: bool) -> None:
    """Trains and evaluates everything of a cell and writes its result; a finished one stays as it is.

    `measure_speed` times the BiLSTMs. Raises `UserError` if the result was made from other data, or
    is damaged.
    """
    data = load_data(cell, recipe.sources)
    if _is_finished(folder, data):
        return
    start = time.monotonic()
    training = obtain_teacher(cell, data, recipe, folder)
    model = folder / "teacher" / "model"
    tagger = Tagger.load(model, normaliser=recipe.label_normaliser)
    of_teacher, rate = timed_predictions(tagger, data.test)
    facts = ModelFacts(
        name="teacher",
        model=recipe.teacher_kind,
        recipe="teacher",
        parameters=tagger.parameters,
        training=training,
    )
    teacher = row_of(cell, data, facts, of_teacher, rate)
    say(f"{cell.name}: teacher F1 {teacher.f1:.4f}")
    labelling = time.monotonic()
    assigned = recipe.assign(cell, data, tagger, folder)
    labelled = time.monotonic() - labelling
    tagged = train_bilstms(assigned, data, recipe, lambda text: say(f"{cell.name}: {text}"))
    students = bilstm_rows(cell, data, recipe, tagged, measure_speed=measure_speed)
    if (best := best_distilled(tagged)) is not None:
        name = best.student.name
        compared = compare(data.labels, data.test, of_teacher, name, best.predictions)
        write_comparison(folder, compared)
    if recipe.keep_students:
        save_bilstms(folder / "students", data, tagged, students)
    others = recipe.train_others(cell, data, folder)
    seconds = {
        "teacher": training.seconds,
        "labels": labelled,
        "students": tagged[0].student.outcome.seconds,
        "cell": time.monotonic() - start,
    }
    rows: list[Row] = [teacher, *students, *others]
    result = Result(cell=cell.name, data_sha256=data.content_hash, seconds=seconds, models=rows)
    write_result(folder, result)
    # The models stay; what a run goes on from is no longer needed, and large.
    for checkpoints in folder.glob("*/checkpoints"):
        shutil.rmtree(checkpoints, ignore_errors=True)


def _is_finished(folder: Path, data: CellData) -> bool:
    result = read_result(folder)
    if result is not None and result.data_sha256 != data.content_hash:
        raise UserError(
            f"{folder / RESULT}: made from other sentences than the task has now; delete {folder}, "
            "and the cell is done again"
        )
    return result is not None
