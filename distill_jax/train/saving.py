"""What a full disk is when Orbax and TensorStore meet it: one line, whichever thread it was."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from distill_jax.errors import UserError
from distill_jax.files import disk_fault


@contextlib.contextmanager
def saving(directory: Path) -> Iterator[None]:
    """Raises `UserError` if the disk cannot take what the block writes, or waits to have written.

    What is written in the background fails when it is next waited for. `directory` is that of the
    checkpoints, for the message.
    """
    try:
        yield
    except Exception as error:  # their classes have nothing in common
        fault = disk_fault(error)
        if fault is None:
            raise
        raise UserError(
            f"{directory}: a checkpoint cannot be written ({fault}); make room, or check the disk, and "
            "run the same command again: it goes on from the newest that is whole"
        ) from error


def _is_said(record: logging.LogRecord) -> bool:
    """Whether a record is logged: not Orbax's errors, some ten tracebacks of one that it raises as well."""
    return not ("orbax" in record.pathname and record.levelno >= logging.ERROR)


logging.getLogger("absl").addFilter(_is_said)
