"""A study's results as CSV and as tables in the paper's layout, which Markdown and HTML both show."""

import csv
import dataclasses
import functools
import io
import statistics
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from distill_jax.study.grid import ALL
from distill_jax.study.groups import (
    datasets,
    is_distilled,
    is_gold_only,
    is_teacher,
    lambdas,
    rates,
    silver_sizes,
    sizes,
    teacher_title,
)
from distill_jax.study.models_table import NONE, Line, ModelsTable, Table, markdown_table, percent
from distill_jax.study.paper import display_name, paper_f1, paper_perfect
from distill_jax.study.results import COLUMNS, Row


class Part(NamedTuple):
    """A heading with what stands under it."""

    title: str
    level: int
    """2 for a size, 3 within it."""
    text: str
    table: Table
    size: str
    kind: Literal["models", "silver", "speed"]


def csv_text(rows: Sequence[Row]) -> str:
    """One line a model, F1 and the other figures as shares."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    return file.getvalue()


def introduction(rows: Sequence[Row]) -> str:
    """What the numbers are."""
    return (
        f"{measured_over(rows)}, which draw the "
        "subset and the models' randomness alike; models are chosen on the dev sentences given "
        f"alone. {losses_of(rows)}. Lines in italics are the "
        "numbers of Farina et al. 2023 (one subset of their own, T5-base, GloVe, τ = 10), where "
        "they report the data set."
    )


def measured_over(rows: Sequence[Row]) -> str:
    """What is measured, over which seeds."""
    seeds = sorted({row.seed for row in rows})
    return (
        f"Micro-F1 on the test split in percent, mean ± standard deviation over {len(seeds)} "
        f"seed{'s' if len(seeds) != 1 else ''} ({', '.join(map(str, seeds))})"
    )


def losses_of(rows: Sequence[Row]) -> str:
    """All losses of the models that were distilled."""
    losses = dict.fromkeys(loss_of(row) for row in rows if row.temperature is not None)
    return "; ".join(losses) or "No distillation"


def loss_of(row: Row) -> str:
    """τ and what it divides, a choice that the paper leaves open; and what silver sentences weigh."""
    divided = (
        "of the teacher's scores and the student's"
        if row.both_sides
        else "of the teacher's scores alone"
    )
    scaled = ", KL times τ²" if row.square_scale else ""
    weighting = row.confidence_weighting
    weighed = "" if weighting == "none" else f", silver sentences weighted by `{weighting}`"
    least = row.min_confidence
    cut = f", those below a confidence of {least:g} left out" if least else ""
    return f"τ = {row.temperature:g}, {divided}{scaled}{weighed}{cut}"


def parts(rows: Sequence[Row]) -> list[Part]:
    """All tables, those of one size together."""
    tables = []
    for size in sizes(rows):
        of_size = [row for row in rows if row.size == size]
        tables += [_full(of_size)] if size == "full" else _few_shot(of_size, size)
        tables.append(_speed(of_size, size))
    return tables


def markdown(rows: Sequence[Row]) -> str:
    """All tables as Markdown."""
    blocks = ["# Distillation study", introduction(rows)]
    for part in parts(rows):
        blocks.append(f"{'#' * part.level} {part.title}")
        blocks += [part.text] if part.text else []
        blocks.append(markdown_table(part.table))
    return "\n\n".join(blocks) + "\n"


def _few_shot(rows: Sequence[Row], size: str) -> list[Part]:
    gold, dev = size.split("/")
    silver, weights = silver_sizes(rows), lambdas(rows)
    largest = silver[-1]
    table = ModelsTable(rows)
    table.add(["BiLSTM, gold only"], is_gold_only, lambda name: paper_f1(name, size, "gold"))
    table.add([teacher_title(rows)], is_teacher, lambda name: paper_f1(name, size, "teacher"))
    if weights and largest != "0":
        table.add(
            [f"BiLSTM, distilled ({largest} silver, λ = {weights[-1]:g})"],
            is_distilled(largest, weights[-1]),
            lambda name: paper_f1(name, size, "distilled"),
        )
    table.add_other_students()
    title = f"{gold} gold and {dev} dev sentences"
    tables = [Part(title, 2, "", table.table([""]), size, "models")]
    if weights:
        ablation = _ablation(rows, size, silver, weights)
        tables.append(Part("Silver sentences and the KL term", 3, "", ablation, size, "silver"))
    return tables


def _ablation(rows: Sequence[Row], size: str, silver_of: list[str], weights: list[float]) -> Table:
    table = ModelsTable(rows)
    for silver in silver_of:
        for weight in dict.fromkeys([0.0, *weights] if silver == "0" else weights):
            note = " (gold only)" if silver == "0" and not weight else ""
            key = f"{silver} λ={weight:g}"
            table.add(
                [_silver_name(rows, silver), f"{weight:g}{note}"],
                is_distilled(silver, weight),
                functools.partial(paper_f1, size=size, model=key),
                paper_titles=[f"paper: {silver}", f"{weight:g}"],
            )
        if silver != "0" and len(weights) > 1:
            table.add_difference(
                [_silver_name(rows, silver), f"{weights[-1]:g} − {weights[0]:g}"],
                is_distilled(silver, weights[-1]),
                is_distilled(silver, weights[0]),
            )
    return table.table(["silver", "λ"])


def _full(rows: Sequence[Row]) -> Part:
    table = ModelsTable(rows, ("perfect", "f1"))
    for title, match, key in (
        ("BiLSTM, gold only", is_gold_only, "gold"),
        (teacher_title(rows), is_teacher, "teacher"),
    ):
        table.add(
            [title],
            match,
            functools.partial(paper_f1, size="full", model=key),
            perfect=functools.partial(paper_perfect, model=key),
        )
    for weight in lambdas(rows):
        title = f"BiLSTM, teacher's scores on gold, λ = {weight:g}"
        table.add([title], is_distilled("0", weight))
    table.add_other_students()
    return Part(
        "Full data: Perfect / F1",
        2,
        "All labelled sentences are gold here, so none are left as silver: a teacher can only add "
        "its scores for the gold sentences.",
        table.table([""]),
        "full",
        "models",
    )


def _speed(rows: Sequence[Row], size: str) -> Part:
    lines = []
    for dataset in datasets(rows):
        own = [row for row in rows if row.dataset == dataset]
        for name in dict.fromkeys(row.name for row in own):
            of_seeds = [row for row in own if row.name == name]
            timed = rates(of_seeds)
            parameters = statistics.fmean(row.parameters for row in of_seeds)
            rate = f"{statistics.fmean(timed):,.0f}" if timed else NONE
            f1 = percent([row.f1 for row in of_seeds])
            size_of = f"{parameters / 1e6:.2f}M"
            lines.append(Line([display_name(dataset), name, size_of, rate, f1]))
    return Part(
        f"Sizes and speeds ({size})",
        3,
        "Sentences a second of the test split, batch 32, compilation not counted; students share "
        "one architecture, and one of them was timed.",
        Table(["data set", "model", "parameters", "sentences/s", "F1"], lines, titles=2),
        size,
        "speed",
    )


def _silver_name(rows: Iterable[Row], silver: str) -> str:
    """`all` with the numbers of sentences it was."""
    if silver != ALL:
        return silver
    counts = sorted({row.silver_sentences for row in rows if row.silver == ALL})
    return f"all ({', '.join(f'{count:,}' for count in counts)})"
