"""The console script starts itself once more with the C library's tunable, and nothing else changes by it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distill_jax import huge_pages
from distill_jax.huge_pages import glibc_version, start_with_huge_pages, tuned

NEW = (2, 36)
needs_glibc = pytest.mark.skipif(
    (glibc_version() or (0,)) < (2, 35), reason="needs glibc 2.35 or later"
)

# A program in place of the command line: what it sees of its process.
SEES = """\
import os, signal, sys
print(os.getpid(), os.environ.get("GLIBC_TUNABLES"), signal.getsignal(signal.SIGTERM) == signal.SIG_IGN)
print(sys.stdin.read(), end="")
sys.exit(7)
"""


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": ""}, "glibc.malloc.hugetlb=1"),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"},
            "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1",
        ),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, None),
        ({"DISTILL_JAX_HUGE_PAGES": "0"}, None),
        ({"DISTILL_JAX_HUGE_PAGES": "1"}, None),  # a system that drops the tunables
    ],
)
def test_what_a_user_has_set_stays(given: dict[str, str], wanted: str | None) -> None:
    found = tuned(["train"], {"HOME": "/", **given}, NEW)
    assert (found or {}).get("GLIBC_TUNABLES") == wanted
    if found is not None:
        assert found["HOME"] == "/"
        assert tuned(["train"], found, NEW) is None  # once


def test_only_commands_that_compute_for_long_on_a_library_that_knows_it() -> None:
    for command in ("demo", "fit", "train", "study", "generate", "label"):
        assert tuned([command, "--out", "x"], {}, NEW) is not None
    for command in ("predict", "serve", "inspect", "evaluate", "--version"):
        assert tuned([command], {}, NEW) is None
    assert tuned([], {}, NEW) is None
    for library in (None, (2, 31)):
        assert tuned(["train"], {}, library) is None


def test_another_program_never_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it began again")

    monkeypatch.setattr(os, "execve", never)
    monkeypatch.setattr(huge_pages, "glibc_version", lambda: NEW)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(sys, "argv", ["/home/me/my_program.py", "train"])
    start_with_huge_pages("/lib/distill_jax/__main__.py")
    monkeypatch.setattr(sys, "argv", ["/bin/distill-jax", "train"])
    with pytest.raises(AssertionError):
        start_with_huge_pages("/lib/distill_jax/__main__.py")


@needs_glibc
def test_process_input_signals_and_exit_code_are_the_same(tmp_path: Path) -> None:
    script = tmp_path / "distill-jax"
    script.write_text(
        f"from distill_jax.huge_pages import start_with_huge_pages\nstart_with_huge_pages('')\n{SEES}"
    )
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GLIBC_TUNABLES", "DISTILL_JAX_HUGE_PAGES")
    }
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which a process inherits
    try:
        process = subprocess.Popen(
            [sys.executable, "-X", "utf8", str(script), "label", "a b"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    output, _ = process.communicate("what was given\n", timeout=60)
    assert output == f"{process.pid} glibc.malloc.hugetlb=1 True\nwhat was given\n"
    assert process.returncode == 7


@needs_glibc
def test_the_command_line_does_it_before_anything_else() -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GLIBC_TUNABLES", "DISTILL_JAX_HUGE_PAGES")
    }
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "distill_jax", "label", "--nonsense"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and "error" in done.stderr
    imported = re.findall(r"\| +(\S+)$", done.stderr, re.M)
    assert imported.count("distill_jax.huge_pages") == 2
    assert imported.count("distill_jax.cli.main") == 1
    assert imported.count("numpy") <= 1
