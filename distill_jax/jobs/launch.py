"""Reads Gin files and bindings, and runs the job they configure."""

import contextlib
import difflib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gin

import distill_jax
from distill_jax.data.locations import check_local
from distill_jax.errors import UserError

# Importing the jobs makes their names known to Gin; of binding_types, that it is to check them.
from distill_jax.jobs import binding_types, seq2seq, student  # noqa: F401
from distill_jax.parallel import mesh  # noqa: F401
from distill_jax.train import optimizers  # noqa: F401

_MACRO = re.compile(r"\s*(\w+)\s*=")
_REFERENCE = re.compile(r"%(\w+)")
_NOT_GIVEN = re.compile(r"(\w+)/(?:gin\.)?macro\.value set to `%gin\.REQUIRED`")
_STRING = re.compile(r"""^([\w./]+) = (?:\\\n)?\s*['"](.*)['"]$""", re.MULTILINE)
_OS_ERROR = re.compile(r"\[Errno (\d+)\] (.+): '(.+)'$", re.MULTILINE)
_UNDEFINED = re.compile(r"No bindings specified for '(\w+)/(?:gin\.)?macro'")


def search_paths() -> list[str]:
    """Where `gin/runs/….gin` is looked for: here, the checkout, the installed package."""
    package = Path(distill_jax.__file__).parent
    return ["", str(package.parent), str(package)]


for _path in search_paths()[1:]:  # Gin looks here by itself
    gin.add_config_file_search_path(_path)


@gin.configurable
def run(job: Callable[[], Any] = gin.REQUIRED) -> Any:
    """Runs the job a Gin file names in `run.job`."""
    return job()


def configure(gin_files: Sequence[str], bindings: Sequence[str]) -> None:
    """Parses files, then bindings, which win.

    Raises `UserError` for a file that is not there, a malformed line, a name Gin does not know, a
    macro that is required but not given, one that is given but used by no file, or a value of
    another type than its parameter takes.
    """
    if not gin_files:
        raise UserError("train needs --gin_file; see gin/runs/ for the kinds of run there are")
    gin.clear_config()
    for file in gin_files:
        if not any(Path(path, file).is_file() for path in search_paths()):
            raise UserError(f"{file}: there is no such Gin file; see gin/runs/ for those there are")
        with _gin_errors(file, "correct the file"), _logging_disabled():
            gin.parse_config_file(file)
    defined = _macros()
    for binding in bindings:
        option = f"--gin.{binding}"
        with _gin_errors(
            option, """write NAME=VALUE, with a known name, and a string as "'text'\""""
        ):
            gin.parse_config(binding)
    referenced = set(_REFERENCE.findall(gin.config_str()))
    for binding in bindings:
        _check_used(binding, defined, referenced)
    with _gin_errors(gin_files[-1], "correct the file or the bindings"):
        gin.finalize()


def launch() -> Any:
    """Runs what `configure` set up.

    Raises `UserError` if a parameter is missing, or a path is that of a bucket.
    """
    for name, text in _STRING.findall(gin.config_str()):
        check_local(text, name)
    try:
        return run()
    except UserError as error:
        # Gin appends to a message, line by line, which configurables it came through.
        raise UserError(str(error).splitlines()[0]) from error
    except OSError as error:
        found = _OS_ERROR.match(str(error))
        if error.filename or not found:
            raise
        # Gin keeps the message alone; the command line says the parts.
        raise OSError(int(found[1]), found[2], found[3]) from error
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        if first.startswith("Required bindings"):
            raise UserError(f"gin: {first}; bind them in the Gin file or by --gin.") from error
        raise


def _macros() -> set[str]:
    """The macros that have a value or are used by another binding."""
    text = gin.config_str()
    return {*re.findall(r"^(\w+) = ", text, re.MULTILINE), *_REFERENCE.findall(text)}


def _check_used(binding: str, defined: set[str], referenced: set[str]) -> None:
    """Gin accepts a macro that nothing uses; on the command line it is a typing error."""
    macro = _MACRO.match(binding)
    if macro is None or macro[1] in defined or macro[1] in referenced:
        return
    near = difflib.get_close_matches(macro[1], sorted(defined | referenced), n=3)
    hint = f"did you mean {', '.join(near)}?" if near else "see the Gin file for those there are"
    raise UserError(f"--gin.{macro[1]}: no Gin file given uses a macro of this name; {hint}")


@contextlib.contextmanager
def _gin_errors(place: str, remedy: str) -> Iterator[None]:
    """Turns what Gin raises, which is whatever Python raises with places appended, into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        text = str(error)
        if found := _NOT_GIVEN.search(text):
            name = found[1]
            raise UserError(
                f"gin: {name} is required by {place} and not given; add --gin.{name}=VALUE"
            ) from error
        if found := _UNDEFINED.search(text):
            name = found[1]
            raise UserError(
                f"gin: {place}: the macro %{name} is used but defined nowhere; add "
                f"--gin.{name}=VALUE or correct its name"
            ) from error
        if "reference '@study'" in text:  # known to its own command alone
            raise UserError(f"gin: {place} is a study; run it with distill-jax study") from error
        text = text.partition("In bindings string")[0].replace("^", " ")
        reason = " ".join(text.split())[:400].rstrip(".")
        raise UserError(f"gin: {place}: {reason}; {remedy}") from error


@contextlib.contextmanager
def _logging_disabled() -> Iterator[None]:
    """Gin logs an error for every place an included file is not at before the one where it is."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
