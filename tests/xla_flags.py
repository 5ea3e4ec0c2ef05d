"""XLA's flags in tests, which compile much and compute little.

XLA ends the process on a flag that it does not know, and its versions know different ones. Which of
them the installed one knows is therefore asked once a session, of processes of their own.
"""

import os
import subprocess
import sys
from collections.abc import Iterable

WANTED = (
    "--xla_backend_optimization_level=0",
    # The older code generator for fusions takes a third of the time; from JAX 0.12 on there is but one.
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",  # each core has a test process of its own
)

# Processes that tests start (pytest-xdist's too) find the answer here.
_ANSWER = "DISTILL_JAX_TEST_XLA_FLAGS"

# Making options is what reads the flags; a library's text is no evidence, since it names removed flags too.
_PROBE = "from jaxlib import xla_client; xla_client.CompileOptions()"


def devices(number: int) -> str:
    """So many virtual CPU devices."""
    return f"--xla_force_host_platform_device_count={number}"


def quick_to_compile() -> str:
    """Those of `WANTED` that the installed XLA knows."""
    if _ANSWER not in os.environ:
        os.environ[_ANSWER] = " ".join(known(WANTED))
    return os.environ[_ANSWER]


def known(flags: Iterable[str]) -> list[str]:
    """The flags with which XLA does not end the process, in their order."""
    flags = list(flags)
    if _accepts(*flags):
        return flags
    if not _accepts():
        raise RuntimeError(f"cannot ask XLA for its flags: {_PROBE!r} fails without any")
    return [flag for flag in flags if _accepts(flag)]


def _accepts(*flags: str) -> bool:
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join(flags)}
    done = subprocess.run([sys.executable, "-c", _PROBE], env=environment, capture_output=True)
    return done.returncode == 0
