"""What a command names and is certainly not there: said before anything heavy is imported."""

import os
from collections.abc import Iterable
from pathlib import Path

from distill_jax.errors import UserError


def check_inputs(paths: Iterable[str | None]) -> None:
    """Refuses files of sentences that are not there; `-` is standard input, None an option not given."""
    from distill_jax.data.readers.tables import is_table

    for path in paths:
        if path is None or path == "-" or os.path.lexists(path) or is_table(path):
            continue
        raise UserError(
            f"{path}: cannot be read (No such file or directory); give an existing file or '-'"
        )


def check_tasks(
    names: Iterable[str], data_dir: str | None, modules: Iterable[str] | None = None
) -> None:
    """Refuses tasks that this package does not have; `modules` of a user's may have any."""
    from distill_jax.data.task_names import check_task_name

    if not modules:
        for name in names:
            check_task_name(name, data_dir, Path(os.devnull, "prepared"))
