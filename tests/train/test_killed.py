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

KILLS = int(os.environ.get("DISTILL_JAX_KILLS", "6"))
OPTIONS: dict[str, Any] = {"mesh": {}, "steps": 40, "save": 2, "pause": 0.05}


def final_params(directory: Path) -> dict[str, np.ndarray]:
    return dict(np.load(directory / "params.npz"))


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
        # Reading up to the opening line leaves the start of Python and JAX behind, mostly.
        opening = process.stderr.readline() if moments.random() < 0.9 else ""
        resumed += "resumed from" in opening
        time.sleep(moments.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        code, _ = ended(process)
        killed += code == -signal.SIGKILL
        if code == 0:  # trained to the end before the kill: another one
            finish(directory)
            runs += 1
    assert resumed > KILLS // 4
    finish(tmp_path / f"run{runs}")
