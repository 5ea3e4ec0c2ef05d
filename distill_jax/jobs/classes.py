"""The dataclasses that Gin files may bind and refer to, by their names."""

import dataclasses
from collections.abc import Sequence
from typing import get_args, get_type_hints

from distill_jax.configuration import MACRO, PART
from distill_jax.kinds.registry import all_kinds
from distill_jax.modules import import_own


class Classes:
    """Runs with all that they are made of, what the kinds are described by, and those of modules
    that files import."""

    def __init__(self, runs: Sequence[type]) -> None:
        self._made: dict[str, type] = {}
        self._add(runs)
        self._add_kinds()

    def import_module(self, name: str) -> None:
        """Adds the dataclasses that a user's module defines, and the kinds that it registers.

        Raises `UserError` as `import_own`.
        """
        module = import_own(name)
        own = [each for each in vars(module).values() if is_part(each)]
        self._add([each for each in own if each.__module__ == module.__name__])
        self._add_kinds()

    def __contains__(self, name: str) -> bool:
        return name in self._made

    def __getitem__(self, name: str) -> type:
        return self._made[name]

    def has_field(self, name: str, field: str) -> bool:
        """Whether a dataclass has a field of this name."""
        return field in self.fields(name)

    def fields(self, name: str) -> list[str]:
        """The names of a dataclass's fields."""
        return [field.name for field in dataclasses.fields(self._made[name])]

    def use(self, macro: str) -> bool:
        """Whether a field of some dataclass is known by this macro, or by it in some scope."""
        return any(
            macro == own or macro.endswith(f"_{own}")
            for made in self._made.values()
            for field in dataclasses.fields(made)
            if (own := field.metadata.get(MACRO))
        )

    def _add_kinds(self) -> None:
        self._add([made for kind in all_kinds() for made in kind.settings])

    def _add(self, given: Sequence[type]) -> None:
        waiting = list(given)
        while waiting:
            made = waiting.pop()
            if self._made.get(made.__name__) is made:
                continue
            self._made[made.__name__] = made
            hints = get_type_hints(made)
            for field in dataclasses.fields(made):
                hint = hints[field.name]
                parts = [*field.metadata.get(PART, ()), hint, *get_args(hint)]
                waiting += [each for each in parts if is_part(each)]


def is_part(value: object) -> bool:
    """Whether a value is a dataclass (not one of its objects)."""
    return isinstance(value, type) and dataclasses.is_dataclass(value)
