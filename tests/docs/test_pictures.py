"""The README's picture and table of quality are those of the results page."""

import re
from pathlib import Path

import pytest

from benchmarks.figures.quality import PAGE, draw, points
from tests.docs.documents import ROOT


def test_the_picture_is_drawn_from_the_table() -> None:
    found = points(PAGE.read_text("utf-8"))
    assert len(found) == 5
    assert any(point.ours for point in found)
    assert draw(found) == (ROOT / "docs/pictures/quality.svg").read_text("utf-8")


def test_a_page_without_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no table"):
        points("## Another heading\n\n| a |\n|---|\n| 1 |\n")


def scores(document: Path) -> list[list[str]]:
    """F1 on SNIPS, Restaurant and ATIS of each line of the table from 100 labelled sentences."""
    text = document.read_text("utf-8").replace("**", "")
    head = r"^\|.*\| SNIPS \| Restaurant \| ATIS \| sentences/s.*\n\|[-|]+\n"
    [table] = re.findall(head + r"((?:\|.*\n)+)", text, re.M)
    return [[cell.strip() for cell in line.split("|")][3:6] for line in table.splitlines()]


def test_the_readme_has_the_figures_of_the_results_page() -> None:
    assert scores(ROOT / "README.md") == scores(PAGE)
