"""What a run is, as frozen dataclasses: their fields' meaning, their JSON, and how two of them differ.

Each field is part of a run's identity unless it is `free`: how far to go, how often to look, where
things lie, over which devices a step is spread. A run goes on, a study takes teachers over and
hosts agree only where identities are the same, field by field; a field that only one side has is a
difference too.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

MACRO, FREE, EXTENT, SCOPE, PART = "macro", "free", "extent", "scope", "part"


def setting(
    default: Any = dataclasses.MISSING,
    *,
    macro: str | None = None,
    free: bool = False,
    extent: bool = False,
    scope: str = "",
    part: tuple[type, ...] = (),
) -> Any:
    """A field of a frozen dataclass that describes a run.

    Args:
        default: the value where none is given; a dataclass is allowed, for it is frozen too.
        macro: the name by which Gin files and `--gin.NAME=VALUE` give it.
        free: whether a run may go on with another value.
        extent: of a free field: whether it says how long a run trains or which of its states it leaves.
        scope: where Gin files describe it, `teacher/…` say, for a part that is described as another one is.
        part: dataclasses that Gin files may name for it; the first is that of a file that names none.
    """
    metadata = {MACRO: macro, FREE: free, EXTENT: extent, SCOPE: scope, PART: part}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def to_json(value: Any, *, identity: bool = False, extent: bool = False) -> Any:
    """A configuration as JSON; with `identity` without what is free, though with its `extent` if asked for.

    What a finished run has left depends on its extent too: a study compares with it, a run that goes on
    without.
    A dataclass becomes an object with its class under `is`, for two kinds of student may have the
    same fields.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: to_json(getattr(value, field.name), identity=identity, extent=extent)
            for field in dataclasses.fields(value)
            if not (identity and field.metadata.get(FREE))
            or (extent and field.metadata.get(EXTENT))
        }
        return {"is": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {
            str(name): to_json(each, identity=identity, extent=extent)
            for name, each in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_json(each, identity=identity, extent=extent) for each in value]
    return value


class Difference(NamedTuple):
    """A place, as `training.optimizer.weight_decay`, where two configurations are not the same."""

    name: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.name} = {self.before} and would go on with {self.now}"


def as_lines(value: Any, name: str = "") -> Iterator[str]:
    """The values of a JSON configuration, each on a line that says where it is: `training.seed = 0`."""
    if _are_parts(value):
        value = {str(number): part for number, part in enumerate(value)}
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from as_lines(each, name if key == "is" else f"{name}.{key}".removeprefix("."))
    else:
        yield f"{name} = {value!r}"


ABSENT = "absent"


def differences(before: Any, now: Any, name: str = "") -> Iterator[Difference]:
    """Where two JSON configurations differ, in the order of their fields."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            place = name if key == "is" else f"{name}.{key}".removeprefix(".")
            if key not in before or key not in now:
                yield Difference(place, _shown(before, key), _shown(now, key))
            else:
                yield from differences(before[key], now[key], place)
    elif _are_parts(before) and _are_parts(now):
        yield from differences(dict(enumerate(before)), dict(enumerate(now)), name)
    elif before != now:
        yield Difference(name, _short(before), _short(now))


def _are_parts(value: Any) -> bool:
    """Whether a value is a list of dataclasses, as JSON."""
    return isinstance(value, list) and any(isinstance(each, Mapping) for each in value)


def _shown(values: Mapping[str, Any], key: str) -> str:
    return _short(values[key]) if key in values else ABSENT


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
