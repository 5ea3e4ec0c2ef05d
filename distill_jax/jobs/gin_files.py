"""What Gin files and bindings say, read by Gin's own parser and by nothing else of Gin: no global state.

A file binds macros (`BATCH_SIZE = 16`) and fields of dataclasses (`BiLSTMConfig.hidden = 64`, in a scope
`teacher/AdamW.b2 = 0.98`); later statements win. `jobs.building` makes a run of it.
"""

import ast
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from gin.config_parser import (
    BindingStatement,
    ConfigParser,
    ImportStatement,
    IncludeStatement,
    ParserDelegate,
)

import distill_jax
from distill_jax.errors import UserError

REQUIRED = "gin.REQUIRED"
RUN, JOB = "run", "job"
STUDIES = ("StudyRun", "GenerationStudyRun")
"""Jobs of `distill-jax study`."""


class Classes(Protocol):
    """The dataclasses that files may bind and refer to (`jobs.classes`)."""

    def __contains__(self, name: str) -> bool:
        """Whether there is one of this name."""

    def has_field(self, name: str, field: str) -> bool:
        """Whether it has a field of this name."""

    def fields(self, name: str) -> list[str]:
        """Its fields, for messages."""

    def import_module(self, name: str) -> None:
        """Adds those of a module of the user's."""


class Macro(NamedTuple):
    """`%NAME` in a value."""

    name: str


class Reference(NamedTuple):
    """`@scope/Name()` in a value: a dataclass to be made."""

    scope: str
    name: str


class Bound(NamedTuple):
    """A value, and what it says of itself: a file and its line, or an option."""

    value: Any
    place: str


@dataclasses.dataclass
class GinConfig:
    """All statements: macros by name, and fields by (scope, class name) and field name.

    `given` are the names that the command line binds, in order; `in_files` the macros that files
    define or refer to; `job` is what `run.job` is bound to; `imports_modules` says whether a file does.
    """

    macros: dict[str, Bound] = dataclasses.field(default_factory=dict)
    fields: dict[tuple[str, str], dict[str, Bound]] = dataclasses.field(default_factory=dict)
    given: list[str] = dataclasses.field(default_factory=list)
    in_files: set[str] = dataclasses.field(default_factory=set)
    job: Bound | None = None
    imports_modules: bool = False

    def scopes(self) -> set[str]:
        """Every scope that a statement or a reference names."""
        references = {each.scope for each in self._within() if isinstance(each, Reference)}
        return references | {scope for scope, _ in self.fields}

    def referenced(self) -> set[str]:
        """The macros that values refer to."""
        return {each.name for each in self._within() if isinstance(each, Macro)} - {REQUIRED}

    def _within(self) -> Iterator[Any]:
        for bound in [
            *self.macros.values(),
            *(b for f in self.fields.values() for b in f.values()),
        ]:
            yield from _leaves(bound.value)


def search_paths() -> list[str]:
    """Where `gin/runs/….gin` is looked for: here, the checkout, the installed package."""
    package = Path(distill_jax.__file__).parent
    return ["", str(package.parent), str(package)]


def read_gin(gin_files: Sequence[str], bindings: Sequence[str], classes: Classes) -> GinConfig:
    """Reads files, then bindings, which win.

    Args:
        gin_files: paths, or names that `search_paths` finds.
        bindings: `NAME=VALUE`, as `--gin.` has them.
        classes: the dataclasses that may be bound or referred to; those of modules that a file
        imports are added.

    Raises:
        UserError: a file is not there, a line is malformed, or a name is not known.
    """
    if not gin_files:
        raise UserError("train needs --gin_file; see gin/runs/ for the kinds of run there are")
    config = GinConfig()
    for name in gin_files:
        path = _locate(name)
        if path is None:
            raise UserError(f"{name}: there is no such Gin file; see gin/runs/ for those there are")
        _read_file(config, path, name, classes)
    config.in_files = set(config.macros) | config.referenced()
    for binding in bindings:
        name = binding.partition("=")[0].strip()
        remedy = "write NAME=VALUE, with a known name and a value as in Gin files"
        text = with_quotes(binding)
        _read(config, text, f"--gin.{binding}", classes, remedy, by_line=False)
        config.given.append(name)
    return config


