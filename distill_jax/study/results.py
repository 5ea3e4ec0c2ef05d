"""A study's results: a line for every evaluated model, kept in the `result.json` of its cell."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from distill_jax.errors import UserError
from distill_jax.files import write_text
from distill_jax.study.grid import Cell

RESULT = "result.json"
SCHEMA = 1

BILSTM = "bilstm"
"""What results call the model of the students trained together."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One evaluated model, as a line of `results.csv`; its fields are the columns.

    Attributes:
        dataset, size, seed: of its cell; a size as `Size` writes it.
        name: of the model within its cell.
        model: the teacher's is its kind, a BiLSTM's `bilstm`, another student's its kind and `-student`.
        recipe: `gold` for a student without teacher.
        gold_sentences, dev_sentences: labelled ones.
        silver, silver_sentences: the silver size, which may be `all`, and its number of sentences.
        kl_weight, temperature, both_sides, square_scale, confidence_weighting, min_confidence: what it was
            distilled with; None for others.
        generator, filters, tags: of `grid.Generated`; None where no silver sentence was made for it.
        parameters: how many numbers it consists of.
        f1, f1_strict, precision, recall, perfect, illegal, ece, nll, brier: on the test split, as
            shares; None where there is no such figure.
        dev_f1, best_step, seconds_to_train: of its training.
        sentences_per_second: of the test split; None where it was not measured.
    """

    dataset: str
    size: str
    seed: int
    name: str
    model: str
    recipe: Literal["teacher", "gold", "distilled"]
    gold_sentences: int
    dev_sentences: int
    silver: str = "0"
    silver_sentences: int = 0
    kl_weight: float | None = None
    temperature: float | None = None
    both_sides: bool | None = None
    square_scale: bool | None = None
    confidence_weighting: str | None = None
    min_confidence: float | None = None
    generator: str | None = None
    filters: str | None = None
    tags: str | None = None
    parameters: int
    f1: float
    f1_strict: float | None
    precision: float | None
    recall: float | None
    perfect: float
    illegal: float | None
    ece: float | None
    nll: float | None
    brier: float | None
    dev_f1: float | None
    best_step: int
    seconds_to_train: float
    sentences_per_second: float | None = None


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))
_ADDED = {"min_confidence", "generator", "filters", "tags"}
"""Columns that results of an earlier version lack, whose lines are those of None."""


def without_nan(figures: Mapping[str, float]) -> dict[str, Any]:
    """Figures with None for those that are no numbers, which JSON does not have."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What `result.json` holds.

    Attributes:
        cell: its name.
        data_sha256: of the sentences it was made from.
        seconds: that teacher, labels, students and the cell took.
        models: the teacher's line first.
    """

    cell: str
    data_sha256: str
    seconds: Mapping[str, float]
    models: Sequence[Row]

    @property
    def teacher(self) -> Row:
        """The teacher's line."""
        return next(row for row in self.models if row.recipe == "teacher")


def write_result(folder: Path, result: Result) -> None:
    """Writes `result.json` into a cell's folder, whole or not at all."""
    content = {"schema": SCHEMA, **dataclasses.asdict(result)}
    write_text(folder / RESULT, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_result(folder: Path) -> Result | None:
    """The result in a cell's folder; None if the cell is not finished.

    Raises `UserError` if it is damaged, with fields that are missing or unknown, or of another schema.
    """
    path = folder / RESULT
    if not path.exists():
        return None
    damaged = UserError(f"{path}: damaged; delete it, and the cell is done again")
    try:
        content = json.loads(path.read_text("utf-8"))
        schema = content.pop("schema")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise damaged from None
    if schema != SCHEMA:
        raise UserError(f"{path}: schema {schema!r} instead of {SCHEMA}; delete {folder}")
    try:
        # Columns may have been left out when a line was made, never when it was written.
        if any(set(row) | _ADDED != set(COLUMNS) for row in content["models"]):
            raise damaged
        return Result(**{**content, "models": [Row(**row) for row in content["models"]]})
    except (KeyError, TypeError):
        raise damaged from None


def finished_rows(cells: Path, first: Sequence[Cell]) -> list[Row]:
    """The models of all finished cells below a folder: those of `first` in their order, then others.

    Raises `UserError` if a result is damaged.
    """
    others = sorted(path.parent.name for path in cells.glob(f"*/{RESULT}"))
    names = dict.fromkeys([*(cell.name for cell in first), *others])
    results = [read_result(cells / name) for name in names]
    return [row for result in results if result is not None for row in result.models]
