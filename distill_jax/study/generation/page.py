"""The page of a generation study: its tables and figures, samples with their tags, its settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from distill_jax.report.blocks import Fold, Paragraph, Subheading
from distill_jax.report.figure import figure
from distill_jax.report.page import Section, page
from distill_jax.report.rendering import Block
from distill_jax.report.sentences import Example, Reading, sentence_list
from distill_jax.study.comparison import Comparison
from distill_jax.study.generation.facts import PoolFacts, ShownSample
from distill_jax.study.generation.tables import Facts, generation_introduction, generation_parts
from distill_jax.study.page import compared_sections, report_table, settings_sections, tiles
from distill_jax.study.paper import display_name
from distill_jax.study.results import Row

_CAPTION = (
    "F1 against the sentences of a pool; points are means over seeds, bars standard deviations."
)


def generation_page(
    rows: Sequence[Row],
    facts: Facts,
    figures: Mapping[str, str],
    settings: Mapping[str, Any],
    comparisons: Mapping[str, Comparison],
) -> str:
    """The page; a section that there is nothing for is left out.

    Args:
        rows: the lines of `results.csv`.
        facts: of the pools.
        figures: the SVG files, by their names without suffix (`pools_100_50`).
        settings: JSON, as `settings.json` holds it.
        comparisons: of a teacher and its best student, by what each is called.
    """
    sections: list[Section] = []
    parts = generation_parts(rows, facts)
    for size in dict.fromkeys(part.size for part in parts):
        of_size = [part for part in parts if part.size == size]
        name = f"pools_{size.replace('/', '_')}"
        content: list[Block] = []
        if name in figures:
            title = f"{_CAPTION} The table below has the numbers."
            content.append(figure(figures[name], name=name, title=title, caption=_CAPTION))
        for part in of_size:
            content += [Subheading(part.title)] if part.level > 2 else []
            content += [Paragraph(part.text)] if part.text else []
            content.append(report_table(part.table, part.title))
        sections.append(Section(name.replace("_", "-"), of_size[0].title, content))
    if samples := _samples(facts):
        sections.append(Section("samples", "Samples", samples))
    sections += compared_sections(comparisons) + settings_sections(settings)
    return page("Generation study", generation_introduction(rows), tiles(rows), sections)


def _samples(facts: Facts) -> list[Block]:
    """Of each data set and size those of the first seed, folded."""
    blocks: list[Block] = []
    seen = set()
    for cell, pools in facts.items():
        name = f"{display_name(cell.dataset)}, {cell.size}"
        if name not in seen:
            seen.add(name)
            blocks += [
                Fold(f"{name}: {pool.generator}", [_list(pool)]) for pool in pools if pool.samples
            ]
    if blocks:
        text = (
            "Sentences of the first seed's pools with the teacher's tags, and with the tags that they were "
            "made with where they have some; of these, spans that the teacher does not see are marked. Above "
            "each stands whether it was accepted, or which filter rejected it."
        )
        blocks.insert(0, Paragraph(text))
    return blocks


def _list(pool: PoolFacts) -> Block:
    return sentence_list([_example(sample) for sample in pool.samples], pool.labels)


def _example(sample: ShownSample) -> Example:
    readings = [Reading("teacher", sample.teacher)]
    if sample.own is not None:
        readings.append(Reading("own tags", sample.own))
    about = "accepted" if sample.rejected is None else f"rejected: {sample.rejected}"
    return Example(sample.words, readings, about)
