"""Makes a run, a tree of frozen dataclasses, of what Gin files say.

A field's value is, the first of these that there is: what a file binds to it (`AdamW.b2 = 0.98`);
the macro that the field is known by (`BATCH_SIZE`, in a scope `teacher` first
`TEACHER_BATCH_SIZE`); for a part that is a dataclass, that dataclass, built likewise; its default.
A part that may be None is made where a file binds something of it in the very scope. Nothing is
read and nothing computed here.
"""

import dataclasses
import difflib
import inspect
import re
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from distill_jax.configuration import MACRO, PART, SCOPE
from distill_jax.data.locations import check_local
from distill_jax.errors import UserError
from distill_jax.jobs.classes import Classes, is_part
from distill_jax.jobs.gin_files import REQUIRED, Bound, GinConfig, Macro, Reference, read_gin


def build_run(
    gin_files: Sequence[str],
    bindings: Sequence[str],
    jobs: Sequence[type],
    *,
    stand_ins: Mapping[str, Any] | None = None,
    beside: Sequence[type] = (),
) -> Any:
    """The run that a Gin file names in `run.job`; with `beside`, a tuple of it and of those dataclasses.

    Args:
        gin_files, bindings: see `gin_files.read_gin`.
        jobs: the dataclasses that are runs.
        stand_ins: values of macros that are required and not given.
        beside: other dataclasses that the files may describe.

    Raises:
        UserError: as `read_gin`, or a value is missing, of another type than its field, or impossible; or the
            command line gives a name that nothing uses.
    """
    classes = Classes([*jobs, *beside])
    config = read_gin(gin_files, bindings, classes)
    builder = _Builder(config, classes, gin_files[-1], dict(stand_ins or {}))
    job = config.job
    if job is None or not isinstance(job.value, Reference):
        raise UserError(
            f"gin: {gin_files[-1]} binds no job of `run` (run.job = @StudentRun(), say); see gin/runs/"
        )
    run = builder.make(classes[job.value.name], _scopes(job.value.scope))
    others = [builder.make(made, ()) for made in beside]
    builder.check_given()
    return (run, *others) if beside else run


