"""The device mesh, and where each logical axis lives on it.

One table decides how everything is partitioned; GSPMD does the rest through `jax.jit`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from distill_jax.configuration import setting
from distill_jax.errors import UserError
from distill_jax.models.partitioning import ANYWHERE, Place, Rules, mesh_spec

MESH_AXES = ("slice", "data", "fsdp", "model")

LOGICAL_AXIS_RULES: Rules = (
    # Of activations; where `batch` takes `fsdp`, `embed` finds it taken and stays whole.
    ("batch", ("slice", "data", "fsdp")),
    ("length", None),
    ("kv", None),
    # Of parameters and of activations.
    ("vocab", "model"),
    ("mlp", "model"),
    ("heads", "model"),
    ("joined_kv", "model"),
    ("embed", "fsdp"),
    ("relpos_buckets", None),
    ("layers", None),
)
"""Logical axis → mesh axis: tensor parallelism over `model`, parameters spread over `fsdp`.

Slices, between which the network is slow, exchange gradients only.
"""


Overrides = Mapping[str, str | Sequence[str] | None]
"""Rows of `LOGICAL_AXIS_RULES` to replace: logical axis → mesh axis or axes, None for whole."""


def logical_axis_rules(overrides: Overrides | None = None) -> Rules:
    """`LOGICAL_AXIS_RULES` with some of its rows replaced, or with rows added behind.

    Raises `UserError` if a mesh axis is unknown.
    """
    overrides = dict(overrides or {})
    rules = []
    for name, axes in overrides.items():
        for axis in (axes,) if isinstance(axes, str) else axes or ():
            if axis not in MESH_AXES:
                raise UserError(
                    f"LOGICAL_AXIS_RULES: {name!r} goes to the mesh axis {axis!r}, which does not "
                    f"exist; use {', '.join(MESH_AXES)} or None"
                )
        rules.append((name, axes if axes is None or isinstance(axes, str) else tuple(axes)))
    replaced = dict(rules)
    kept = [(name, replaced.pop(name, axes)) for name, axes in LOGICAL_AXIS_RULES]
    return (*kept, *replaced.items())


def place_on(mesh: Mesh, rules: Rules = LOGICAL_AXIS_RULES) -> Place:
    """A mesh with these rules for all that is on it."""
    return Place(mesh, rules)


@dataclasses.dataclass(frozen=True)
class Placement:
    """The device mesh of a run, and where logical axes live on it.

    `data`, `fsdp` and `model` count devices of one slice; -1 for `data` takes what the others
    leave. `num_slices` counts the slices (or hosts of GPUs) that a slower network joins.
    `first_devices` uses only so many of the devices there are (None: all). `axis_rules` replace
    rows of `LOGICAL_AXIS_RULES`, `teacher_axis_rules` those of a teacher within the step (None: the
    same).
    """

    data: int = setting(-1, macro="MESH_DATA", free=True)
    fsdp: int = setting(1, macro="MESH_FSDP", free=True)
    model: int = setting(1, macro="MESH_MODEL", free=True)
    num_slices: int = setting(1, macro="NUM_SLICES", free=True)
    first_devices: int | None = setting(None, free=True)
    axis_rules: Overrides | None = setting(None, macro="LOGICAL_AXIS_RULES", free=True)
    teacher_axis_rules: Overrides | None = setting(
        None, macro="TEACHER_LOGICAL_AXIS_RULES", free=True
    )

    def mesh(self, devices: Sequence[jax.Device] | None = None) -> Mesh:
        """The mesh over these devices (None: all); see `make_mesh`."""
        devices = jax.devices() if devices is None else devices
        return make_mesh(
            self.data, self.fsdp, self.model, devices[: self.first_devices], self.num_slices
        )

    def place(self, devices: Sequence[jax.Device] | None = None) -> Place:
        """The mesh over these devices with the rules of the student and of a teacher within the step."""
        own, teacher = self.axis_rules, self.teacher_axis_rules
        return Place(
            self.mesh(devices),
            logical_axis_rules(own),
            logical_axis_rules(own if teacher is None else teacher),
        )


def make_mesh(
    data: int = -1,
    fsdp: int = 1,
    model: int = 1,
    devices: Sequence[jax.Device] | None = None,
    num_slices: int = 1,
) -> Mesh:
    """A mesh over all devices; the arguments are fields of `Placement`.

    Raises `UserError` if an axis is below 1, or the axes do not multiply to the number of devices,
    or the slices are not so many.
    """
    devices = jax.devices() if devices is None else devices
    if min(fsdp, model, num_slices) < 1 or (data < 1 and data != -1):
        raise UserError(
            f"make_mesh: data {data}, fsdp {fsdp}, model {model}, num_slices {num_slices}: each must "
            "be at least 1; only data may be -1, which takes what the other axes leave"
        )
    if data == -1:
        data = len(devices) // (num_slices * fsdp * model) or 1
    shape = (num_slices, data, fsdp, model)
    if math.prod(shape) != len(devices):
        slices = f"num_slices {num_slices} x " if num_slices > 1 else ""
        raise UserError(
            f"make_mesh: data {data} x {slices}fsdp {fsdp} x model {model} is {math.prod(shape)} "
            f"devices but there are {len(devices)}; choose axes whose product is the number of "
            "devices"
        )
    return Mesh(_arrange(shape, devices), MESH_AXES)


def _arrange(shape: tuple[int, int, int, int], devices: Sequence[Any]) -> np.ndarray:
    """Devices so that the mesh's inner axes lie on the fast network, its first on the slow one."""
    num_slices, *inner = shape
    if devices[0].platform == "cpu":
        return np.array(devices).reshape(shape)
    slices_there = len({getattr(device, "slice_index", 0) for device in devices})
    by_process = num_slices > 1 and slices_there == 1
    if by_process:
        slices_there = len({device.process_index for device in devices})
    # A GPU's slices are what its driver calls so; only a TPU's are sure to need an axis.
    if slices_there != num_slices and (num_slices > 1 or devices[0].platform == "tpu"):
        raise UserError(
            f"make_mesh: num_slices is {num_slices} but the devices are {slices_there} slices or hosts; "
            f"set NUM_SLICES={slices_there}"
        )
    if num_slices == 1:
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return mesh_utils.create_hybrid_device_mesh(
        (1, *inner),
        (num_slices, 1, 1, 1),
        devices,
        process_is_granule=by_process,
        allow_split_physical_axes=True,
    )


