"""What describes a job of several processes: flags, JAX's own variables, or the cluster."""

import glob
import importlib.util
import re
from collections.abc import Mapping
from typing import Any

from distill_jax.errors import UserError


def given_job(
    address: str | None, count: int | None, process: int | None, environment: Mapping[str, str]
) -> dict[str, Any] | None:
    """What flags and JAX's own variables say; None if nothing."""
    given: dict[str, Any] = {
        "coordinator_address": address or environment.get("JAX_COORDINATOR_ADDRESS"),
        "num_processes": count if count is not None else environment.get("JAX_NUM_PROCESSES"),
        "process_id": process if process is not None else environment.get("JAX_PROCESS_ID"),
    }
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if missing == ["num_processes", "process_id"] and in_cluster(environment):
        return {"coordinator_address": given["coordinator_address"]}  # as JAX itself reads it
    if missing:
        raise UserError(
            "a job of several processes needs all of --coordinator_address, --num_processes and "
            f"--process_id; add --{' and --'.join(missing)}"
        )
    for name in ("num_processes", "process_id"):
        if not str(given[name]).isdigit():
            raise UserError(f"--{name} is {given[name]!r}; give a number")
        given[name] = int(given[name])
    if not re.fullmatch(r".+:\d+", given["coordinator_address"]):
        raise UserError(
            f"--coordinator_address is {given['coordinator_address']!r}; give HOST:PORT of process 0"
        )
    if not given["process_id"] < given["num_processes"]:
        raise UserError(
            f"--process_id is {given['process_id']} of {given['num_processes']} processes; they are "
            "numbered from 0"
        )
    return given


def in_cluster(environment: Mapping[str, str]) -> bool:
    """Whether the environment is one of several processes that JAX describes by itself."""
    if int(environment.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in environment:
        return True
    if int(environment.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        return True
    if environment.get("JAX_PLATFORMS", "").split(",")[0] not in ("", "tpu"):
        return False
    if "," in environment.get("TPU_WORKER_HOSTNAMES", ""):
        return True
    if int(environment.get("MEGASCALE_NUM_SLICES", "1")) > 1:
        return True
    # A TPU virtual machine, which asks the cloud's metadata for the others; there may be none.
    accelerator = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    return bool(accelerator) and importlib.util.find_spec("libtpu") is not None
