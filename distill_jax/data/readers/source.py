"""Bytes to numbered lines, and what the parsers share."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, NoReturn

from distill_jax.data.readers.options import ReadOptions
from distill_jax.data.readers.report import ReadReport
from distill_jax.data.readers.tags import TagReader
from distill_jax.errors import UserError
from distill_jax.files import is_special
from distill_jax.tagging.sentence import Sentence

BLANK = " \t\r"
"""What is stripped from the ends of lines and columns; a no-break space is part of a word."""

Line = tuple[int, str]

_BINARY = {
    b"\x1f\x8b": "a gzip archive; unpack it first (gunzip)",
    b"PK\x03\x04": "a ZIP archive or an office document; unpack it, or export it as text",
    b"BZh": "a bzip2 archive; unpack it first (bunzip2)",
    b"\xfd7zXZ": "an xz archive; unpack it first (unxz)",
    b"\x28\xb5\x2f\xfd": "a zstd archive; unpack it first (unzstd)",
    b"%PDF": "a PDF; export its text",
    b"SQLite format 3": "an SQLite database; export a table of it as JSON lines",
    b"\xd0\xcf\x11\xe0": "an old office document; export it as text",
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Located(NamedTuple):
    """A sentence and the line it begins on; in a JSON document or a table its record, from 1.

    `identity` is what the record calls itself, its field `id`, where there is one.
    """

    line: int
    sentence: Sentence
    identity: str | int | None = None


@dataclass(frozen=True)
class Source:
    """The file that is read: its name for messages, what was said of it, what is learnt of it."""

    name: str
    options: ReadOptions
    report: ReadReport
    tags: TagReader
    is_stream: bool = False

    def fail(self, line: int, message: str) -> NoReturn:
        """Raises a `UserError` that names the file and the line."""
        raise UserError(f"{self.name}:{line}: {message}")


def open_source(path: str | os.PathLike[str], options: ReadOptions, report: ReadReport) -> Source:
    """The source of a path; `-` is standard input."""
    report.name = source_name(path)
    tags = TagReader(report.name, report, options.scheme)
    return Source(report.name, options, report, tags, is_stream(path))


def source_name(path: str | os.PathLike[str]) -> str:
    """What messages call a path."""
    return "<stdin>" if os.fspath(path) == "-" else os.fspath(path)


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether a path can be read once alone: standard input, or a pipe."""
    return os.fspath(path) == "-" or is_special(path)


def standard_input() -> BinaryIO:
    """The bytes of standard input.

    Python ends in a crash where a thread still waits in `sys.stdin` itself, hence a reader of its own.
    """
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except (OSError, ValueError):  # no file at all, but an object that stands for one
        return sys.stdin.buffer


def comes_bit_by_bit(path: str | os.PathLike[str]) -> bool:
    """Whether to wait for more of a path may take long: for a pipe or a terminal."""
    if os.fspath(path) != "-":
        return is_special(path)
    try:
        return not stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def numbered_lines(file: Iterable[bytes], source: Source) -> Iterator[Line]:
    """Numbered lines without their ends: line feed, carriage return or both, as editors count.

    U+2028 and its like end no line. Carriage returns before a line feed are all part of one line
    end, since a file that was converted twice has two.

    Raises:
        UserError: bytes that are not UTF-8 text; a file that cannot be read.
    """
    number = 0
    try:
        for raw in file:
            if number == 0:
                _check_text(raw, source.name)
            if b"\r" not in raw:
                number += 1
                yield number, _decoded(raw, number, source).removesuffix("\n")
                continue
            body = raw[:-1].rstrip(b"\r") if raw.endswith(b"\n") else raw
            parts = body.removesuffix(b"\r").split(b"\r")
            if len(parts) > 1:
                source.report.note("cr_line_ends", number + 1, len(parts))
            for part in parts:
                number += 1
                yield number, _decoded(part, number, source)
    except OSError as error:  # a directory opens on some systems, and only reading it fails
        raise UserError(f"{source.name}: cannot be read ({error.strerror}); give a file") from None


def _check_text(first: bytes, name: str) -> None:
    for magic, what in _BINARY.items():
        if first.startswith(magic):
            raise UserError(f"{name}:1: not UTF-8 text but {what}")
    if first.startswith(_UTF16):
        raise UserError(f"{name}:1: not UTF-8 text but UTF-16; save the file as UTF-8")


def _decoded(raw: bytes, number: int, source: Source) -> str:
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        source.fail(
            number,
            f"not UTF-8 text (byte {error.start + 1} of the line); save the file as UTF-8",
        )
    if line[:1] == "\ufeff":  # also where files that have one were joined
        source.report.note("byte_order_marks", number)
        line = line.lstrip("\ufeff")
    if "\0" in line:
        source.fail(
            number,
            f"not text: character {line.index(chr(0)) + 1} is NUL; save the file as UTF-8 "
            "(it may be UTF-16)",
        )
    return line


def is_blank(line: str) -> bool:
    """Whether a line holds nothing but white space of any kind."""
    return not line or line.isspace()