def local_place(model_parallel: int) -> Place:
    """So many of this process's devices, for a model that is split over them.

    Raises `UserError` if there are not so many.
    """
    if model_parallel == 1:
        return ANYWHERE
    devices = jax.local_devices()
    if not 1 <= model_parallel <= len(devices):
        raise UserError(
            f"the model is to be split over {model_parallel} devices and there are {len(devices)} here; "
            "choose a number from 1 to that"
        )
    return place_on(make_mesh(1, 1, model_parallel, devices[:model_parallel]))


def state_shardings(tree: Any, mesh: Mesh, rules: Rules | None = None) -> Any:
    """A `NamedSharding` for every leaf of a tree whose leaves carry logical axis names.

    `tree` holds abstract arrays, boxed with their names (`flax.linen.with_logical_partitioning`).
    An axis that does not divide evenly, or a leaf whose rank is not that of its names (factored
    optimizer statistics), stays whole: correct, only less spread. `rules` None are `LOGICAL_AXIS_RULES`.
    """
    rules = LOGICAL_AXIS_RULES if rules is None else rules

    def sharding(leaf: Any) -> NamedSharding:
        names = leaf.names if isinstance(leaf, nn.LogicallyPartitioned) else ()
        shape = leaf.unbox().shape if isinstance(leaf, nn.LogicallyPartitioned) else leaf.shape
        if len(names) != len(shape):
            return NamedSharding(mesh, PartitionSpec())
        return NamedSharding(mesh, mesh_spec(names, shape, mesh, rules))

    return jax.tree.map(sharding, tree, is_leaf=lambda leaf: isinstance(leaf, nn.Partitioned))


def batch_axes(mesh: Mesh, rules: Rules | None = None) -> tuple[str, ...]:
    """The mesh axes that split a batch, of whatever size."""
    rules = LOGICAL_AXIS_RULES if rules is None else rules
    axes = mesh_spec(("batch",), (0,), mesh, rules)[0]
    return (axes,) if isinstance(axes, str) else tuple(axes or ())


def batch_sharding(mesh: Mesh, rules: Rules | None = None) -> NamedSharding:
    """Splits the leading axis of a batch over the data-parallel axes."""
    return NamedSharding(mesh, PartitionSpec(batch_axes(mesh, rules) or None))


def check_batch_size(
    batch_size: int, mesh: Mesh, *, accumulate: int = 1, rules: Rules | None = None
) -> None:
    """Raises `UserError` if a batch, or each of `accumulate` parts, does not divide over the mesh."""
    parts = math.prod(mesh.shape[axis] for axis in batch_axes(mesh, rules))
    if batch_size < 1 or batch_size % (parts * accumulate):
        times = f" in {accumulate} micro-batches" if accumulate > 1 else ""
        raise UserError(
            f"BATCH_SIZE {batch_size} does not divide over the {parts} data-parallel devices of "
            f"the mesh{times}; use a multiple of {parts * accumulate}"
        )
