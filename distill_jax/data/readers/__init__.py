"""Reading sentences from files of many formats, as a stream, and writing CoNLL columns.

`docs/data.md` is the table of formats: how each is recognised, what is read, what is refused. Tags
come out as IOB2 whatever scheme they are in; an illegal sequence is read as conlleval reads it. A
blank line of JSON lines, `text<TAB>tags` or plain text gives a sentence without words, so that what
is predicted for a file stays aligned with its lines.

Every malformed line is a `UserError` `file:line: what is wrong; what to do`. What is mended, left out
or lost is counted in a `ReadReport`.

| module | holds |
|---|---|
| `source` | bytes to lines |
| `detection` | which format |
| `markup` | annotation that is not read, and is no plain text |
| `layouts`, `headers`, `wordlike`, `columns` | CoNLL and its relatives: which columns, and the sentences |
| `brackets`, `misc` | entities in brackets; the column MISC |
| `json_text`, `records`, `exports`, `character_spans` | JSON: records, fields, tools' exports, spans |
| `tables` | Parquet and Arrow, through `datasets` |
| `text`, `pairs` | plain text, `text<TAB>tags`; `seq.in` with `seq.out` |
| `tags` | a file's tags as IOB2, and its scheme |
| `options`, `report` | what the user says of a file, and what is learnt of it |
"""

import contextlib
import contextvars
import functools
import itertools
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from distill_jax.data.readers import detection
from distill_jax.data.readers.brackets import read_conll2012
from distill_jax.data.readers.columns import DOCUMENT_STARTS, read_columns
from distill_jax.data.readers.json_text import read_json_document, read_json_lines
from distill_jax.data.readers.options import (
    FORMATS,
    ReadOptions,
    load_label_names,
    parse_columns,
)
from distill_jax.data.readers.pairs import paired_lines, tags_beside
from distill_jax.data.readers.report import LOSS, ReadReport, Remark
from distill_jax.data.readers.source import (
    BLANK,
    Line,
    Located,
    Source,
    comes_bit_by_bit,
    is_blank,
    is_stream,
    numbered_lines,
    open_source,
    source_name,
    standard_input,
)
from distill_jax.data.readers.tables import is_table, read_table, split_path, splits_of
from distill_jax.data.readers.text import read_text, read_tsv
from distill_jax.errors import UserError
from distill_jax.files import atomic_write
from distill_jax.tagging.sentence import Sentence

__all__ = [
    "FORMATS",
    "Located",
    "ReadOptions",
    "ReadReport",
    "Remark",
    "collected_reports",
    "comes_bit_by_bit",
    "is_stream",
    "is_table",
    "load_label_names",
    "parse_columns",
    "read_located",
    "read_sentences",
    "source_name",
    "split_path",
    "splits_of",
    "write_conll",
]

_logger = logging.getLogger(__name__)
_collected: contextvars.ContextVar[list[ReadReport] | None] = contextvars.ContextVar(
    "collected", default=None
)


def read_sentences(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    options: ReadOptions | None = None,
    report: ReadReport | None = None,
) -> Iterator[Sentence]:
    """The sentences of a file, one at a time; tags (IOB2) are None where the file has none.

    Args:
      path: a file, UTF-8 (a byte order mark is skipped), `-` for standard input, or a folder or
        file of the `datasets` library.
      format: one of `FORMATS`, as in `options`; None recognises it.
      options: what the user says of the file.
      report: is filled while the sentences are read. Without one, what was lost in reading (spans
        that cut words, …) is logged as a warning at the end.

    Raises:
      UserError: on the call for an unknown format or a file that cannot be opened; while iterating
        for a malformed line, naming file and line.
    """
    options = options or ReadOptions()
    if format is not None:
        options = replace(options, format=format)
    return (located.sentence for located in read_located(path, options=options, report=report))


def read_located(
    path: str | os.PathLike[str],
    *,
    options: ReadOptions | None = None,
    report: ReadReport | None = None,
) -> Iterator[Located]:
    """As `read_sentences`, each sentence with the line it begins on."""
    options = options or ReadOptions()
    collected = _collected.get()
    is_reported = report is not None or collected is not None
    report = report or ReadReport()
    if collected is not None:
        collected.append(report)
    source = open_source(path, options, report)
    if os.fspath(path) == "-":
        located = _read(standard_input(), source)
    elif options.format in (None, "datasets") and is_table(path):
        report.format = "datasets"
        located = read_table(path, source)
    else:
        tags = tags_beside(path) if options.format in (None, "tsv") else None
        try:
            file = open(path, "rb")  # noqa: SIM115 (closed by the generator that reads it)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}); give an existing file or '-'"
            ) from None
        located = _read_and_close(file, source, tags)
    return _counted(located, source, is_reported)


