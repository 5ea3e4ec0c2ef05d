"""The kinds of taggers there are, under their names."""

import importlib
import pkgutil
from typing import Any

from distill_jax import kinds
from distill_jax.errors import UserError
from distill_jax.kinds.base import Kind

_KINDS: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    """Makes a kind known to everything: model directories, jobs, Gin files, the study, `compile`.

    The modules of this package register theirs when a kind is first asked for; a module elsewhere
    does so when it is imported. Raises `ValueError` if the name or a `model_type` is another
    kind's.
    """
    for other in _KINDS.values():
        shared = set(kind.model_types) & set(other.model_types)
        if type(other) is not type(kind) and (other.name == kind.name or shared):
            raise ValueError(f"the kinds {kind.name} and {other.name} have a name in common")
    _KINDS[kind.name] = kind


def all_kinds() -> tuple[Kind, ...]:
    """Every kind."""
    for module in sorted(each.name for each in pkgutil.iter_modules(kinds.__path__)):
        importlib.import_module(f"{kinds.__name__}.{module}")
    return tuple(_KINDS.values())


def kind_of(config: Any) -> Kind:
    """The kind of a model by its configuration."""
    for kind in all_kinds():
        if isinstance(config, kind.config_type):
            return kind
    raise TypeError(
        f"no kind of tagger has a {type(config).__name__}; its module ends in register(…) of the Kind "
        "that has it as config_type"
    )


def kind_of_type(model_type: Any, where: str) -> Kind:
    """The kind of a model by the `model_type` in its `config.json`.

    Raises `UserError` if there is none, naming the file `where`.
    """
    for kind in all_kinds():
        if model_type in kind.model_types:
            return kind
        if reason := kind.similar_types.get(str(model_type)):
            raise UserError(f"{where}: model_type is {model_type!r}, {reason}")
    known = sorted(name for kind in all_kinds() for name in kind.model_types)
    raise UserError(
        f"{where}: model_type is {model_type!r}, not one of {', '.join(known)}; use a checkpoint of "
        "one of these, or import the module that registers its kind (--kind_modules)"
    )