class _Builder:
    """Makes dataclasses, and notes which macros were asked for."""

    def __init__(
        self, config: GinConfig, classes: Classes, file: str, stand_ins: dict[str, Any]
    ) -> None:
        self._config = config
        self._classes = classes
        self._file = file
        self._stand_ins = stand_ins
        self._asked: set[str] = set()
        for name, bound in config.macros.items():
            if bound.value == Macro(REQUIRED) and name not in stand_ins:
                raise self._missing(name)

    def make(self, made: type, scopes: tuple[str, ...]) -> Any:
        """A dataclass, its parts first."""
        hints = get_type_hints(made)
        values = {}
        for field in dataclasses.fields(made):
            own = (*scopes, *_scopes(field.metadata.get(SCOPE, "")))
            value = self._value(made, field, hints[field.name], own)
            if value is not _DEFAULT:
                values[field.name] = value
        return made(**values)

    def check_given(self, besides: Collection[str] = ()) -> None:
        """Raises `UserError` if the command line gives a name that nothing uses: a typing error.

        The names `besides` pass, too.
        """
        for name in self._config.given:
            if "." in name or name in {*self._asked, *self._config.in_files, *besides}:
                continue
            there = sorted(self._asked | self._config.in_files)
            near = difflib.get_close_matches(name, there, n=3)
            hint = (
                f"did you mean {', '.join(near)}?"
                if near
                else "see the Gin file for those there are"
            )
            raise UserError(f"--gin.{name}: this run uses no macro of this name; {hint}")

    def _value(self, made: type, field: Any, hint: Any, scopes: tuple[str, ...]) -> Any:
        name = f"{made.__name__}.{field.name}"
        bound = self._bound(made.__name__, field.name, scopes)
        if bound is None and field.metadata.get(MACRO):
            bound, name = self._macro_of(field.metadata[MACRO], scopes, name)
        if bound is not None:
            value = self._resolved(bound, scopes)
            if isinstance(value, str):
                check_local(value, name.partition(" for ")[0])
            if not _takes(hint, value):
                raise self._wrong_type(name, hint, value)
            return value
        part = next(iter(field.metadata.get(PART, ())), None) or _part(hint)
        if part is not None and (not _optional(hint) or self._binds(part, scopes)):
            return self.make(part, scopes)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            if field.metadata.get(MACRO):
                if field.metadata[MACRO] in self._stand_ins:
                    return self._stand_ins[field.metadata[MACRO]]
                raise self._missing(field.metadata[MACRO])
            raise UserError(f"gin: {name} is required; bind it in {self._file}")
        return _DEFAULT

    def _bound(self, made: str, field: str, scopes: tuple[str, ...]) -> Bound | None:
        for scope in (*reversed(scopes), ""):
            fields = self._config.fields.get((scope, made), {})
            if field in fields:
                return fields[field]
        return None

    def _binds(self, part: type, scopes: tuple[str, ...]) -> bool:
        return (scopes[-1] if scopes else "", part.__name__) in self._config.fields

    def _macro_of(self, macro: str, scopes: tuple[str, ...], name: str) -> tuple[Bound | None, str]:
        """What a field's macro is bound to, and how to call both."""
        for each in (*(f"{scope.upper()}_{macro}" for scope in reversed(scopes)), macro):
            self._asked.add(each)
            if each in self._config.macros:
                bound = self._config.macros[each]
                if bound.value == Macro(REQUIRED):
                    bound = Bound(self._stand_ins[each], "a stand-in")
                return bound, f"{each} for {name}"
        return None, name

    def _resolved(self, bound: Bound, scopes: tuple[str, ...]) -> Any:
        """The value without macros and references."""

        def resolve(value: Any) -> Any:
            if isinstance(value, Macro):
                if value.name not in self._config.macros:
                    raise UserError(
                        f"gin: {bound.place}: the macro %{value.name} is used but defined nowhere; add "
                        f"--gin.{value.name}=VALUE or correct its name"
                    )
                inner = self._config.macros[value.name]
                if inner.value == Macro(REQUIRED):
                    return self._stand_ins[value.name]
                return resolve(inner.value)
            if isinstance(value, Reference):
                made = self._classes[value.name]
                return self.make(made, (*scopes, *_scopes(value.scope)))
            if isinstance(value, (list, tuple)):
                return type(value)(resolve(each) for each in value)
            if isinstance(value, dict):
                return {key: resolve(each) for key, each in value.items()}
            return value

        return resolve(bound.value)

    def _missing(self, macro: str) -> UserError:
        # A typing error in a name that was given says more. What is not built yet may use a macro.
        self.check_given([name for name in self._config.given if self._classes.use(name)])
        return UserError(
            f"gin: {macro} is required by {self._file} and not given; add --gin.{macro}=VALUE"
        )

    def _wrong_type(self, name: str, hint: Any, value: Any) -> UserError:
        bound, _, parameter = name.partition(" for ")
        takes = re.sub(r"\b(\w+\.)+", "", inspect.formatannotation(hint))
        takes = f"{takes} for {parameter}" if parameter else takes
        return UserError(
            f"gin: {bound} is {value!r} and must be {takes}; correct the file or the binding"
        )


_DEFAULT = object()


def _scopes(scope: str) -> tuple[str, ...]:
    return tuple(scope.split("/")) if scope else ()


def _part(hint: Any) -> type | None:
    """The first dataclass among the types that a field takes."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((each for each in options if is_part(each)), None)


def _optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


def _takes(hint: Any, value: Any) -> bool:
    """Whether a value is of a type."""
    if hint is Any or getattr(hint, "_is_protocol", False):
        return True
    kind, options = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        return any(_takes(option, value) for option in options)
    if kind is Literal:  # which of them, those say better that know why
        return type(value) in map(type, options)
    if kind in (int, float):
        numbers = int if kind is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if kind in (tuple, list, Sequence):
        # Gin's users write either for the other.
        if not isinstance(value, (tuple, list)):
            return False
        if kind is tuple and options and options[-1] is not ...:
            return len(value) == len(options) and all(map(_takes, options, value))
        return all(_takes(option, item) for option in options[:1] for item in value)
    if kind in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            all(map(_takes, options, item)) for item in value.items()
        )
    if kind is Callable:
        return callable(value)
    return not isinstance(kind, type) or isinstance(value, kind)