def with_quotes(binding: str) -> str:
    """`NAME=runs/x` as `NAME='runs/x'`: a value that is none in Gin's language is taken for a string.

    What begins as another value does (a quote, a bracket, `%`, `@`) stays as it is, and so does a number.
    """
    name, equals, value = binding.partition("=")
    value = value.strip()
    if not equals or not value or value[0] in "'\"([{%@":
        return binding
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return f"{name}={value!r}"
    return binding


def _locate(name: str) -> Path | None:
    places = (Path(folder, name) for folder in search_paths())
    return next((place for place in places if place.is_file()), None)


def _read_file(config: GinConfig, path: Path, name: str, classes: Classes) -> None:
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{name}: not UTF-8 text; give a Gin file") from None
    _read(config, text, name, classes, "correct the file")


def _read(
    config: GinConfig,
    text: str,
    place: str,
    classes: Classes,
    remedy: str,
    *,
    by_line: bool = True,
) -> None:
    """Adds the statements of a text to a configuration."""

    def wrong(reason: str, line: int | None = None) -> UserError:
        where = f"{place}: line {line}" if by_line and line else place
        return UserError(f"gin: {where}: {reason.strip().rstrip('.')}; {remedy}")

    try:
        for statement in ConfigParser(text, _Delegate()):
            line = statement.location.line_num
            if isinstance(statement, IncludeStatement):
                included = _locate(statement.filename)
                if included is None:
                    raise wrong(f"include {statement.filename!r}: there is no such file", line)
                _read_file(config, included, statement.filename, classes)
            elif isinstance(statement, ImportStatement):
                try:
                    config.imports_modules = True
                    classes.import_module(statement.module)
                except UserError as error:
                    raise UserError(f"gin: {place}: line {line}: {error}") from error
            elif isinstance(statement, BindingStatement):
                where = f"{place}: line {line}" if by_line else place
                _check_references(statement.value, classes, wrong, line)
                _bind(config, statement, Bound(statement.value, where), classes, wrong)
    except UserError:
        raise
    # Gin's parser raises SyntaxError, and ValueError or Python's own tokenizer errors beside it.
    except Exception as error:
        line = getattr(error, "lineno", None)
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        raise wrong(" ".join(str(message).split())[:300], line) from error


def _bind(
    config: GinConfig,
    statement: BindingStatement,
    bound: Bound,
    classes: Classes,
    wrong: Any,
) -> None:
    name = statement.selector.rpartition(".")[2]
    line = statement.location.line_num
    if not statement.arg_name:
        macro = f"{statement.scope}/{name}" if statement.scope else name
        config.macros[macro] = bound
        return
    if name == RUN and statement.arg_name == JOB:
        config.job = bound
        return
    if name not in classes:
        raise wrong(f"{name}.{statement.arg_name}: {_unknown(name)}", line)
    if not classes.has_field(name, statement.arg_name):
        raise wrong(
            f"{name}.{statement.arg_name}: {name} has no parameter {statement.arg_name!r}; it has "
            f"{', '.join(classes.fields(name))}",
            line,
        )
    config.fields.setdefault((statement.scope, name), {})[statement.arg_name] = bound


def _check_references(value: Any, classes: Classes, wrong: Any, line: int) -> None:
    for each in _leaves(value):
        if isinstance(each, Reference) and each.name not in classes:
            if each.name in STUDIES:
                raise wrong("this is a study; run it with distill-jax study", line)
            raise wrong(f"@{each.name}: {_unknown(each.name)}", line)


def _unknown(name: str) -> str:
    return (
        f"No configurable is named {name!r}, of this package or a dataclass of an imported module"
    )


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (Macro, Reference)) or not isinstance(value, (list, tuple, dict)):
        yield value
    else:
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)


class _Delegate(ParserDelegate):
    """What the parser makes of `@…` and `%…`."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        scope, _, name = scoped_configurable_name.rpartition("/")
        return Reference(scope, name.rpartition(".")[2])

    def macro(self, macro_name: str) -> Macro:
        return Macro(macro_name)
