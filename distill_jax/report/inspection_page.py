"""What `distill-jax inspect --html` writes: files beside each other, and all that deserves a look."""

from collections import Counter

from distill_jax.data.inspection import Inspection
from distill_jax.data.readers.report import LEFT_OUT
from distill_jax.report.inspection import FIT_ROWS, ROWS, scheme_of, short_names
from distill_jax.report.page import Section, Tile, page
from distill_jax.report.table import Column, Table


def inspection_page(inspection: Inspection) -> str:
    """The page: counts, labels, remarks with their lines, and what files share."""
    sources = inspection.sources
    names = short_names([source.name for source in sources])
    sections = [
        Section("files", "Files", [_counts(inspection, names)]),
        Section("read", "What was read", [_layouts(inspection)]),
    ]
    if any(source.labels for source in sources):
        sections.append(Section("labels", "Labels", [_labels(inspection, names)]))
    if any(source.remarks for source in sources):
        sections.append(Section("remarks", "Repaired, lost and left out", [_remarks(inspection)]))
    if inspection.overlaps:
        sections.append(Section("shared", "Sentences in two files", [_overlaps(inspection)]))
    if any(source.fit is not None and source.fit.unspelt_words for source in sources):
        sections.append(
            Section("unspelt", "Words that the vocabulary cannot spell", [_unspelt(inspection)])
        )
    repaired = sum(
        remark.count for source in sources for remark in source.remarks if remark.kind != LEFT_OUT
    )
    tiles = [
        Tile("sentences", f"{sum(source.sentences for source in sources):,}"),
        Tile("words", f"{sum(source.words for source in sources):,}"),
        Tile("labels", f"{len(_spans(inspection)):,}"),
        Tile("repairs", f"{repaired:,}", "lossy ones included"),
    ]
    return page("Data", f"{', '.join(source.name for source in sources)}.", tiles, sections)


def _counts(inspection: Inspection, names: list[str]) -> Table:
    sources = inspection.sources
    rows = ROWS + (FIT_ROWS if sources[0].fit is not None else ())
    shown = [[name.strip(), *(value(source) for source in sources)] for name, value in rows]
    columns = [Column("", "text"), *(Column(name, "text") for name in names)]
    return Table("Counts", columns, [row for row in shown if any(row[1:])])


def _layouts(inspection: Inspection) -> Table:
    rows = [
        [source.name, source.format or "", source.layout, scheme_of(source)]
        for source in inspection.sources
    ]
    columns = [
        Column("file", "code"),
        Column("format", "text"),
        Column("read", "text"),
        Column("scheme", "text"),
    ]
    return Table("Formats", columns, rows)


def _spans(inspection: Inspection) -> Counter[str]:
    """How many spans each label has in all files."""
    spans: Counter[str] = Counter()
    for source in inspection.sources:
        spans.update(source.labels)
    return spans


def _labels(inspection: Inspection, names: list[str]) -> Table:
    alone = inspection.labels_in_one_source
    has_alone = bool(alone)
    rows = [
        [
            label,
            *(f"{source.labels[label]:,}" for source in inspection.sources),
            *([alone.get(label, "")] if has_alone else []),
        ]
        for label, _ in _spans(inspection).most_common()
    ]
    columns = [Column("label", "code"), *map(Column, names)]
    return Table(
        "Spans", columns + ([Column("in one file alone", "note")] if has_alone else []), rows
    )


def _remarks(inspection: Inspection) -> Table:
    rows = [
        [
            source.name,
            remark.kind.replace("_", " "),
            f"{remark.count:,}",
            remark.text,
            ", ".join(map(str, remark.lines)) + (" …" if remark.count > len(remark.lines) else ""),
        ]
        for source in inspection.sources
        for remark in source.remarks
    ]
    columns = [
        Column("file", "code"),
        Column("kind", "text"),
        Column("count"),
        Column("what", "text"),
        Column("first lines", "note"),
    ]
    return Table("Remarks", columns, rows)


def _overlaps(inspection: Inspection) -> Table:
    rows = [
        [overlap.second, overlap.first, f"{overlap.sentences:,}"] for overlap in inspection.overlaps
    ]
    columns = [Column("sentences of", "code"), Column("are in", "code"), Column("sentences")]
    return Table("Distinct sentences whose words are the same", columns, rows)


def _unspelt(inspection: Inspection) -> Table:
    rows = [
        [source.name, word, f"{count:,}"]
        for source in inspection.sources
        if source.fit is not None
        for word, count in source.fit.unspelt_words.most_common(20)
    ]
    return Table(
        "The most frequent", [Column("file", "code"), Column("word", "code"), Column("times")], rows
    )
