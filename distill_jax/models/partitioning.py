"""Where activations live on a device mesh, said by logical axis names.

Modules call `constrain`, which does nothing unless the program is traced within `partitioning`: the
same module serves one device, a mesh, and a function mapped over devices.
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Rules = Sequence[tuple[str, str | tuple[str, ...] | None]]
"""Logical axis → mesh axis or axes (None: whole), the first that is free winning."""


class Place(NamedTuple):
    """A mesh (None: one device), and where logical axes live on it; `teacher_rules` None: the same."""

    mesh: Mesh | None = None
    rules: Rules = ()
    teacher_rules: Rules | None = None


ANYWHERE = Place()
"""One device."""

_ACTIVE: contextvars.ContextVar[tuple[Mesh, Rules, Rules] | None] = contextvars.ContextVar(
    "partitioning", default=None
)
"""The mesh, the rules in force, and those of a teacher in the same program."""


@contextlib.contextmanager
def partitioning(
    mesh: Mesh | None, rules: Rules, teacher_rules: Rules | None = None
) -> Iterator[None]:
    """Within it, `constrain` places activations on `mesh` by `rules`; None switches it off.

    `teacher_rules` (None: the same) are for what is computed within `teacher_partitioning`.
    Enter it inside the function that is jitted, so that every trace of it sees the same mesh.
    """
    of_teacher = rules if teacher_rules is None else teacher_rules
    token = _ACTIVE.set(None if mesh is None else (mesh, rules, of_teacher))
    try:
        yield
    finally:
        _ACTIVE.reset(token)


@contextlib.contextmanager
def teacher_partitioning() -> Iterator[None]:
    """Within it the rules of a teacher are in force: around its forward pass in a student's step.

    It does nothing where no `partitioning` is in force.
    """
    active = _ACTIVE.get()
    if active is None:
        yield
        return
    mesh, _, rules = active
    with partitioning(mesh, rules):
        yield


def platform() -> str:
    """What the program being traced will run on: the mesh's devices, else this process's."""
    active = _ACTIVE.get()
    return jax.default_backend() if active is None else active[0].devices.flat[0].platform


def mesh_spec(
    names: Sequence[str | None], shape: Sequence[int], mesh: Mesh, rules: Rules
) -> PartitionSpec:
    """The mesh axes of an array's axes. No mesh axis is used twice; rules come in order.

    A name without a rule, a mesh axis that `mesh` lacks, and an array axis that does not divide
    evenly stay whole: correct, only less spread.
    """
    known = [(name, _present(axes, mesh)) for name, axes in rules]
    spec = nn.logical_to_mesh_axes(tuple(names), rules=known) or ()

    def keep(axes: str | tuple[str, ...] | None, size: int) -> str | tuple[str, ...] | None:
        used = (axes,) if isinstance(axes, str) else tuple(axes or ())
        return axes if size % math.prod(mesh.shape[axis] for axis in used) == 0 else None

    return PartitionSpec(*map(keep, spec, shape))


def _present(axes: str | tuple[str, ...] | None, mesh: Mesh) -> str | tuple[str, ...] | None:
    if isinstance(axes, str):
        return axes if axes in mesh.shape else None
    return tuple(axis for axis in axes if axis in mesh.shape) or None if axes else None


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Places `x`, whose axes have these logical names, as the rules in force say."""
    active = _ACTIVE.get()
    if active is None:
        return x
    mesh, rules, _ = active
    spec = mesh_spec(names, x.shape, mesh, rules)
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))
