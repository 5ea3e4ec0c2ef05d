"""What models are called on a page: short, and different from each other."""

from collections.abc import Sequence
from pathlib import PurePath


def called(directories: Sequence[str]) -> tuple[str, ...]:
    """A name for each model directory: its last folder, without the `model` that every run ends in.

    Of equal ones as many folders before it as tell them apart; if nothing does, a number.
    """
    parts = [_parts(directory) for directory in directories]
    longest = max(map(len, parts), default=0)
    for count in range(1, longest + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(f"{each[-1]} ({number})" for number, each in enumerate(parts, start=1))


def _parts(directory: str) -> list[str]:
    path = PurePath(directory)
    inner = path.parent if path.name == "model" and path.parent.name else path
    return [part for part in inner.parts if part != path.anchor] or [directory]
