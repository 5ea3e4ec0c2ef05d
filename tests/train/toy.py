"""A model small enough to be trained dozens of times, its data, and runs of it.

It has parameters that the mesh splits over each axis, and one that no axis divides; its loss draws
random numbers and weighs its rows unequally, as the real ones do.
"""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from distill_jax.parallel.mesh import Placement
from distill_jax.train.loop import fit
from distill_jax.train.objective import Batch, Sums
from distill_jax.train.optimizers import AdamW
from distill_jax.train.same_run import NO_ORIGIN, Origin
from distill_jax.train.selection import Evaluate, Outcome
from distill_jax.train.training import Schedule, Training

BATCH = 8
ROWS, EMBED, MLP = 16, 8, 16
TIMES = (
    "steps_per_second",
    "step_seconds",
    "examples_per_second",
    "target_tokens_per_second",
    "input_wait_seconds",
    "compile_seconds",
    "seconds",
)


@dataclasses.dataclass(frozen=True)
class Regression:
    """Predicts a number for each id. Batch: `ids` int32[B], `targets`, `weights`, `bad` float32[B]."""

    mlp: int = MLP
    noise: float = 0.1

    def init(self, key: jax.Array) -> Any:
        def parameter(number: int, names: tuple[str, ...], *shape: int) -> Any:
            value = jax.random.normal(jax.random.fold_in(key, number), shape)
            return nn.LogicallyPartitioned(value, names)

        return {
            "embedding": parameter(0, ("vocab", "embed"), ROWS, EMBED),
            "kernel": parameter(1, ("embed", "mlp"), EMBED, self.mlp),
            "output": parameter(2, ("mlp",), self.mlp),
            "odd": parameter(3, ("embed", "mlp"), 3, 5),
        }

    def init_frozen(self, key: jax.Array) -> None:
        """There is no teacher."""

    def loss(self, params: Any, frozen: Any, batch: Batch, key: jax.Array | None) -> Sums:
        hidden = jnp.tanh(params["embedding"][batch["ids"]] @ params["kernel"])
        if key is not None and self.noise:
            hidden *= 1 + self.noise * jax.random.normal(key, hidden.shape)
        predicted = hidden @ params["output"] + params["odd"].sum()
        weights = batch["weights"]
        # Where a batch is bad: a finite loss whose gradient is not.
        bad = batch["bad"].sum()
        root = jnp.sqrt(jnp.where(bad > 0, params["output"].sum() * 0, 1.0)) * bad
        total = ((predicted - batch["targets"]) ** 2 * weights).sum() + root
        return {"loss": (total, weights.sum()), "size": (jnp.abs(predicted).sum(), jnp.float32(8))}


def make_batch(number: int) -> dict[str, np.ndarray]:
    """Batch `number` of the data; weights differ widely from batch to batch."""
    rng = np.random.default_rng(number)
    return {
        "ids": rng.integers(0, ROWS, BATCH).astype(np.int32),
        "targets": rng.normal(size=BATCH).astype(np.float32),
        "weights": rng.integers(0, 2 + 5 * (number % 2), BATCH).astype(np.float32),
        "bad": np.zeros(BATCH, np.float32),
    }


def make_data(change: Callable[[int, Any], Any] = lambda number, batch: batch) -> Any:
    """Batches without end, each changed by a function of its number."""
    return grain.MapDataset.range(10_000).map(lambda number: change(number, make_batch(number)))


def score(params: Any) -> dict[str, float]:
    """A dev score that goes up and down, but is a function of the parameters' bits."""
    total = sum(float(np.abs(np.asarray(leaf)).sum()) for leaf in jax.tree.leaves(params))
    return {"selection": float(np.sin(1000 * total)), "seconds": 0.5}


SCHEDULE = Schedule(train_steps=12, eval_period=2, checkpoint_period=3, log_period=5)


TWO_DEVICES = Placement(first_devices=2)


@dataclasses.dataclass(frozen=True)
class Made:
    """An optimizer of Optax's as a `Training` wants one."""

    transformation: optax.GradientTransformation
    learning_rate: float = 0.0

    def make(self) -> optax.GradientTransformation:
        return self.transformation

    def learning_rate_at(self, step: int) -> float:
        return self.learning_rate


def training(directory: Path, **changes: Any) -> Training:
    """How the toy is trained, on two devices; `changes` are fields of `Training`."""
    settings: dict[str, Any] = {
        "batch_size": BATCH,
        "optimizer": AdamW(learning_rate=0.05),
        "schedule": SCHEDULE,
        "seed": 5,
        "placement": TWO_DEVICES,
    }
    return Training(model_dir=str(directory), **(settings | changes))


def run(
    directory: Path,
    evaluate: Evaluate = score,
    *,
    data: Any = None,
    objective: Regression | None = None,
    origin: Origin = NO_ORIGIN,
    initial_params: Any = None,
    **changes: Any,
) -> Outcome:
    """Trains the toy; `changes` are fields of `Training`."""
    return fit(
        objective or Regression(),
        make_data() if data is None else data,
        evaluate,
        training(directory, **changes),
        initial_params=None if initial_params is None else lambda: initial_params,
        origin=origin,
    )


class Stop(Exception):
    """What stops a run in a test."""


def failing_at(call: int, fail: Callable[[], None]) -> Evaluate:
    """`score`, but evaluation number `call`, from 1, fails."""
    calls = 0

    def evaluate(params: Any) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == call:
            fail()
        return score(params)

    return evaluate


def never(*_: Any) -> Any:
    """An evaluation, or a batch, that a finished run must not ask for."""
    raise AssertionError("a finished run was taken up again")


def stop() -> None:
    raise Stop


def kill() -> None:
    """The end of a process that is given no chance to tidy up."""
    os.kill(os.getpid(), signal.SIGKILL)


def metrics(directory: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, without what the clock decides."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in TIMES} for line in lines]


def assert_same(found: Any, expected: Any) -> None:
    """Two trees of arrays are equal bit for bit."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


if __name__ == "__main__":  # a run to be killed: toy.py DIRECTORY CALL
    run(Path(sys.argv[1]), failing_at(int(sys.argv[2]), kill))
