"""A line on a terminal that is written over again and again."""

import shutil
from typing import TextIO

WIDTH = 100
"""No line for people is longer, but a command to be copied."""


def rewrite_line(terminal: TextIO, text: str) -> None:
    """Puts a text in place of the last line, cut to the terminal's width."""
    width = min(shutil.get_terminal_size().columns - 1, WIDTH)
    print(f"\r\x1b[K{text[:width]}", end="", file=terminal, flush=True)


def clear_line(terminal: TextIO) -> None:
    """Leaves an empty line in place of the last one."""
    print("\r\x1b[K", end="", file=terminal, flush=True)
