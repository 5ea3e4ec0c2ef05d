"""What commands write: files that appear whole or not at all, and progress."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from distill_jax.data.locations import check_local
from distill_jax.errors import UserError
from distill_jax.files import atomic_write, is_special


def check_local_options(options: argparse.Namespace, *names: str) -> None:
    """Refuses an address (`gs://…`) where these options take a path, or several."""
    for name in names:
        given = getattr(options, name)
        for path in given if isinstance(given, list) else [given]:
            check_local(path, f"--{name}")


def check_output_options(
    options: argparse.Namespace, *names: str, inputs: Sequence[str] = ()
) -> None:
    """Refuses, before the work is done, outputs that cannot be files, or are one another or an input."""
    files: dict[str, str] = {}
    for name in (*inputs, *names):
        given = getattr(options, name)
        for path in given if isinstance(given, list) else [given]:
            if path is None or path == "-" or is_special(path):
                continue
            if name in names:
                check_file(path)
            other = files.setdefault(os.path.realpath(path), name)
            if other != name:
                raise UserError(f"--{name} {path}: is the file of --{other}; name another one")


def check_file(path: str | os.PathLike[str]) -> None:
    """Refuses what cannot be a file before the work is done that would be written to it."""
    if Path(path).is_dir():
        raise UserError(f"{path}: is a directory; name the file to write")
    folder = next(parent for parent in Path(path).absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"{path}: {folder} is not a directory that may be written to")


@contextlib.contextmanager
def text_output(path: str) -> Iterator[TextIO]:
    """A file that is there when the block has succeeded; `-` is standard output."""
    if path == "-":
        yield sys.stdout
        return
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file


@contextlib.contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Any]:
    """A bar on standard error where that is a terminal, a count without a total; yields what advances it."""
    if not sys.stderr.isatty():  # rich takes a tenth of the time in which one sentence is tagged
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    # How many lines a file or a pipe will have, nobody knows before they are read.
    counted = (
        [TextColumn("{task.completed:,} sentences")]
        if total is None
        else [BarColumn(), MofNCompleteColumn()]
    )
    with Progress(
        "{task.description}",
        *counted,
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
