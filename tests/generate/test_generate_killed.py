"""`distill-jax generate` killed again and again ends with the bytes of a job that ran through."""

from pathlib import Path

import pytest

from distill_jax.data import demo
from distill_jax.data.readers import write_conll
from distill_jax.generate.pool import GeneratedPool
from tests.killing import check_killed_at_random_moments
from tests.tiny import write_t5_start


@pytest.mark.slow
def test_sigkill_at_random_moments(tmp_path: Path) -> None:
    write_t5_start(tmp_path / "t5")
    write_conll(tmp_path / "gold.conll", demo.generate("train", 20))
    command = [
        "generate",
        "--from",
        "infill",
        "--model",
        str(tmp_path / "t5"),
        "--max_tokens",
        "16",
    ]
    # What a random T5 writes is longer than gold sentences, and often the same.
    command += [
        "--gold",
        str(tmp_path / "gold.conll"),
        "--length",
        "0",
        "0",
        "--keep",
        "unfinished",
    ]
    check_killed_at_random_moments(
        [*command, "--number", "400", "--shard_size", "2"],
        tmp_path,
        "part-*.json",
        lambda pool: GeneratedPool(pool).verify(),
    )
