"""The names and shapes of a T5's parameters in checkpoints of t5x.

`t5x.examples.t5` has a subtree for each layer, and the names are this project's. `scalable_t5` (and
umT5, which was trained with it) runs its layers in a scan: `encoder/layers_3/…` is then number 3 along
axis 1 of `encoder/encoder/…`, attention kernels have heads apart, `[d, layers, heads, kv]`, and every
layer has a relative bias of its own.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from distill_jax.interop.hf.layout import Parameter, parameters_of
from distill_jax.models.t5_config import T5Config

Names = tuple[str, ...]
Shape = tuple[int, ...]
AXIS = 1
"""Along which scanned layers lie (`T5Config.param_scan_axis` of scalable_t5)."""

TOWERS = ("encoder", "decoder")
LAYER = re.compile(r"layers_(\d+)")
_PROJECTIONS = ("query", "key", "value", "out")


class Slot(NamedTuple):
    """Where a parameter lies: an array, and its layer's number along `AXIS` if that is scanned."""

    names: Names
    layer: int | None


def is_scanned(names: Iterable[Names]) -> bool:
    """Whether a tree has its layers along an axis."""
    return any(path[:2] in (("encoder", "encoder"), ("decoder", "decoder")) for path in names)


def slot_of(path: Names, *, scanned: bool) -> Slot:
    """Where the parameter of a path of this project lies."""
    found = LAYER.fullmatch(path[1])
    if not scanned or found is None:
        return Slot(path, None)
    return Slot((path[0], path[0], *path[2:]), int(found[1]))


def slots_of(config: T5Config, *, scanned: bool) -> dict[Names, list[tuple[Parameter, Slot]]]:
    """The arrays of a T5, each with the parameters that lie in it, in the order of their layers."""
    arrays: dict[Names, list[tuple[Parameter, Slot]]] = {}
    for parameter in parameters_of(config):
        slot = slot_of(parameter.path, scanned=scanned)
        arrays.setdefault(slot.names, []).append((parameter, slot))
    return arrays


def shape_of(parameter: Parameter) -> Shape:
    """A parameter's shape in the model."""
    return parameter.hf_shape[::-1] if parameter.transposed else parameter.hf_shape


def stored_shape(config: T5Config, slots: list[tuple[Parameter, Slot]], *, split: bool) -> Shape:
    """The shape of the array in which parameters lie.

    Args:
        config: of the model.
        slots: what lies in it.
        split: whether attention kernels have heads and their width apart.
    """
    parameter, slot = slots[0]
    shape = shape_of(parameter)
    if split and parameter.path[-2] in _PROJECTIONS:
        parts = (config.num_heads, config.d_kv)
        shape = (*parts, shape[1]) if parameter.path[-2] == "out" else (shape[0], *parts)
    if slot.layer is not None:
        shape = (*shape[:AXIS], len(slots), *shape[AXIS:])
    return shape


def parameter_in(array: np.ndarray, parameter: Parameter, slot: Slot) -> np.ndarray:
    """A parameter in the model's shape, from the array in which it lies; a view where it can be."""
    if slot.layer is not None:
        array = array[:, slot.layer]
    return array.reshape(shape_of(parameter))


def check_layout(
    shapes: Mapping[Names, Shape], config: T5Config, *, scanned: bool
) -> tuple[str, Names] | None:
    """The first thing that is wrong with a tree's arrays, and the array; None where they fit."""
    arrays = slots_of(config, scanned=scanned)
    for names, slots in arrays.items():
        if names not in shapes:
            return "is missing", names
        wanted = [stored_shape(config, slots, split=split) for split in (scanned, not scanned)]
        if shapes[names] not in wanted:
            asked = " or ".join(str(list(shape)) for shape in dict.fromkeys(wanted))
            return f"has shape {list(shapes[names])}, but the others ask for {asked}", names
    for names in shapes:
        if names not in arrays:
            return "has no place in a T5", names
    return None
