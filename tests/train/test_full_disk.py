"""Checkpoints on a full disk: one line, now or when the writing in the background is waited for."""

import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.train.checkpoints import RunCheckpoints
from distill_jax.train.state import TrainState
from tests.full_disk import no_file_above

RUN = {"selection": {"best_step": 0}}


def state(step: int) -> TrainState:
    values = np.random.default_rng(step).random(20_000, np.float32)
    return TrainState(step=jnp.int32(step), params={"a": jnp.asarray(values)}, opt_state=())


def wait_until_nothing_changes(folder: Path) -> None:
    """What fails in the background goes on for a moment; the command that goes on is another process."""
    before = None
    while (now := sorted(folder.rglob("*"))) != before:
        before = now
        time.sleep(0.3)


@pytest.mark.parametrize("size", [0, 300, 30_000])
def test_the_checkpoint_before_is_gone_on_from(tmp_path: Path, size: int, capfd: Any) -> None:
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1), RUN)
        checkpoints.wait()
    capfd.readouterr()
    # The disk is full until all is closed: with room again, what is still being written would be whole.
    with (
        pytest.raises(UserError) as error,
        no_file_above(size),
        RunCheckpoints(tmp_path) as checkpoints,
    ):
        checkpoints.save(state(2), RUN)
        checkpoints.wait()
    for part in (f"{tmp_path}: a checkpoint cannot be written (File too large)", "same command"):
        assert part in str(error.value)
    assert "Traceback" not in capfd.readouterr().err
    wait_until_nothing_changes(tmp_path)
    with RunCheckpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step() == 1
        restored, _ = checkpoints.restore(state(0))
        np.testing.assert_array_equal(restored.params["a"], state(1).params["a"])
        checkpoints.save(state(2), RUN)
        checkpoints.wait()
        assert checkpoints.latest_step() == 2
