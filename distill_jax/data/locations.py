"""Where the user's data and vocabulary lie: given by argument, or by an environment variable."""

import os
from pathlib import Path

DATA_VARIABLE = "DISTILL_JAX_DATA"
VOCABULARY_VARIABLE = "DISTILL_JAX_VOCABULARY"

_data_dir: Path | None = None


def set_data_dir(path: str | os.PathLike[str] | None) -> None:
    """Sets the data directory of this process; None goes back to the environment variable."""
    global _data_dir
    _data_dir = None if path is None else Path(path).expanduser().absolute()


def data_dir() -> Path | None:
    """The data directory that was set, else that of `DISTILL_JAX_DATA`, else None."""
    if _data_dir is not None:
        return _data_dir
    value = os.environ.get(DATA_VARIABLE)
    return Path(value).expanduser().absolute() if value else None


def default_vocabulary() -> str | None:
    """The vocabulary that tasks tokenise with if told none: `DISTILL_JAX_VOCABULARY`, else None."""
    return os.environ.get(VOCABULARY_VARIABLE) or None
