"""The device mesh, and where each logical axis lives on it.

One table decides how everything is partitioned; GSPMD does the rest through `jax.jit`.
"""

import math
from collections.abc import Sequence
from typing import Any

import gin
import jax
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from distill_jax.errors import UserError

MESH_AXES = ("data", "fsdp", "model")

Rules = Sequence[tuple[str, str | tuple[str, ...] | None]]

LOGICAL_AXIS_RULES: Rules = (
    ("batch", ("data", "fsdp")),
    ("vocab", "model"),
    ("mlp", "model"),
    ("heads", "model"),
    ("joined_kv", "model"),
    ("embed", "fsdp"),
    ("kv", None),
    ("length", None),
    ("relpos_buckets", None),
)
"""Logical axis → mesh axis: tensor parallelism over `model`, parameters spread over `fsdp`."""


@gin.configurable
def make_mesh(
    data: int = -1, fsdp: int = 1, model: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """A mesh over all devices; -1 for `data` takes what the other axes leave.

    Raises `UserError` if an axis is below 1 or the axes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    if min(fsdp, model) < 1 or (data < 1 and data != -1):
        raise UserError(
            f"make_mesh: data {data}, fsdp {fsdp}, model {model}: each axis must be at least 1; "
            "only data may be -1, which takes what the other axes leave"
        )
    if data == -1:
        data = len(devices) // (fsdp * model) or 1
    shape = (data, fsdp, model)
    if math.prod(shape) != len(devices):
        raise UserError(
            f"make_mesh: data {data} x fsdp {fsdp} x model {model} is {math.prod(shape)} devices "
            f"but there are {len(devices)}; choose axes whose product is the number of devices"
        )
    return Mesh(np.array(devices).reshape(shape), MESH_AXES)


def state_shardings(tree: Any, mesh: Mesh, rules: Rules = LOGICAL_AXIS_RULES) -> Any:
    """A `NamedSharding` for every leaf of a tree whose leaves carry logical axis names.

    `tree` holds abstract arrays, boxed with their names (`flax.linen.with_logical_partitioning`).
    An axis that does not divide evenly, or a leaf whose rank is not that of its names (factored
    optimizer statistics), stays whole: correct, only less spread.
    """

    def sharding(leaf: Any) -> NamedSharding:
        names = leaf.names if isinstance(leaf, nn.LogicallyPartitioned) else ()
        shape = leaf.unbox().shape if isinstance(leaf, nn.LogicallyPartitioned) else leaf.shape
        if len(names) != len(shape):
            return NamedSharding(mesh, PartitionSpec())
        spec = nn.logical_to_mesh_axes(names, rules=rules)
        return NamedSharding(mesh, PartitionSpec(*map(_divisible(mesh), spec, shape)))

    return jax.tree.map(sharding, tree, is_leaf=lambda leaf: isinstance(leaf, nn.Partitioned))


def _divisible(mesh: Mesh) -> Any:
    def keep(axes: Any, size: int) -> Any:
        names = (axes,) if isinstance(axes, str) else tuple(axes or ())
        return axes if size % math.prod(mesh.shape[name] for name in names) == 0 else None

    return keep


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Splits the leading axis of a batch over the data-parallel axes."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises `UserError` if a batch does not divide over the mesh."""
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if batch_size < 1 or batch_size % parts:
        raise UserError(
            f"BATCH_SIZE {batch_size} does not divide over the {parts} data-parallel devices of "
            f"the mesh; use a multiple of {parts}"
        )
