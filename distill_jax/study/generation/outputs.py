"""What is made of a generation study's results: CSV, tables, figures, and the page that holds all of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_jax.files import write_text
from distill_jax.study.generation.facts import read_facts
from distill_jax.study.generation.page import generation_page
from distill_jax.study.generation.plot import draw_pools
from distill_jax.study.generation.tables import generation_markdown, pools_of
from distill_jax.study.grid import Cell, Size
from distill_jax.study.groups import is_teacher, sizes
from distill_jax.study.outputs import comparisons_of
from distill_jax.study.results import Row
from distill_jax.study.tables import csv_text


def write_generation_outputs(
    folder: Path, rows: Sequence[Row], settings: Mapping[str, Any]
) -> None:
    """Writes `results.csv`, `tables.md`, a figure for each size, and `report.html`.

    Args:
        folder: the study's, whose cells hold what is known of pools.
        rows: at least one line of results.
        settings: those of the folder, for the page.
    """
    cells = [Cell(row.dataset, Size.parse(row.size), row.seed) for row in rows if is_teacher(row)]
    facts = {cell: read_facts(folder / "cells" / cell.name) for cell in cells}
    write_text(folder / "results.csv", csv_text(rows))
    write_text(folder / "tables.md", generation_markdown(rows, facts))
    written = ["results.csv", "tables.md"]
    drawings = {}
    for size in sizes(rows):
        of_size = [row for row in rows if row.size == size]
        if pools_of(of_size):
            name = f"pools_{size.replace('/', '_')}"
            for suffix in ("png", "svg"):
                draw_pools(of_size, folder / f"{name}.{suffix}")
                written.append(f"{name}.{suffix}")
            drawings[name] = (folder / f"{name}.svg").read_text("utf-8")
    page = generation_page(rows, facts, drawings, settings, comparisons_of(folder, rows))
    write_text(folder / "report.html", page)
    print(f"{folder}: {', '.join([*written, 'report.html'])}")
