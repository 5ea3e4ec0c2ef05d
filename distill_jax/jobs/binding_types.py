"""Checks that what Gin binds is of the type that its parameter is annotated with.

Gin passes anything on: a number written as text would fail somewhere within the run, in words that say
nothing of the binding.
"""

import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import gin

from distill_jax.errors import UserError

_MACRO = "gin.macro"


@gin.config.register_finalize_hook
def check_binding_types(config: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """Raises `UserError` naming the first binding whose value its parameter does not take.

    `config` is Gin's: (scope, configurable) → parameter → value. What a reference evaluates to is not
    known before the run, so references pass, as do parameters without an annotation.
    """
    for (_, selector), bindings in config.items():
        # Of functions those of the signature, of dataclasses those of the fields.
        hints = {} if selector == _MACRO else get_type_hints(gin.get_configurable(selector))
        for parameter, value in bindings.items():
            name = f"{selector.rpartition('.')[2]}.{parameter}"
            bound = name
            while getattr(value, "selector", None) == _MACRO:
                bound = value.scoped_selector.rpartition("/")[0]
                value = config.get((bound, _MACRO), {}).get("value", gin.REQUIRED)
            hint = hints.get(parameter, Any)
            if not _takes(hint, value):
                takes = re.sub(r"\b(\w+\.)+", "", inspect.formatannotation(hint))
                takes = takes if bound == name else f"{takes} for {name}"
                raise UserError(
                    f"gin: {bound} is {value!r} and must be {takes}; correct the file or the binding"
                )


def _takes(hint: Any, value: Any) -> bool:
    """Whether a value, or a reference, is of a type."""
    if hint is Any or value is gin.REQUIRED or hasattr(value, "scoped_selector"):
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
