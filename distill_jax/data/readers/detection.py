"""Which format a file is in: from the suffix of its name, or else from its first lines.

Plain text is never what remains when nothing else fits: it is a `.txt` file whose first lines show no
tags, standard input, or asked for.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from distill_jax.data.readers.brackets import are_bracketed, is_starred
from distill_jax.data.readers.columns import DOCUMENT_STARTS, looks_like_comment, split_columns
from distill_jax.data.readers.markup import UNREAD, refuse_joined, refuse_markup
from distill_jax.data.readers.records import TEXT_FIELDS, WORD_FIELDS
from distill_jax.data.readers.source import BLANK, Line, is_blank
from distill_jax.data.readers.tags import is_tag_shaped
from distill_jax.errors import UserError

_COLUMN_NAMES = (
    "conll|conllu|conllup|conllx|iob|iob1|iob2|bio|bio2|bioes|iobes|bieos|bilou|bmes|bmeo|bmewo|ner|tagged"
    "|gold_conll|v4_gold_conll|auto_conll"
)
COLUMN_SUFFIXES = frozenset(f".{name}" for name in _COLUMN_NAMES.split("|"))
JSON_LINES_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")
TABLE_SUFFIXES = (".parquet", ".arrow", ".feather")
KNOWN_SUFFIXES = COLUMN_SUFFIXES | {
    *(".json", ".txt", ".text", ".tsv", ".csv"),
    *JSON_LINES_SUFFIXES,
    *TABLE_SUFFIXES,
    *UNREAD,
}
"""A name that ends with one of these is a file's."""
MOST_LINES = 256
MOST_LINES_OF_A_STREAM = 64
"""Detection looks no further; at a stream it waits for no more than it needs."""

_FEWEST_ROWS = 4
"""Of more rows, all of one width, a third with `O` or such are enough to call them columns."""

_CONLL2012_START = "#begin document"
_CAPITALS = re.compile(r"O|[A-Z][A-Z0-9_.-]*")


def detect(path: str | os.PathLike[str], peeked: Sequence[Line], *, is_stream: bool) -> str:
    """The format of a file whose first lines are these: one of `options.FORMATS`.

    Raises `UserError` naming the file, with what to do, if it is in none.
    """
    lines = [(number, line) for number, line in peeked if not is_blank(line)]
    suffix = Path(path).suffix.lower()
    if suffix in UNREAD:
        raise UserError(f"{path}: {suffix} files are not read: {UNREAD[suffix]}")
    if suffix in COLUMN_SUFFIXES:
        return _columns_family(lines)
    if suffix in (".json", *JSON_LINES_SUFFIXES):
        return _json_family(lines, suffix)
    if not lines:
        return "conll" if suffix == ".tsv" else "text"
    settled = _settled_by_first_line(lines[0][1])
    if settled == "jsonl" and len(lines) == 1 and _is_container(lines[0][1]):
        return "json"
    if settled is None:
        rows = [line for _, line in lines if not looks_like_comment(line)]
        rows = rows or [line for _, line in lines]  # nothing but words `#`, perhaps
        block = _first_sentence(peeked) or rows
        settled = _settled_by_rows(block, rows, is_ended=is_blank(peeked[-1][1]))
    refuse_markup(path, lines, is_prose=settled is None and not is_stream)
    if settled is None and suffix == ".tsv":
        return "conll"
    if settled == "unclear":
        raise UserError(
            f"{path}:{lines[0][0]}: may be columns with tags, or text; say "
            "which: --format conll or --format text"
        )
    if settled is not None:
        return settled if settled != "conll" else _columns_family(lines)
    if suffix == ".txt" or is_stream:
        refuse_joined(path, lines)
        _refuse_odd_blanks(path, lines)
        return "text"
    raise UserError(
        f"{path}:{lines[0][0]}: neither columns with tags nor JSON was recognised; for plain text, a "
        "sentence a line, name the file .txt or say --format text; else name the --format"
    )


def _refuse_odd_blanks(path: str | os.PathLike[str], lines: Sequence[Line]) -> None:
    """Refuses what looks like columns but for the blanks between them: it is no plain text."""
    odd = [line.split() for _, line in lines if len(line.split(" ")) == 1]
    if len(odd) > 1 and len(odd) == len(lines) and 2 * sum(map(_may_be_row, odd)) >= len(odd):
        raise UserError(
            f"{path}:{lines[0][0]}: looks like columns parted by no-break or other unusual spaces "
            f"({lines[0][1]!r}); write tabs or blanks, or say --format text if it is text"
        )


def needs_more(block: Sequence[str]) -> bool:
    """Whether a stream must be read on to tell its format, after these lines that are not blank."""
    if len(block) == 1:
        first = block[0].strip(BLANK)
        if looks_like_comment(first) or first.startswith(DOCUMENT_STARTS):
            return True
        if _settled_by_first_line(first) is not None:
            return False
        columns = first.split("\t") if "\t" in first else first.split(" ")
        if len(columns) == 1 or (
            "\t" not in first and not (_may_be_row(columns) or is_starred(columns[-1]))
        ):
            return False  # plain text
        if _settled_by_rows(block, block, is_ended=False) == "tsv":
            return False
    return len(block) < MOST_LINES_OF_A_STREAM


