"""Lets the C library ask for huge pages, which it decides before Python starts: the process replaces itself.

A step allocates and frees buffers of megabytes, and each of their pages of 4 KiB costs a fault: on a CPU
a fifth to a quarter of a T5's step. With the tunable `glibc.malloc.hugetlb=1` (glibc 2.35) such memory is
marked for transparent huge pages, as Linux gives them in its usual mode `madvise`, and nothing else changes.
"""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

COMMANDS = frozenset({"demo", "fit", "train", "study", "generate", "label"})
"""Those that compute for long. The others answer soon, and another start of Python would be noticed."""

_TUNABLES = "GLIBC_TUNABLES"
_NAME = "glibc.malloc.hugetlb"
# Says that it is taken care of: a process whose tunables the system drops must not start again and again.
_SWITCH = "DISTILL_JAX_HUGE_PAGES"
_SINCE = (2, 35)


def start_with_huge_pages(program: str) -> None:
    """Replaces this process by itself with the tunable in force, once; returns where that is not to be.

    It is for the console script and `python -m distill_jax` alone (`program` is that module's file): whoever
    else calls has a program of his own, which must not begin again. The process keeps its number, its open
    files and the signals that it ignores.
    """
    if sys.argv[0] != program and Path(sys.argv[0]).name != "distill-jax":
        return
    environment = tuned(sys.argv[1:], os.environ, glibc_version())
    if environment is None or not sys.executable:
        return
    with contextlib.suppress(OSError):  # it is no faster then, and that is all
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def tuned(
    arguments: Sequence[str], environment: Mapping[str, str], glibc: tuple[int, ...] | None
) -> dict[str, str] | None:
    """The environment to start a command with; None: it is to run as it is.

    It is left alone where `DISTILL_JAX_HUGE_PAGES` is set (to 0 by a user, to 1 by ourselves), or a user has
    given the tunable; other tunables stay.
    """
    if not arguments or arguments[0] not in COMMANDS or glibc is None or glibc < _SINCE:
        return None
    given = environment.get(_TUNABLES, "")
    if _SWITCH in environment or _NAME in given:
        return None
    value = f"{given}:{_NAME}=1" if given else f"{_NAME}=1"
    return {**environment, _TUNABLES: value, _SWITCH: "1"}


def glibc_version() -> tuple[int, ...] | None:
    """Of the C library of this process; None: it is another one."""
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        return tuple(map(int, version.split("."))) if name == "glibc" else None
    except (AttributeError, OSError, ValueError):
        return None
