"""The page of a study: its tables and figures, the paper's numbers beside ours, its settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from distill_jax.configuration import as_lines
from distill_jax.report.blocks import Fold, Paragraph, Subheading
from distill_jax.report.figure import Figure, figure
from distill_jax.report.page import Section, Tile, page
from distill_jax.report.rendering import Block
from distill_jax.report.table import Column, Table
from distill_jax.study import models_table
from distill_jax.study.comparison import Comparison
from distill_jax.study.comparison_blocks import (
    calibration_blocks,
    confusion_blocks,
    differences_blocks,
)
from distill_jax.study.groups import (
    Match,
    datasets,
    is_distilled,
    is_gold_only,
    is_teacher,
    lambdas,
    mean_std,
    silver_sizes,
    sizes,
    teacher_title,
)
from distill_jax.study.models_table import percent
from distill_jax.study.paper import display_name, paper_f1
from distill_jax.study.results import Row
from distill_jax.study.tables import Part, introduction, parts

_CLASSES = {"ours": None, "paper": "paper", "difference": "difference"}


def study_page(
    rows: Sequence[Row],
    figures: Mapping[str, str],
    settings: Mapping[str, Any],
    comparisons: Mapping[str, Comparison],
) -> str:
    """The page.

    Args:
        rows: the lines of `results.csv`.
        figures: the SVG files, by their names without suffix (`silver_100_50`, `quality_full`).
        settings: JSON, as `settings.json` holds it.
        comparisons: of a teacher and its best student, by what each is called.

    A section that there is nothing for is left out.
    """
    sections: list[Section] = []
    all_parts = parts(rows)
    for size in dict.fromkeys(part.size for part in all_parts):
        of_size = [part for part in all_parts if part.size == size]
        name = size.replace("/", "_")
        content = [block for part in of_size for block in _part(part, name, figures)]
        sections.append(Section(f"size-{name}", of_size[0].title, content))
    if beside := _beside_the_paper(rows):
        sections.append(Section("paper", "Beside the paper", beside))
    sections += compared_sections(comparisons) + settings_sections(settings)
    return page("Distillation study", introduction(rows), tiles(rows), sections)


def compared_sections(comparisons: Mapping[str, Comparison]) -> list[Section]:
    """Mistakes, calibration and differences of teachers and best students."""
    if not comparisons:
        return []
    confusion: list[Block] = []
    calibration: list[Block] = []
    different: list[Block] = []
    for number, (name, comparison) in enumerate(comparisons.items()):
        confusion += confusion_blocks(name, comparison)
        calibration += calibration_blocks(name, comparison, str(number))
        different += differences_blocks(name, comparison)
    title = "Sentences that teacher and best student tag differently"
    return [
        Section("confusion", "Confusion between labels", confusion),
        *([Section("reliability", "Reliability", calibration)] if calibration else []),
        Section("different", title, different),
    ]


def tiles(rows: Sequence[Row]) -> list[Tile]:
    """How many data sets, sizes, seeds and models there are."""
    names = [display_name(name) for name in datasets(rows)]
    all_sizes = sizes(rows)
    seeds = {row.seed for row in rows}
    return [
        Tile("Data sets", f"{len(names)}", ", ".join(names)),
        Tile("Sizes", f"{len(all_sizes)}", ", ".join(all_sizes)),
        Tile("Seeds", f"{len(seeds)}", "of subsets and models"),
        Tile("Models", f"{len(rows)}", "trained and evaluated"),
    ]


def _part(part: Part, name: str, figures: Mapping[str, str]) -> list[Block]:
    """A part, its title as a heading unless the section has it, its figure before its table."""
    blocks: list[Block] = [Subheading(part.title)] if part.level > 2 else []
    blocks += [Paragraph(part.text)] if part.text else []
    if part.kind == "silver":
        blocks += _figure(
            figures,
            f"silver_{name}",
            "F1 against the number of silver sentences; points are means over seeds, bars standard "
            "deviations.",
        )
    elif part.kind == "speed":
        blocks += _figure(
            figures,
            f"quality_{name}",
            "F1 against sentences a second; the larger a marker, the more parameters.",
        )
    return [*blocks, report_table(part.table, _caption(part))]


def report_table(grid: models_table.Table, caption: str) -> Table:
    """A table as the page shows it; differences and the paper's lines have styles of their own."""
    columns = [
        Column(heading, "text" if number < grid.titles else "number")
        for number, heading in enumerate(grid.head)
    ]
    classes = [_CLASSES[line.kind] for line in grid.lines]
    return Table(caption, columns, [line.cells for line in grid.lines], classes)


