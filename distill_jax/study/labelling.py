"""The teacher's labels in a cell's folder."""

import sys
from collections.abc import Iterable
from pathlib import Path

from distill_jax.jobs.labelling import label
from distill_jax.labels.store import TeacherLabels
from distill_jax.study.cell_data import CellData, distinct
from distill_jax.study.grid import Cell
from distill_jax.tagger import Tagger
from distill_jax.tagging import Sentence


def label_cell(
    cell: Cell, data: CellData, tagger: Tagger, silver: Iterable[Sentence], folder: Path
) -> TeacherLabels:
    """Leaves the labels of the gold sentences and then of others in `labels`; none is there twice."""
    pool = distinct([*data.gold, *silver])
    say(f"{cell.name}: labelling {len(pool) - len(distinct(data.gold)):,} sentences")
    store = label(tagger, folder / "teacher" / "model", pool, folder / "labels")
    assert store is not None, "one process labels all"
    store.check_labels(data.labels, f"task {cell.task!r}")
    return store


def say(text: str) -> None:
    """Tells whoever waits what is being done."""
    print(text, file=sys.stderr, flush=True)
