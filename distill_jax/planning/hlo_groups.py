"""Which devices a collective of a compiled program (HLO) joins."""

import math
import re
from collections.abc import Sequence

import numpy as np


def device_groups(attributes: str, devices: int) -> list[list[int]]:
    """The groups of devices in any of the ways HLO writes them; empty if it says nothing."""
    if listed := re.search(r"replica_groups=\{(\{[\d,{} ]*\})\}", attributes):
        return _listed_groups(listed[1])
    if iota := re.search(
        r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", attributes
    ):
        groups_shape, grid, transposition = iota.groups()
        order = np.arange(devices).reshape(_integers(grid))
        if transposition:
            order = order.transpose(_integers(transposition))
        return order.reshape(_integers(groups_shape)).tolist()
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", attributes):
        axes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", mesh[1])}
        joined = re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", mesh[2])
        return _mesh_groups(axes, joined)
    if pairs := re.search(r"source_target_pairs=\{(\{[\d,{} ]*\})\}", attributes):
        return _listed_groups(pairs[1])
    return []


def _listed_groups(text: str) -> list[list[int]]:
    """`{0,1},{2,3}` as lists."""
    return [_integers(group) for group in re.findall(r"\{([\d, ]+)\}", text)]


def _mesh_groups(axes: dict[str, int], joined: Sequence[tuple[str, str, str]]) -> list[list[int]]:
    """Groups along mesh axes; `'axis':(before)size` is a part of one."""
    shape: list[int] = []
    chosen: list[int] = []
    for name, size in axes.items():
        parts = [(int(before), int(part)) for axis, before, part in joined if axis == name and part]
        if any(axis == name and not part for axis, _, part in joined):
            chosen.append(len(shape))
            shape.append(size)
        elif parts:
            before, part = parts[0]
            chosen.append(len(shape) + 1)
            shape += [before, part, size // (before * part)]
        else:
            shape.append(size)
    order = np.arange(math.prod(shape)).reshape(shape)
    rest = [axis for axis in range(len(shape)) if axis not in chosen]
    width = math.prod(shape[axis] for axis in chosen)
    return order.transpose([*rest, *chosen]).reshape(-1, width).tolist()


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]
