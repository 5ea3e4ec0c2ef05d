"""What `distill-jax inspect` prints for people."""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from distill_jax.data.inspection import Inspection, SourceInspection
from distill_jax.data.readers.report import LEFT_OUT

ROWS: tuple[tuple[str, Callable[[SourceInspection], str]], ...] = (
    ("format", lambda source: source.format or "–"),
    ("scheme", lambda source: scheme_of(source)),
    ("sentences", lambda source: f"{source.sentences:,}"),
    ("  without words", lambda source: _some(source.empty)),
    ("  without tags", lambda source: _some(source.sentences - source.tagged)),
    ("  that occur before", lambda source: _some(source.duplicates)),
    ("words", lambda source: f"{source.words:,}"),
    ("labels", lambda source: f"{len(source.labels):,}"),
    ("longest sentence", lambda source: _longest_sentence(source)),
    ("longest word", lambda source: _longest_word(source)),
)
FIT_ROWS: tuple[tuple[str, Callable[[SourceInspection], str]], ...] = (
    ("sentences in windows", lambda source: _some(source.fit.windows if source.fit else 0)),
    ("words over the limit", lambda source: _some(source.fit.too_long if source.fit else 0)),
    ("words it cannot spell", lambda source: _unspelt(source)),
)


def scheme_of(source: SourceInspection) -> str:
    """The scheme of its tags; a task of code has tags that were read from no file, and no scheme."""
    return source.scheme or ("–" if source.tagged else "no tags")


def print_inspection(inspection: Inspection, console: Console | None = None) -> None:
    """A column a source; labels with their counts; then all that a person should look at."""
    console = console or Console()
    sources = inspection.sources
    names = [escape(name) for name in short_names([source.name for source in sources])]
    table = Table("", *names, box=box.SIMPLE, pad_edge=False)
    rows = ROWS + (FIT_ROWS if sources[0].fit is not None else ())
    for name, value in rows:
        shown = [value(source) for source in sources]
        if any(shown):
            table.add_row(name, *map(escape, shown))
    console.print(table)
    labels = sorted(
        set().union(*(source.labels for source in sources)),
        key=lambda label: (-sum(source.labels[label] for source in sources), label),
    )
    if labels:
        table = Table("label", *names, box=box.SIMPLE, pad_edge=False)
        for label in labels:
            table.add_row(escape(label), *(f"{source.labels[label]:,}" for source in sources))
        console.print(table)
    for line in remarks(inspection):
        console.print(escape(line), soft_wrap=True, highlight=False)


def remarks(inspection: Inspection) -> list[str]:
    """What was read from where, mended, left out or lost, and what sources share, a line each."""
    lines: list[str] = []
    for source in inspection.sources:
        if source.layout:
            lines.append(f"{source.name}: read: {source.layout}")
        for remark in source.remarks:
            kind = "left out" if remark.kind == LEFT_OUT else remark.kind
            lines.append(f"{source.name}: {kind}: {remark}")
        if source.fit is not None and source.fit.unspelt_words:
            examples = ", ".join(word for word, _ in source.fit.unspelt_words.most_common(5))
            lines.append(f"{source.name}: cannot be spelt: {examples}")
    for overlap in inspection.overlaps:
        lines.append(
            f"{overlap.sentences:,} sentences of {overlap.second} are in {overlap.first} as well"
        )
    for name in dict.fromkeys(inspection.labels_in_one_source.values()):
        alone = [label for label, of in inspection.labels_in_one_source.items() if of == name]
        lines.append(f"labels in {name} alone: {', '.join(alone)}")
    return lines


def short_names(names: Sequence[str]) -> list[str]:
    """The names without the folders that lead to them, as long as they differ."""
    last = [name.rpartition("/")[2] for name in names]
    return last if len(set(last)) == len(names) else list(names)


def _some(count: int) -> str:
    return f"{count:,}" if count else ""


def _longest_sentence(source: SourceInspection) -> str:
    longest = source.longest_sentence
    return f"{longest.length:,} words (line {longest.line:,})" if longest.length else ""


def _longest_word(source: SourceInspection) -> str:
    longest = source.longest_word
    if not longest.length:
        return ""
    return f"{longest.length:,} characters (line {longest.line:,}): {longest.text[:30]}"


def _unspelt(source: SourceInspection) -> str:
    if source.fit is None or not source.fit.unspelt:
        return ""
    return f"{source.fit.unspelt:,} ({len(source.fit.unspelt_words):,} different)"
