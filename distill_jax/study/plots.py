"""Figures of a study; the suffix of a path decides their format (`png`, `svg`)."""

import itertools
import math
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill_jax.files import atomic_write
from distill_jax.integers import ceil_divide
from distill_jax.report.plots import check_plotting
from distill_jax.study.grid import ALL
from distill_jax.study.groups import (
    Match,
    datasets,
    is_distilled,
    is_gold_only,
    is_teacher,
    lambdas,
    mean_std,
    other_students,
    rates,
    silver_sizes,
    teacher_title,
)
from distill_jax.study.paper import display_name
from distill_jax.study.results import BILSTM, Row

LINE_COLOURS = ("#d9794f", "#3b6ea8", "#5b9a5b", "#8a5ba8")
TEXT, TEACHER_COLOUR, GOLD_COLOUR, _GRID = "#333333", "#333333", "#8a8a8a", "#e4e4e4"


def draw_silver(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """F1 against the number of silver sentences, a panel a data set, a line for each λ.

    Points are means over seeds, bars standard deviations; horizontal lines are the BiLSTM of gold
    alone and the teacher. All rows are of one size.

    Raises `UserError` if matplotlib is not installed.
    """
    figure, panels = panels_of(rows, 3.6, 3.6)
    for number, (dataset, axes) in enumerate(panels):
        own = [row for row in rows if row.dataset == dataset]
        sizes = silver_sizes(own)
        for weight, colour in zip(lambdas(own), itertools.cycle(LINE_COLOURS)):
            points = [(at, f1_of(own, is_distilled(size, weight))) for at, size in enumerate(sizes)]
            label = f"BiLSTM, λ = {weight:g}" + (" (pseudo-labels)" if not weight else " (KD)")
            draw_line(axes, points, color=colour, marker="o", label=label)
        draw_levels(axes, own)
        axes.set_xticks(range(len(sizes)), [_tick(own, size) for size in sizes])
        axes.set_xlim(-0.35, len(sizes) - 0.65)
        axes.set_xlabel("silver sentences", color=TEXT)
        axes.set_title(display_name(dataset), color=TEXT, fontsize=11)
        if number == 0:
            axes.set_ylabel("F1 on the test split (%)", color=TEXT)
    add_legend(figure, panels)
    save_figure(figure, path)


def draw_line(axes: Any, points: Sequence[tuple[float, Sequence[float]]], **look: Any) -> None:
    """Means of the seeds' values at each place, with bars of a standard deviation; no value, no point."""
    points = [(at, values) for at, values in points if values]
    means = [mean_std(values) for _, values in points]
    axes.errorbar(
        [at for at, _ in points],
        [mean for mean, _ in means],
        yerr=[deviation or 0 for _, deviation in means],
        markersize=5,
        linewidth=1.8,
        capsize=3,
        elinewidth=1,
        **look,
    )


def draw_levels(axes: Any, rows: Sequence[Row]) -> None:
    """Horizontal lines: the F1 of the teacher and of the BiLSTM of gold alone."""
    for match, label, colour, dashes in (
        (is_teacher, teacher_title(rows), TEACHER_COLOUR, (0, (6, 3))),
        (is_gold_only, "BiLSTM, gold only", GOLD_COLOUR, (0, (2, 2))),
    ):
        if values := f1_of(rows, match):
            level = statistics.fmean(values)
            axes.axhline(level, color=colour, linestyle=dashes, linewidth=1.3, label=label)


def draw_quality(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """F1 against sentences a second, a panel a data set; a marker's area grows with parameters.

    Models whose speed was not measured are left out. All rows are of one size.

    Raises `UserError` if matplotlib is not installed.
    """
    figure, panels = panels_of(rows, 3.9, 3.8)
    known = [row.parameters for row in rows]
    for number, (dataset, axes) in enumerate(panels):
        own = [row for row in rows if row.dataset == dataset]
        best: dict[str, tuple[float, float, float]] = {}
        for label, colour, group in _kinds(own):
            points = []
            for name in dict.fromkeys(row.name for row in group):
                of_seeds = [row for row in group if row.name == name]
                if timed := rates(of_seeds):
                    points.append(
                        (
                            statistics.fmean(timed),
                            statistics.fmean(100 * row.f1 for row in of_seeds),
                            statistics.fmean(row.parameters for row in of_seeds),
                        )
                    )
            if not points:
                continue
            axes.scatter(
                [rate for rate, _, _ in points],
                [f1 for _, f1, _ in points],
                s=[_area(count, known) for _, _, count in points],
                color=colour,
                alpha=0.7,
                edgecolor="white",
                linewidth=0.8,
                label=label,
            )
            # Models of one architecture lie at one speed: the best of them says how large it is.
            kind = group[0].model
            best[kind] = max(*points, best.get(kind, points[0]), key=lambda point: point[1])
        for rate, f1, count in best.values():
            axes.annotate(
                f"{count / 1e6:.2g}M",
                (rate, f1),
                xytext=(0, 4 + math.sqrt(_area(count, known)) / 2),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=TEXT,
            )
        axes.set_xscale("log")
        axes.margins(x=0.25, y=0.18)
        _ticks_of_speed(axes)
        axes.set_xlabel("sentences a second, batch 32", color=TEXT)
        axes.set_title(display_name(dataset), color=TEXT, fontsize=11)
        if number == 0:
            axes.set_ylabel("F1 on the test split (%)", color=TEXT)
    add_legend(figure, panels, marker_area=50)
    save_figure(figure, path)


def _ticks_of_speed(axes: Any) -> None:
    """Plain numbers, at 1, 2 and 5 times the powers of ten as long as there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    slowest, fastest = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if fastest < 200 * slowest else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _kinds(rows: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    kinds = [
        (teacher_title(rows), TEACHER_COLOUR, [row for row in rows if is_teacher(row)]),
        ("BiLSTM, gold only", GOLD_COLOUR, [row for row in rows if is_gold_only(row)]),
    ]
    distilled = [row for row in rows if row.recipe == "distilled"]
    for weight, colour in zip(lambdas(rows), itertools.cycle(LINE_COLOURS)):
        of_weight = [row for row in distilled if row.kl_weight == weight]
        bilstm = [row for row in of_weight if row.model == BILSTM]
        kinds.append((f"BiLSTM, λ = {weight:g}", colour, bilstm))
    others = other_students(rows).items()
    for (model, name), colour in zip(others, itertools.cycle(LINE_COLOURS[2:])):
        kinds.append((name, colour, [row for row in distilled if row.model == model]))
    return kinds


def _area(parameters: float, known: Sequence[int]) -> float:
    """From 40 to 400 points², growing with the logarithm: sizes differ by orders of magnitude."""
    low, high = math.log(min(known)), math.log(max(known))
    share = 0.0 if high == low else (math.log(parameters) - low) / (high - low)
    return 40 + 360 * min(max(share, 0.0), 1.0)


def f1_of(rows: Sequence[Row], match: Match) -> list[float]:
    """In percent."""
    return [100 * row.f1 for row in rows if match(row)]


def _tick(rows: Sequence[Row], size: str) -> str:
    if size != ALL:
        return f"{int(size):,}"
    counts = [row.silver_sentences for row in rows if row.silver == ALL]
    return f"all\n({round(statistics.fmean(counts)):,})"


def panels_of(
    rows: Sequence[Row], width: float, height: float
) -> tuple[Any, list[tuple[str, Any]]]:
    """A figure with a panel for each data set; each panel's width and height in inches.

    Raises `UserError` if matplotlib is not installed.
    """
    check_plotting()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = datasets(rows)
    columns = min(len(names), 4)
    lines = ceil_divide(len(names), columns)
    figure = Figure(
        figsize=(max(width * columns, 5.2), height * lines + 0.7), dpi=150, layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False).flat
    for spare in axes[len(names) :]:
        spare.set_visible(False)
    panels = list(zip(names, axes, strict=False))
    for _, each in panels:
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(colors=TEXT)
        each.grid(axis="y", color=_GRID, linewidth=0.8)
        each.set_axisbelow(True)
    return figure, panels


def add_legend(
    figure: Any, panels: list[tuple[str, Any]], *, marker_area: float | None = None
) -> None:
    """What the panels' labels say, once, below them; the area of markers in points²."""
    entries: dict[str, Any] = {}
    for _, axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    legend = figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=min(len(entries), 4 if len(panels) > 1 else 2),
        frameon=False,
        labelcolor=TEXT,
        fontsize=9,
    )
    if marker_area is not None:
        for handle in legend.legend_handles:
            handle.set_sizes([marker_area])


def save_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Writes a figure in the format of the path's suffix."""
    from matplotlib import rc_context

    kind = Path(path).suffix.removeprefix(".")
    # Equal figures give equal files: no date, no random ids.
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    with rc_context({"svg.hashsalt": "distill_jax"}), atomic_write(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=metadata)
