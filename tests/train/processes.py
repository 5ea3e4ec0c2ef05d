"""Starts `tests.train.job` in processes of its own, with programs compiled once for all of them."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests import xla_flags
from tests.compiled_once import cache_environment

ROOT = Path(__file__).resolve().parents[2]

# TensorBoard's writer imports PyTorch where it is installed, which takes longer than all the rest.
_PROGRAM = """
import json, sys
sys.modules["torch"] = None
from tests.train.job import main
main(json.loads(sys.argv[1]))
"""


def start(cache: str, devices: int, **options: Any) -> subprocess.Popen[str]:
    """A process that sees so many devices."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{xla_flags.devices(devices)} {xla_flags.quick_to_compile()}",
        "PYTHONPATH": str(ROOT),
        **cache_environment(cache),
    }
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, json.dumps(options)],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_job(cache: str, processes: int, devices: int, **options: Any) -> list[Any]:
    """All processes of a job, with so many devices together."""
    port = free_port()
    own = devices // processes
    return [
        start(cache, own, processes=processes, process=number, port=port, **options)
        for number in range(processes)
    ]


def free_port() -> int:
    """A port of the loopback that nothing uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ended(process: subprocess.Popen[str], timeout: float = 120) -> tuple[int, str]:
    """Its exit code and what it wrote to standard error."""
    try:
        _, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, error


def wait_for_line(path: Path, step: int, process: Any, timeout: float = 120) -> None:
    """Waits until the run has logged a step in its `metrics.jsonl`."""
    deadline = time.monotonic() + timeout
    while f'"step": {step},' not in (path.read_text() if path.exists() else ""):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"step {step} was not reached"
        time.sleep(0.05)
