"""A screen of short lines for a job of many steps: what stays, and the last line of what is going on."""

import contextlib
import io
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from distill_jax.terminal import WIDTH, clear_line, rewrite_line


class Screen:
    """Lines of at most 100 characters on standard output.

    While a step works, what it and the libraries it uses write to standard error goes to a file, and its last
    line is shown where standard error is a terminal.
    """

    def say(self, text: str) -> None:
        """A line that stays; a longer one goes on in the next, indented."""
        lines = textwrap.wrap(
            text,
            WIDTH,
            subsequent_indent="  ",
            drop_whitespace=False,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines or [""]:
            print(line.rstrip(), flush=True)

    def command(self, what: str, command: str) -> None:
        """A command to be copied, in one piece however long it is."""
        print(f"{what}: {command}", flush=True)

    @contextlib.contextmanager
    def working(self, what: str, log: Path) -> Iterator[None]:
        """A step: see the class."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(log.open("a", encoding="utf-8"))
            print(f"== {what}", file=file, flush=True)
            shown = _LastLine(file, stack.enter_context(_moved_stderr(file)), what)
            stack.callback(shown.clear)
            stack.enter_context(contextlib.redirect_stderr(shown))
            yield


@contextlib.contextmanager
def _moved_stderr(file: TextIO) -> Iterator[TextIO | None]:
    """Lets what libraries in C++ write to standard error go to a file; yields the terminal, if it was one."""
    sys.stderr.flush()
    before = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        with os.fdopen(os.dup(before), "w") as terminal:
            yield terminal if terminal.isatty() else None
    finally:
        os.dup2(before, 2)
        os.close(before)


class _LastLine(io.TextIOBase):
    """Writes to a file, and keeps the last line of it on a terminal."""

    def __init__(self, file: TextIO, terminal: TextIO | None, what: str) -> None:
        self._file, self._terminal, self._what = file, terminal, what
        self._show("")

    def write(self, text: str, /) -> int:
        self._file.write(text)
        self._file.flush()
        if line := text.strip():
            self._show(line.splitlines()[-1])
        return len(text)

    def clear(self) -> None:
        """Leaves an empty line on the terminal."""
        if self._terminal is not None:
            clear_line(self._terminal)

    def _show(self, line: str) -> None:
        if self._terminal is not None:
            rewrite_line(self._terminal, f"{self._what}  {line}")
