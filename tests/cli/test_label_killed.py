"""`distill-jax label` killed again and again ends with the bytes of a job that ran through."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.tagger import save_random_bilstm
from distill_jax.labels.store import TeacherLabels
from distill_jax.tagging import LabelSet
from tests.killing import check_killed_at_random_moments

SHARDS = 300


@pytest.mark.slow
def test_sigkill_at_random_moments(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(50)]
    pool = [[words[i] for i in rng.integers(0, 50, 6)] + [f"n{n}"] for n in range(2 * SHARDS)]
    (tmp_path / "pool.txt").write_text("".join(" ".join(sentence) + "\n" for sentence in pool))
    save_random_bilstm(tmp_path / "model", pool, LabelSet(("day", "city")), dim=2)
    command = ["label", "--shard_size", "2", "--model", str(tmp_path / "model")]
    check_killed_at_random_moments(
        [*command, "--input", str(tmp_path / "pool.txt")],
        tmp_path,
        "*.array_record",
        lambda store: TeacherLabels(store).verify(),
    )
