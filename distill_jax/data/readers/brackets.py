"""Entities in brackets: `(PERSON*`, `*`, `*)`, `(GPE)`; the column of any file, and CoNLL-2012 as a whole."""

import itertools
import re
from collections.abc import Iterator, Sequence

from distill_jax.data.readers.source import BLANK, Line, Located, Source, is_blank
from distill_jax.tagging.sentence import Sentence

_WORD, _ENTITY, _FEWEST = 3, 10, 12
_BRACKETS = re.compile(r"(?:\(([^()*\s]+))?\*?(\))?")
_STARRED = re.compile(r"\*\)?|\([^()*\s]+\*\)?")
_BLANKS = re.compile(r"[ \t]+")


def is_starred(cell: str) -> bool:
    """Whether a cell has the asterisk of a bracketed column: `(X*`, `*`, `*)`, `(X*)`."""
    return _STARRED.fullmatch(cell) is not None


def are_bracketed(cells: Sequence[str]) -> bool:
    """Whether cells are of a bracketed column: each as `is_starred`, or `(X)`."""
    return all(cell and _BRACKETS.fullmatch(cell) and cell != ")" for cell in cells)


def tags_from_brackets(cells: Sequence[str], lines: Sequence[int], source: Source) -> list[str]:
    """The IOB2 tags of a sentence whose entities are in brackets.

    Raises `UserError` naming the line for brackets that are nested or not closed.
    """
    tags: list[str] = []
    inside: str | None = None
    for cell, line in zip(cells, lines, strict=True):
        brackets = _BRACKETS.fullmatch(cell)
        opened, closed = (brackets[1], brackets[2]) if brackets else (None, None)
        if brackets is None or (opened and inside) or (closed and not (opened or inside)):
            source.fail(
                line,
                f"entity {cell!r}: expected '*', '(LABEL*', '*)' or '(LABEL)', not nested"
                "; correct the column",
            )
        tags.append(f"B-{opened}" if opened else f"I-{inside}" if inside else "O")
        # `(LABEL` without an asterisk is left open, and refused for it.
        inside = None if closed else opened or inside
    if inside is not None:
        source.fail(lines[0], f"the entity {inside!r} of this sentence is not closed; add ')'")
    return tags


def read_conll2012(lines: Iterator[Line], source: Source) -> Iterator[Located]:
    """The sentences of OntoNotes' files (CoNLL-2012): word in column 4, entities in brackets in 11."""
    source.report.layout = "word in column 4, named entities in column 11, in brackets"
    rows: list[tuple[int, list[str]]] = []
    for number, line in itertools.chain(lines, [(0, "")]):
        text = line.strip(BLANK)
        if is_blank(text) or text.startswith("#"):
            if text.startswith("#"):
                source.report.note("document_marks", number)
            if rows:
                yield _conll2012_sentence(rows, source)
                rows = []
            continue
        columns = _BLANKS.split(text)
        if len(columns) < _FEWEST:
            source.fail(
                number,
                f"{len(columns)} columns, and CoNLL-2012 has at least {_FEWEST}; correct the line or "
                "name another --format",
            )
        rows.append((number, columns))


def _conll2012_sentence(rows: Sequence[tuple[int, list[str]]], source: Source) -> Located:
    numbers = [number for number, _ in rows]
    words = tuple(columns[_WORD] for _, columns in rows)
    tags = tags_from_brackets([columns[_ENTITY] for _, columns in rows], numbers, source)
    return Located(numbers[0], Sentence(words, source.tags.read(words, tags, numbers)))