def _caption(part: Part) -> str:
    if part.kind == "speed":
        return "Models"
    if part.kind == "silver":
        return "F1 in percent; shaded lines are differences, seed by seed"
    return "Perfect / F1 in percent" if part.size == "full" else "F1 in percent"


def _figure(figures: Mapping[str, str], name: str, caption: str) -> list[Figure]:
    """The figure of that name, if there is one."""
    if name not in figures:
        return []
    title = f"{caption} The table below has the numbers."
    return [figure(figures[name], name=name, title=title, caption=caption)]


def _beside_the_paper(rows: Sequence[Row]) -> list[Block]:
    """A line for each model that the paper reports too; nothing if it reports none of them."""
    lines = []
    for size in sizes(rows):
        of_size = [row for row in rows if row.size == size]
        for dataset in datasets(of_size):
            own = [row for row in of_size if row.dataset == dataset]
            for title, match, key in _comparable(own):
                theirs = paper_f1(dataset, size, key)
                ours = [row.f1 for row in own if match(row)]
                if theirs is None or not ours:
                    continue
                mean, _ = mean_std([100 * f1 for f1 in ours])
                figures = [percent(ours), f"{theirs:.2f}", f"{mean - theirs:+.2f}"]
                lines.append([display_name(dataset), size, title, *figures])
    if not lines:
        return []
    columns = [
        *(Column(name, "text") for name in ("data set", "gold/dev", "model")),
        *(Column(name) for name in ("ours", "paper", "difference")),
    ]
    return [
        Paragraph(
            "What differs: the paper's teacher is T5-base, pre-trained on C4; its BiLSTM reads "
            "GloVe vectors; its silver set is all that is left of the training sentences; it "
            "reports one subset. Ours is what the settings say."
        ),
        Table("F1 in percent, ours and that of Farina et al. 2023", columns, lines),
    ]


def _comparable(rows: Sequence[Row]) -> list[tuple[str, Match, str]]:
    """Title, which rows, and the paper's name of each model that it reports."""
    models: list[tuple[str, Match, str]] = [
        ("BiLSTM, gold only", is_gold_only, "gold"),
        (teacher_title(rows), is_teacher, "teacher"),
    ]
    weights = lambdas(rows)
    for weight in weights:
        name = f"BiLSTM, 500 silver, λ = {weight:g}"
        models.append((name, is_distilled("500", weight), f"500 λ={weight:g}"))
    largest = silver_sizes(rows)[-1:]
    if weights and largest != ["0"] and largest:
        note = "" if largest == ["all"] else "; the paper's: all silver"
        name = f"BiLSTM, {largest[0]} silver, λ = {weights[-1]:g}{note}"
        models.append((name, is_distilled(largest[0], weights[-1]), "distilled"))
    return models


def settings_sections(settings: Mapping[str, Any]) -> list[Section]:
    """All settings, folded; nothing where there are none."""
    if not settings:
        return []
    named = [line.split(" = ", 1) for line in as_lines(settings)]
    lines = [pair for pair in named if pair[0]]
    columns = [Column("name", "code"), Column("value", "code")]
    title = f"{len(lines)} settings that the results depend on"
    return [Section("settings", "Settings", [Fold(title, [Table("Settings", columns, lines)])])]
