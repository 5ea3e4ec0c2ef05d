"""Directories of Hugging Face checkpoints, and the parameters that are written there."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError

CONFIG = "config.json"


def flatten(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The leaves of a nested dictionary with their paths."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            for path, leaf in flatten(value):
                yield (name, *path), leaf
        else:
            yield (name,), value


def check_replaceable(directory: Path, marker: str) -> None:
    """Refuses to replace anything but an empty directory or one that holds the file `marker`.

    Raises:
        UserError: `directory` is a file, or a directory of another kind.
    """
    if not directory.exists():
        return
    if not directory.is_dir() or (any(directory.iterdir()) and not (directory / marker).is_file()):
        raise UserError(
            f"{directory}: exists and is not a directory with a {marker}, so it is not replaced; "
            "give another place or remove it"
        )
