"""Devices to compile for: those of a TPU slice that is not there, a present GPU's, or the CPU's."""

import math
import os
import re
from collections.abc import Sequence
from typing import Any

import jax

from distill_jax.errors import UserError

_NAME = re.compile(r"(v\w+):(\d+(?:x\d+)*)")
_SMALL = {
    "v4": ("2x2x1", "2x2x2", "2x2x4", "2x4x4"),
    "v5e": ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "v5p": ("2x2x1", "2x2x2", "2x2x4", "2x4x4"),
    "v6e": ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
}
"""The slices that Google Cloud's page of each chip lists; for v4 and v5p those below a cube of 4x4x4."""
_MOST_CHIPS = {"v4": 4096, "v5p": 6144}
"""Of a slice made of such cubes, which may have any shape."""
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
    parsed = _NAME.fullmatch(name)
    if not parsed or parsed[1] not in _SMALL:
        raise UserError(
            f"--topology {name!r} is unknown; use cpu, gpu, or a TPU slice like v4:2x2x2, v5e:4x4, "
            "v5p:2x2x4 or v6e:4x4"
        )
    family, shape = parsed[1], parsed[2]
    dimensions = [int(size) for size in shape.split("x")]
    if shape not in _SMALL[family] and not _of_cubes(family, dimensions):
        cubes = ""
        if family in _MOST_CHIPS:
            cubes = f", and ascending multiples of 4 up to {_MOST_CHIPS[family]} chips, as 4x4x8"
        raise UserError(
            f"--topology {name!r} does not exist; {family} has {', '.join(_SMALL[family])}{cubes}"
        )
    return _described(name, dimensions, slices, _OPTIONS.get(family, {}))


def _of_cubes(family: str, dimensions: Sequence[int]) -> bool:
    return (
        len(dimensions) == 3
        and list(dimensions) == sorted(dimensions)
        and all(size and size % 4 == 0 for size in dimensions)
        and math.prod(dimensions) <= _MOST_CHIPS.get(family, 0)
    )


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
        first = str(error).splitlines()[0]
        raise UserError(
            f"--topology {name!r}: libtpu failed: {first}; install the version that JAX asks for: "
            "pip install 'distill_jax[tpu]'"
        ) from error
    return list(described.devices)
