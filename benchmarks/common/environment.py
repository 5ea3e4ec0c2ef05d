"""On what a benchmark ran: part of every result."""

import argparse
import importlib.metadata
import os
import sys
from typing import Any

import jax


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment(options: argparse.Namespace, *packages: str) -> dict[str, Any]:
    """Options, versions (of this project, JAX and `packages`; None: not installed) and the device."""

    def version(package: str) -> str | None:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    named = ("distill_jax", "jax", "jaxlib", *packages)
    return {
        "options": vars(options),
        "versions": {"python": sys.version.split()[0]} | {name: version(name) for name in named},
        "device": {
            "backend": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
            "cores": cores(),
        },
    }
