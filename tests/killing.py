"""Jobs that write shards, killed again and again, which have to end with the bytes of one that ran through.

`DISTILL_JAX_KILLS` is the number of kills.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

KILLS = int(os.environ.get("DISTILL_JAX_KILLS", "8"))


def content(directory: Path) -> dict[str, bytes]:
    """The bytes of a job's files."""
    # What a kill leaves aside has a name that begins with a dot; it is never read.
    return {p.name: p.read_bytes() for p in directory.iterdir() if not p.name.startswith(".")}


def check_killed_at_random_moments(
    command: Sequence[str], folder: Path, shard: str, verify: Callable[[Path], None]
) -> None:
    """Kills `distill-jax COMMAND --output DIR` and starts it again, until `KILLS` kills have hit.

    Args:
        command: all but the output.
        folder: where the outputs go.
        shard: a pattern that every shard has one file of.
        verify: looks at a finished output.
    """

    def start(output: Path) -> subprocess.Popen[bytes]:
        whole_command = [sys.executable, "-m", "distill_jax", *command, "--output", str(output)]
        return subprocess.Popen(whole_command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def written(output: Path) -> int:
        return len(list(output.glob(shard)))

    begin = time.monotonic()
    assert start(folder / "whole").wait() == 0
    whole_seconds = time.monotonic() - begin
    whole, shards = content(folder / "whole"), written(folder / "whole")

    def finish(output: Path) -> None:
        assert start(output).wait() == 0
        assert content(output) == whole
        verify(output)

    moments = random.Random(0)
    outputs, killed, resumed = 1, 0, 0
    while killed < KILLS:
        output = folder / f"output{outputs}"
        before = written(output)
        job = start(output)
        if killed % 4 != 2:
            # Some shards on from where it begins, however long they take, and a bit.
            enough = before + moments.randint(1, max(shards // 8, 1))
            while job.poll() is None and written(output) < enough:
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.02))
        else:
            time.sleep(moments.uniform(0, 0.5) * whole_seconds)  # while Python and JAX start
        job.send_signal(signal.SIGKILL)
        code = job.wait()
        killed += code == -signal.SIGKILL
        resumed += 0 < before < written(output) < shards
        if code == 0:  # it was done before the kill: another one
            finish(output)
            outputs += 1
    assert resumed > KILLS // 4
    finish(folder / f"output{outputs}")
