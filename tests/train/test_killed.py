"""A run killed again and again at random moments ends with the bits of one that was left alone.

`DISTILL_JAX_KILLS` is the number of kills: `DISTILL_JAX_KILLS=50 pytest tests/train/test_killed.py`.
"""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train.processes import ended, start
from tests.train.toy import assert_same, metrics

KILLS = int(os.environ.get("DISTILL_JAX_KILLS", "4"))
OPTIONS: dict[str, Any] = {"mesh": {}, "steps": 40, "save": 2, "pause": 0.05}


def final_params(directory: Path) -> dict[str, np.ndarray]:
    return dict(np.load(directory / "params.npz"))


def logged_or_ended(directory: Path, step: int, process: Any) -> None:
    """Waits until the run has logged that step, or has ended."""
    path = directory / "metrics.jsonl"
    while process.poll() is None and step:
        if path.exists() and f'"step": {step},' in path.read_text():
            return
        time.sleep(0.02)


@pytest.mark.slow
def test_sigkill_at_random_moments(compilation_cache_directory: str, tmp_path: Path) -> None:
    def begin(directory: Path) -> Any:
        return start(compilation_cache_directory, 2, directory=str(directory), **OPTIONS)

    assert ended(begin(tmp_path / "whole"))[0] == 0
    expected, lines = final_params(tmp_path / "whole"), metrics(tmp_path / "whole")

    def finish(directory: Path) -> None:
        code, error = ended(begin(directory))
        assert code == 0, error
        assert_same(final_params(directory), expected)
        assert metrics(directory) == lines

    moments = random.Random(0)
    runs, killed, resumed = 1, 0, 0
    while killed < KILLS:
        directory = tmp_path / f"run{runs}"
        process = begin(directory)
        if killed % 4 != 2:
            # Up to eight steps from where it goes on, however long they take, and a bit.
            opening = next((line for line in process.stderr if "; steps " in line), "")
            resumed += "resumed from" in opening
            first = int(opening.partition("; steps ")[2].partition(" ")[0] or OPTIONS["steps"])
            logged_or_ended(directory, first + moments.randint(0, 8), process)
            time.sleep(moments.uniform(0, 0.1))
        else:
            time.sleep(moments.uniform(0, 1.5))  # while Python and JAX start, mostly
        process.send_signal(signal.SIGKILL)
        code, _ = ended(process)
        killed += code == -signal.SIGKILL
        if code == 0:  # trained to the end before the kill: another one
            finish(directory)
            runs += 1
    assert resumed > KILLS // 4
    finish(tmp_path / f"run{runs}")
