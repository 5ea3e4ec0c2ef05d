"""Tables of a study: models down, data sets across, as text that Markdown and HTML both show."""

import statistics
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from distill_jax.study.groups import (
    Match,
    datasets,
    is_named,
    is_other_student,
    mean_std,
    other_students,
)
from distill_jax.study.paper import display_name
from distill_jax.study.results import Row

NONE = "–"
"""Where there is no figure."""


class Line(NamedTuple):
    """A line of a table."""

    cells: list[str]
    kind: Literal["ours", "paper", "difference"] = "ours"


class Table(NamedTuple):
    """A table as text; how it looks is left to those who show it."""

    head: list[str]
    lines: list[Line]
    titles: int
    """So many columns from the left name the line."""


def markdown_table(table: Table) -> str:
    """A table as Markdown."""
    lines = [table.head]
    for line in table.lines:
        paper = line.kind == "paper"
        lines.append([f"*{cell}*" if paper and cell != NONE else cell for cell in line.cells])
    head, *body = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([head, "|" + "---|" * len(table.head), *body])


def percent(shares: Sequence[float]) -> str:
    """Mean and, of several, standard deviation of shares, in percent."""
    return shown([100 * each for each in shares])


class ModelsTable:
    """Models down, data sets across, and the mean over data sets where there are several."""

    def __init__(self, rows: Sequence[Row], figures: tuple[str, ...] = ("f1",)) -> None:
        self._rows = rows
        self._figures = figures
        self._datasets = datasets(rows)
        self._lines: list[Line] = []

    def add(
        self,
        titles: list[str],
        match: Match,
        paper: Callable[[str], float | None] | None = None,
        *,
        perfect: Callable[[str], float | None] | None = None,
        paper_titles: Sequence[str] = ("paper",),
    ) -> None:
        """A line of ours, and if the paper has a number for a data set, one of its."""
        ours = {
            name: [row for row in self._rows if row.dataset == name and match(row)]
            for name in self._datasets
        }
        if not any(ours.values()):
            return
        self._line(
            titles,
            [
                " / ".join(
                    shown([100 * getattr(row, figure) for row in ours[name]])
                    for figure in self._figures
                )
                for name in self._datasets
            ],
            shown_means([[100 * row.f1 for row in ours[name]] for name in self._datasets]),
        )
        theirs = [(name, paper(name) if paper else None) for name in self._datasets]
        if any(value is not None for _, value in theirs):
            cells = []
            for name, value in theirs:
                text = NONE if value is None else f"{value:.2f}"
                if perfect and value is not None:
                    text = f"{perfect(name):.2f} / {text}"
                cells.append(text)
            mean = shown_means([[] if value is None else [value] for _, value in theirs])
            self._line(paper_titles, cells, mean, "paper")

    def add_other_students(self) -> None:
        """Of each kind besides BiLSTMs a line for each λ."""
        titles = other_students(self._rows)
        students = {row.name: row for row in reversed(self._rows) if is_other_student(row)}
        for name in dict.fromkeys(row.name for row in self._rows if is_other_student(row)):
            first = students[name]
            title = f"{titles[first.model]} ({first.silver} silver, λ = {first.kl_weight:g})"
            self.add([title], is_named(name))

    def add_difference(self, titles: list[str], match: Match, other: Match) -> None:
        """By how much a model is better than another, seed by seed."""
        differences = []
        for name in self._datasets:
            pairs = [
                {r.seed: 100 * r.f1 for r in self._rows if r.dataset == name and one(r)}
                for one in (match, other)
            ]
            seeds = pairs[0].keys() & pairs[1].keys()
            differences.append([pairs[0][seed] - pairs[1][seed] for seed in sorted(seeds)])
        figures = [shown(each, signed=True) for each in differences]
        self._line(titles, figures, shown_means(differences, signed=True), "difference")

    def table(self, corner: list[str]) -> Table:
        """What was added; `corner` heads the titles."""
        names = [display_name(name) for name in self._datasets]
        if len(names) > 1:
            names.append("mean" if self._figures == ("f1",) else "mean F1")
        return Table([*corner, *names], self._lines, titles=len(corner))

    def _line(
        self,
        titles: Sequence[str],
        cells: list[str],
        mean: str,
        kind: Literal["ours", "paper", "difference"] = "ours",
    ) -> None:
        means = [mean] if len(self._datasets) > 1 else []
        self._lines.append(Line([*titles, *cells, *means], kind))


def shown(values: Sequence[float], *, signed: bool = False) -> str:
    """Mean and, of several, standard deviation."""
    if not values:
        return NONE
    mean, deviation = mean_std(values)
    text = f"{mean:+.2f}" if signed else f"{mean:.2f}"
    return text if deviation is None else f"{text} ± {deviation:.2f}"


def shown_means(groups: Sequence[Sequence[float]], *, signed: bool = False) -> str:
    """The mean of the groups' means; nothing if a group is empty."""
    if not all(groups):
        return NONE
    return shown([statistics.fmean([statistics.fmean(group) for group in groups])], signed=signed)
