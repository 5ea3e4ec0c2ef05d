"""What is made of a study's results: CSV, tables, figures, and the page that holds all of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_jax.files import write_text
from distill_jax.study.comparison import Comparison, read_comparison
from distill_jax.study.grid import Cell, Size
from distill_jax.study.groups import is_teacher, sizes
from distill_jax.study.page import study_page
from distill_jax.study.paper import display_name
from distill_jax.study.plots import draw_quality, draw_silver
from distill_jax.study.results import Row
from distill_jax.study.tables import csv_text, markdown

_FIGURES = {"silver": draw_silver, "quality": draw_quality}


def write_outputs(folder: Path, rows: Sequence[Row], settings: Mapping[str, Any]) -> None:
    """Writes `results.csv`, `tables.md`, the figures, and `report.html`.

    Args:
        folder: the study's, whose cells hold comparisons.
        rows: at least one line of results.
        settings: those of the folder, for the page.
    """
    write_text(folder / "results.csv", csv_text(rows))
    write_text(folder / "tables.md", markdown(rows))
    written = ["results.csv", "tables.md"]
    drawings = {}
    for size in sizes(rows):
        of_size = [row for row in rows if row.size == size]
        figures = {"quality": draw_quality} if size == "full" else _FIGURES
        for kind, draw in figures.items():
            name = f"{kind}_{size.replace('/', '_')}"
            for suffix in ("png", "svg"):
                draw(of_size, folder / f"{name}.{suffix}")
                written.append(f"{name}.{suffix}")
            drawings[name] = (folder / f"{name}.svg").read_text("utf-8")
    page = study_page(rows, drawings, settings, comparisons_of(folder, rows))
    write_text(folder / "report.html", page)
    written.append("report.html")
    print(f"{folder}: {', '.join(written)}")


def comparisons_of(folder: Path, rows: Sequence[Row]) -> dict[str, Comparison]:
    """Of each data set and size the first seed's whose cell has them."""
    comparisons: dict[str, Comparison] = {}
    for row in rows:
        name = f"{display_name(row.dataset)}, {row.size}"
        if is_teacher(row) and name not in comparisons:
            cell = Cell(row.dataset, Size.parse(row.size), row.seed)
            comparison = read_comparison(folder / "cells" / cell.name)
            if comparison is not None:
                comparisons[name] = comparison
    return comparisons
