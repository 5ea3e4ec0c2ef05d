"""The Slurm script: the command as given, and back into the queue after what starting again mends."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.tpu_scripts.fake_cloud import SCRIPTS, add_command

SCRIPT = SCRIPTS / "slurm" / "train.sbatch"


def submit(
    tmp_path: Path, *arguments: str, code: int = 0, **more: str
) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Runs the script as Slurm does, and the calls of srun and scontrol."""
    calls = tmp_path / "calls"
    record = f'printf "%q " "$(basename "$0")" "$@" >>{calls}; echo >>{calls}; '
    add_command(tmp_path, "srun", f"#!/usr/bin/env bash\n{record} exit {code}\n")
    add_command(tmp_path, "scontrol", f"#!/usr/bin/env bash\n{record}\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")} | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "42",
        "SLURM_CPUS_PER_TASK": "8",
    }
    done = subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env=environment | more,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = calls.read_text().splitlines() if calls.exists() else []
    return done, [shlex.split(line) for line in lines]


COMMAND = ("train", "--gin.MODEL_DIR='/shared/run 1'")
SRUN = ["srun", "--cpus-per-task=8", "--gpu-bind=none", "--kill-on-bad-exit=0",
        ".venv/bin/distill-jax", *COMMAND]  # fmt: skip


def test_a_run_to_the_end(tmp_path: Path) -> None:
    done, calls = submit(tmp_path, *COMMAND)
    assert done.returncode == 0, done.stderr
    assert calls == [SRUN]


@pytest.mark.parametrize("code", [75, 134, 137, 143])
def test_back_into_the_queue(tmp_path: Path, code: int) -> None:
    done, calls = submit(tmp_path, *COMMAND, code=code)
    assert done.returncode == 0
    assert calls == [SRUN, ["scontrol", "requeue", "42"]]


@pytest.mark.parametrize("code", [1, 2])
def test_a_mistake_ends_the_job(tmp_path: Path, code: int) -> None:
    done, calls = submit(tmp_path, *COMMAND, code=code)
    assert done.returncode == code
    assert calls == [SRUN]


def test_restarts_are_limited(tmp_path: Path) -> None:
    done, calls = submit(tmp_path, *COMMAND, code=75, SLURM_RESTART_COUNT="3", MAX_RESTARTS="3")
    assert done.returncode == 75
    assert calls == [SRUN]


def test_without_a_command(tmp_path: Path) -> None:
    done, calls = submit(tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("train.sbatch: error: missing: the ")
    assert calls == []


def test_directives_come_before_the_first_command() -> None:
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [line for line in lines[:first] if line.startswith("#SBATCH ")]
    assert {"#SBATCH --requeue", "#SBATCH --signal=TERM@120", "#SBATCH --open-mode=append"} <= set(
        directives
    )
    assert not any(line.startswith("#SBATCH") for line in lines[first:])
