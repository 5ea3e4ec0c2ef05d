"""Importing modules of the user's own, which register tasks or kinds of taggers; and optional libraries."""

import importlib
import importlib.util
import os
import sys
import traceback
from types import ModuleType

from distill_jax.errors import UserError


def check_installed(*libraries: str, extra: str) -> None:
    """Raises `UserError` if a library is missing that an extra of this package brings; imports none."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise UserError(
                f"this needs {library}, which is not installed; pip install 'distill_jax[{extra}]'"
            )


def find_modules_here() -> None:
    """A user's module lies in the current folder, where a console script does not look."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def import_own(name: str, what: str = "module") -> ModuleType:
    """Imports a module of the current folder, or of `PYTHONPATH`.

    Args:
        name: with dots, as in Python.
        what: it is, in messages.

    Raises:
        UserError: there is no such module, or it fails; then with the file and line of its code.
    """
    find_modules_here()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(name, what, error) from error
        raise UserError(
            f"{what} {name!r} cannot be imported ({error}); "
            "check its name and that its folder is on PYTHONPATH"
        ) from None
    except UserError:
        raise
    except Exception as error:
        raise _failed(name, what, error) from error


def _failed(name: str, what: str, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    # What a module was doing when it failed, whichever library it was in by then.
    statements = [f for f in traceback.extract_tb(error.__traceback__) if f.name == "<module>"]
    if statements and not isinstance(error, SyntaxError):  # which names its own place
        reason += f" at {statements[-1].filename}, line {statements[-1].lineno}"
    return UserError(f"{what} {name!r} fails as it is imported ({reason}); correct it")
