"""Reading JSON files that others may have damaged."""

import json
import os
from pathlib import Path
from typing import Any

from distill_jax_runtime.errors import UserError


def read_json_object(
    path: str | os.PathLike[str], remedy: str = "copy the file again", *, absent: str | None = None
) -> dict[str, Any]:
    """The content of a JSON file that holds one object.

    Args:
        path: the file, in UTF-8.
        remedy: what to do about a damaged file; ends the message.
        absent: what to do about a file that cannot be read, if that is something else.

    Raises:
        UserError: naming the file, and the line where it is not JSON.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {absent or remedy}") from None
    check_no_pointer(path, content)
    try:
        value = json.loads(content.decode())
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; {remedy}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not valid JSON ({error.msg}); {remedy}") from None
    except (ValueError, RecursionError):  # a number of too many digits, brackets too deep
        raise UserError(f"{path}: not JSON that can be read; {remedy}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object; {remedy}")
    return value


def check_no_pointer(path: str | os.PathLike[str], content: bytes) -> None:
    """Raises `UserError` if a file begins with `content` as what Git LFS leaves in its place does."""
    if content.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{path}: a Git LFS pointer, not the file itself; run `git lfs pull` in the repository, or "
            "download the file"
        )