def _may_be_row(columns: Sequence[str]) -> bool:
    """Whether the last column, or the first of two, is a tag."""
    if len(columns) < 2:
        return False
    return is_tag_shaped(columns[-1]) or (len(columns) == 2 and is_tag_shaped(columns[0]))


def _first_sentence(peeked: Sequence[Line]) -> list[str]:
    """The first rows up to a blank line, without comments."""
    block: list[str] = []
    for _, line in peeked:
        if is_blank(line):
            if block:
                break
        elif block or not looks_like_comment(line):
            block.append(line)
    return block


def _settled_by_first_line(line: str) -> str | None:
    text = line.strip(BLANK)
    if text.startswith(("{", "[")):
        return _kind_of_json(text)
    if text.startswith((*DOCUMENT_STARTS, _CONLL2012_START)):
        return "conll"
    return None


def _settled_by_rows(block: Sequence[str], rows: Sequence[str], *, is_ended: bool) -> str | None:
    """`tsv` or `conll` if that is what the rows look like, else None.

    Args:
        block: the rows of the first sentence, if it is one.
        rows: all of them.
        is_ended: whether a blank line follows.
    """
    if block and "\t" in block[0].strip(BLANK):
        if all(map(_is_tagged_text, rows)) and any(" " in row.split("\t")[0] for row in rows):
            return "tsv"
        first = [cell.strip(BLANK) for cell in block[0].split("\t")]
        if len(first) == 2 and " " in first[0]:
            return "tsv" if all(map(is_tag_shaped, first[1].split())) else None
        # Tabs hardly ever occur in prose: a tag that is malformed should be named, not hidden.
        return None if any(" " in cell for cell in first) else "conll"
    return _settled_by_last_column(block, rows, is_ended)


def _settled_by_last_column(
    block: Sequence[str], rows: Sequence[str], is_ended: bool
) -> str | None:
    """`conll` if rows parted by blanks are columns, `unclear` if they may be text too, else None."""
    split = [split_columns(row, False) for row in block]
    everything = [split_columns(row, False) for row in rows]
    if len(split) == 1 and _are_even(everything):
        split = everything  # a sentence of one word: those after it tell more, if they are columns
    last = [row[-1] for row in split]
    if _are_even(split) and len(split) > 1 and are_bracketed(last) and any(map(is_starred, last)):
        return "conll"
    tagged = sum(map(_may_be_row, split))
    if len(split) == 1:  # "is that an O" is prose, and so is "vitamin B-12" if nothing follows it
        return "conll" if tagged and len(split[0]) == 2 and is_ended else None
    if tagged == len(split) or not _are_even(split):
        return "conll" if 2 * tagged > len(split) else None
    of_all = sum(map(_may_be_row, everything))
    if len(everything) > _FEWEST_ROWS and _are_even(everything) and 3 * of_all >= len(everything):
        return "conll"  # tags without prefix, or a tag that is malformed, which should be named
    has_outside = any(row[-1] == "O" for row in split)
    if 2 * tagged >= len(split) or (
        has_outside and (3 * tagged >= len(split) or _in_capitals(split))
    ):
        return "unclear"
    return None


def _are_even(rows: Sequence[Sequence[str]]) -> bool:
    """Whether all rows have as many columns, and more than one."""
    return bool(rows) and all(len(row) == len(rows[0]) > 1 for row in rows)


def _in_capitals(rows: Sequence[Sequence[str]]) -> bool:
    return all(_CAPITALS.fullmatch(row[-1]) for row in rows)


def _is_tagged_text(row: str) -> bool:
    """Whether a row is words, a tab, and as many tags."""
    words, tab, tags = row.partition("\t")
    return bool(tab) and "\t" not in tags and len(words.split()) == len(tags.split()) > 0


def _columns_family(lines: Sequence[Line]) -> str:
    first = next((line for _, line in lines), "")
    if lines and all(_is_tagged_text(line) and line.startswith("BOS ") for _, line in lines):
        return "tsv"  # ATIS, named .iob
    if first.startswith(_CONLL2012_START):
        return "conll2012"
    rows = [line.split("\t") for _, line in lines if not looks_like_comment(line)]
    has_ten = bool(rows) and all(len(row) == 10 for row in rows)
    return "conllu" if has_ten or first.startswith("# global.columns") else "conll"


# ---- JSON --------------------------------------------------------------------------------------


def _json_family(lines: Sequence[Line], suffix: str) -> str:
    """JSON lines or one JSON document, for a file whose name says that it is JSON."""
    first = lines[0][1].strip(BLANK) if lines else ""
    if suffix == ".json":
        return "jsonl" if _is_complete_object(first) and len(lines) > 1 else "json"
    return "json" if re.match(r"\[\s*(\{|$)", first) or first == "{" else "jsonl"


def _kind_of_json(text: str) -> str | None:
    """What a first line that begins like JSON begins; None if it is not JSON at all."""
    if _is_complete_object(text) or text.startswith('{"'):
        return "jsonl"
    if re.fullmatch(r"\{|\[\s*\{?", text) or re.match(r'\[\s*(\{\s*"|\{\s*$|\[\s*")', text):
        return "json"
    return None


def _is_container(text: str) -> bool:
    """Whether a line is an object that is no record, but may hold some."""
    if not _is_complete_object(text):
        return False
    value = json.loads(text)
    return isinstance(value.get("data"), list) or not (
        value.keys() & {*WORD_FIELDS, *TEXT_FIELDS, "data"}
    )


def _is_complete_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
