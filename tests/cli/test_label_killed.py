"""`distill-jax label` killed again and again ends with the bytes of a job that ran through.

`DISTILL_JAX_KILLS` is the number of kills.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.tagger import save_random_bilstm
from distill_jax.labels.store import TeacherLabels
from distill_jax.tagging import LabelSet

KILLS = int(os.environ.get("DISTILL_JAX_KILLS", "8"))
SHARDS = 300


def content(directory: Path) -> dict[str, bytes]:
    # What a kill leaves aside has a name that begins with a dot; it is never read.
    return {p.name: p.read_bytes() for p in directory.iterdir() if not p.name.startswith(".")}


@pytest.mark.slow
def test_sigkill_at_random_moments(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(50)]
    pool = [[words[i] for i in rng.integers(0, 50, 6)] + [f"n{n}"] for n in range(2 * SHARDS)]
    (tmp_path / "pool.txt").write_text("".join(" ".join(sentence) + "\n" for sentence in pool))
    save_random_bilstm(tmp_path / "model", pool, LabelSet(("day", "city")), dim=2)

    def start(store: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distill_jax", "label", "--shard_size", "2"]
        command += ["--model", str(tmp_path / "model"), "--input", str(tmp_path / "pool.txt")]
        return subprocess.Popen([*command, "--output", str(store)], stderr=subprocess.DEVNULL)

    begin = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0
    whole_seconds = time.monotonic() - begin
    whole = content(tmp_path / "whole")

    def shards(store: Path) -> int:
        return len(list(store.glob("*.array_record")))

    def finish(store: Path) -> None:
        assert start(store).wait() == 0
        assert content(store) == whole
        TeacherLabels(store).verify()

    moments = random.Random(0)
    stores, killed, resumed = 1, 0, 0
    while killed < KILLS:
        store = tmp_path / f"store{stores}"
        before = shards(store)
        job = start(store)
        if killed % 4 != 2:
            # Some shards on from where it begins, however long they take, and a bit.
            enough = before + moments.randint(1, SHARDS // 8)
            while job.poll() is None and shards(store) < enough:
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.02))
        else:
            time.sleep(moments.uniform(0, 0.5) * whole_seconds)  # while Python and JAX start
        job.send_signal(signal.SIGKILL)
        code = job.wait()
        killed += code == -signal.SIGKILL
        resumed += 0 < before < shards(store) < SHARDS
        if code == 0:  # labelled all before the kill: another one
            finish(store)
            stores += 1
    assert resumed > KILLS // 4
    finish(tmp_path / f"store{stores}")