@contextlib.contextmanager
def collected_reports() -> Iterator[list[ReadReport]]:
    """The reports of all files that are read within the block, by whatever reads them.

    Nothing is logged about those files.
    """
    reports: list[ReadReport] = []
    token = _collected.set(reports)
    try:
        yield reports
    finally:
        _collected.reset(token)


def _counted(located: Iterator[Located], source: Source, is_reported: bool) -> Iterator[Located]:
    report = source.report
    for one in located:
        report.sentences += 1
        report.words += len(one.sentence.words)
        report.empty += not one.sentence.words
        yield one
    source.tags.finish()
    losses = list(report.of_kind(LOSS))
    if losses and not is_reported:
        _warn_once(f"{report.name}: {'; '.join(map(str, losses))}")


@functools.lru_cache(maxsize=1024)
def _warn_once(message: str) -> None:
    _logger.warning("%s; see distill-jax inspect", message)


def _read_and_close(file: Any, source: Source, tags: Path | None) -> Iterator[Located]:
    if tags is not None:
        source.report.format = "tsv"
        with file, tags.open("rb") as of_tags:
            yield from read_tsv(paired_lines(file, of_tags, source), source)
        return
    with file:
        yield from _read(file, source)


def _read(file: Iterable[bytes], source: Source) -> Iterator[Located]:
    lines = numbered_lines(file, source)
    peeked = _peek(lines, source)
    lines = itertools.chain(peeked, lines)
    format = source.options.format or detection.detect(
        source.name, peeked, is_stream=source.is_stream
    )
    source.report.format = format
    if format in ("conll", "conllu"):
        return read_columns(peeked, lines, source)
    if format == "datasets":
        raise UserError(
            f"{source.name}: no folder that `datasets` saved, nor a .parquet or .arrow file; name "
            "another --format"
        )
    return _PARSERS[format](lines, source)


def _peek(lines: Iterator[Line], source: Source) -> list[Line]:
    """The first lines: many of a file, of a stream no more than tell its format and columns."""
    if not source.is_stream:
        return list(itertools.islice(lines, detection.MOST_LINES))
    peeked: list[Line] = []
    block: list[str] = []
    format = source.options.format
    if format not in (None, "conll", "conllu"):
        return peeked
    for number, line in lines:
        peeked.append((number, line))
        if not is_blank(line):
            block.append(line)
            if not (format or detection.needs_more(block)):
                break
        elif any(not detection.looks_like_comment(row) for row in block):
            break
    return peeked


_PARSERS = {
    "conll2012": read_conll2012,
    "jsonl": read_json_lines,
    "json": read_json_document,
    "tsv": read_tsv,
    "text": read_text,
}


def write_conll(path: str | os.PathLike[str], sentences: Iterable[Sentence]) -> None:
    """Writes `word<TAB>tag` lines with a blank line after each sentence, aside and then renamed.

    Raises `UserError`, naming the sentence, for what the format cannot hold: no tags, no words, or
    a word that is empty, has blanks at its ends, or contains a tab, NUL or the end of a line.
    """
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as f:
        for number, sentence in enumerate(sentences, 1):
            if not sentence.words or sentence.tags is None:
                lacking = "tags" if sentence.words else "words"
                raise UserError(
                    f"{path}: sentence {number} has no {lacking}, and CoNLL columns need them; "
                    "write JSONL instead"
                )
            for word, tag in zip(sentence.words, sentence.tags, strict=True):
                if not _fits_a_column(word):
                    raise UserError(
                        f"{path}: sentence {number}: CoNLL columns cannot hold the word {word!r}; "
                        "write JSONL instead"
                    )
                f.write(f"{word}\t{tag}\n")
            f.write("\n")


def _fits_a_column(word: str) -> bool:
    unsafe = not word or word != word.strip(BLANK) or any(c in word for c in "\t\n\r\0")
    return not (unsafe or word.startswith((*DOCUMENT_STARTS, "\ufeff")) or _has_surrogate(word))


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
