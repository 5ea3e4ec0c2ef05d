"""Where the user's data and vocabulary lie: given by argument, or by an environment variable.

And which paths are none of this machine's.
"""

import os
import re
from pathlib import Path

from distill_jax.errors import UserError

DATA_VARIABLE = "DISTILL_JAX_DATA"
VOCABULARY_VARIABLE = "DISTILL_JAX_VOCABULARY"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

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


def check_local(path: str | os.PathLike[str] | None, what: str = "") -> None:
    """Refuses `gs://…`, `s3://…` and other addresses, of which pathlib would make a folder `gs:/`.

    `what` names the option or binding the path was given to; None is no path. Raises `UserError`.
    """
    if path is not None and _URL.match(os.fspath(path)):
        named = f"{what} {os.fspath(path)}" if what else os.fspath(path)
        raise UserError(
            f"{named}: a bucket is not a folder of this machine; mount it (see docs/scale.md) and give "
            "the path where it is mounted"
        )
