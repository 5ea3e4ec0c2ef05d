"""Devices to compile for: those of a TPU slice that is not there, a present GPU's, or the CPU's."""

import os
import re
from collections.abc import Sequence
from typing import Any

import jax

from distill_jax.errors import UserError

FAMILIES = ("v4", "v5e", "v5p", "v6e")
_NAME = re.compile(r"(v\w+):(\d+(?:x\d+){1,2})")
# A v4 chip is one device to JAX on a TPU VM; the description has its two cores unless told so.
_OPTIONS = {"v4": {"chip_config_name": "megacore"}}


def topology_devices(name: str, slices: int = 1) -> Sequence[Any]:
    """The devices of a topology.

    `name` is `v4:2x2x2`, `v5e:4x4`, `v5p:2x2x4`, `v6e:2x4` and so on, as Google Cloud writes them, for
    which libtpu compiles without a TPU; or `cpu` or `gpu` for what this machine has.

    Raises `UserError` if there is no such topology, no libtpu, or no GPU.
    """
    if slices < 1:
        raise UserError(f"--slices is {slices}; it must be at least 1")
    if name in ("cpu", "gpu"):
        if slices > 1:
            raise UserError(f"--slices is for TPU topologies, not for {name!r}; leave it out")
        try:
            return jax.devices(name)
        except RuntimeError:
            raise UserError(f"--topology {name}: this machine has none that JAX can use") from None
    found = _NAME.fullmatch(name)
    if not found or found[1] not in FAMILIES:
        raise UserError(
            f"--topology {name!r} is unknown; use cpu, gpu, or a TPU slice like v4:2x2x2, v5e:4x4, "
            "v5p:2x2x4 or v6e:4x4"
        )
    family, dimensions = found[1], [int(size) for size in found[2].split("x")]
    flat = family in ("v5e", "v6e")
    if len(dimensions) != (2 if flat else 3):
        example = f"{family}:4x4" if flat else f"{family}:2x2x4"
        raise UserError(
            f"--topology {name!r}: a slice of {family} has {2 if flat else 3} dimensions, as {example}"
        )
    return _described(name, dimensions, slices, _OPTIONS.get(family, {}))


def _described(
    name: str, dimensions: Sequence[int], slices: int, options: dict[str, Any]
) -> Sequence[Any]:
    try:
        import libtpu  # noqa: F401
    except ImportError:
        raise UserError(
            f"--topology {name!r} needs libtpu, which compiles for TPUs without one; "
            "pip install 'distill_jax[tpu]'"
        ) from None
    from jax.experimental import topologies

    # Without these libtpu asks Google Cloud's metadata server which machine it is on.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    # Compiling takes no TPU, so several processes may do it at a time.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    if dimensions == [1, 1]:  # a host of one chip
        options = {**options, "chips_per_host_bounds": (1, 1, 1)}
    try:
        described = topologies.get_topology_desc(name, platform="tpu", num_slices=slices, **options)
    except Exception as error:
        kind, _, first = str(error).splitlines()[0].partition(": ")
        if kind not in ("INVALID_ARGUMENT", "NOT_FOUND"):
            raise UserError(f"--topology {name!r}: libtpu failed: {kind}: {first}") from error
        raise UserError(
            f"--topology {name!r} does not exist: {first}; use sizes that Google Cloud offers, as "
            "v5e:2x2, v5e:4x4 or v5p:2x2x4"
        ) from None
    return list(described.devices)
