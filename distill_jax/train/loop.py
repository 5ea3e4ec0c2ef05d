"""The training loop: dispatch a step, read the one before, evaluate, checkpoint, stop early."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gin
import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from distill_jax.distill.objectives import Batch, Objective
from distill_jax.errors import UserError
from distill_jax.train.checkpoints import RunCheckpoints
from distill_jax.train.mesh import batch_sharding, check_batch_size
from distill_jax.train.reporting import RunLog
from distill_jax.train.state import TrainState, create_state

Evaluate = Callable[[Any], dict[str, float]]
"""Parameters → dev metrics; `selection` among them is what model selection maximises."""


@gin.configurable
@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train and how often to look.

    `patience` counts evaluations without a better dev score; None trains to the end. Periods are
    in steps.
    """

    train_steps: int
    eval_period: int = 500
    checkpoint_period: int = 500
    log_period: int = 50
    patience: int | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The best parameters (host arrays), the dev metrics they had, and how the run went."""

    params: Any
    metrics: dict[str, float]
    best_step: int
    steps: int
    seconds: float


def make_step(
    objective: Objective, optimizer: optax.GradientTransformation
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, dict[str, Any]]]:
    """The pure step: (state, batch, key) → (next state, metric sums). The key is folded with the step."""

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, dict[str, Any]]:
        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            sums = objective.loss(params, batch, jax.random.fold_in(key, state.step))
            total, weight = sums["loss"]
            return total / jnp.maximum(weight, 1.0), sums

        (_, sums), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {name: tuple(pair) for name, pair in sums.items()}
        metrics["grad_norm"] = (optax.global_norm(gradients), jnp.float32(1))
        return TrainState(state.step + 1, params, opt_state), metrics

    return step


def compile_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    shardings: TrainState,
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, dict[str, Any]]]:
    """The step jitted over the mesh: state in its shardings and donated, batches split by rows."""
    return jax.jit(
        make_step(objective, optimizer),
        in_shardings=(shardings, batch_sharding(mesh), None),
        out_shardings=(shardings, None),
        donate_argnums=0,
    )


def fit(
    objective: Objective,
    batches: grain.MapDataset[Batch],
    evaluate: Evaluate,
    *,
    model_dir: str,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    batch_size: int,
    mesh: Mesh,
    seed: int,
    initial_params: Any = None,
) -> Outcome:
    """Trains, or goes on where a run in `model_dir` stopped; returns the parameters best on dev.

    Batch s of `batches` is the data of step s, so that data position is the step number. Raises
    `UserError` if the loss is not finite, naming step and batch.
    """
    check_batch_size(batch_size, mesh)
    directory = Path(model_dir)
    state, shardings = create_state(objective, optimizer, mesh, seed, initial_params)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    checkpoints = RunCheckpoints(directory / "checkpoints")
    selection = _Selection()
    seconds_before = 0.0
    if checkpoints.latest_step() is not None:
        state, run = checkpoints.restore(state, shardings)
        selection = _Selection(**run["selection"])
        seconds_before = run["seconds"]
    first = int(state.step)
    step_fn = compile_step(objective, optimizer, mesh, shardings)
    key = jax.random.key(seed)
    start = time.monotonic()

    with RunLog(directory, first_step=first) as log:
        log.say(
            f"{parameters:,} parameters; steps {first} to {schedule.train_steps}"
            + (f", resumed from {directory}" if first else "")
        )
        window = _Window(log, schedule)
        feed = _feed(batches, first, schedule.train_steps, mesh)
        for number in range(first, schedule.train_steps):
            if selection.stop(schedule.patience):
                log.say(f"no better dev score in {schedule.patience} evaluations: stopping")
                break
            state, metrics = step_fn(state, next(feed), key)
            # Reads the metrics of steps already finished while this one runs.
            window.add(number + 1, metrics)
            done = number + 1
            last = done == schedule.train_steps
            if done % schedule.eval_period == 0 or last:
                window.flush()
                scores = evaluate(state.params)
                log.write(done, "dev", scores)
                better = selection.update(done, scores)
                shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
                log.say(f"step {done}  dev  {shown}{'  (best)' if better else ''}")
                if better:
                    checkpoints.save_best(done, state.params, {"metrics": scores, "step": done})
            if done % schedule.checkpoint_period == 0 or last:
                window.flush()
                checkpoints.save(
                    state,
                    {
                        "selection": dataclasses.asdict(selection),
                        "seconds": seconds_before + time.monotonic() - start,
                        "gin": gin.operative_config_str(),
                    },
                )
        window.flush()
        checkpoints.wait()
        best = checkpoints.restore_best(state.params, shardings.params)
        checkpoints.close()
    params, metrics_of_best, best_step = (
        (state.params, {}, int(state.step))
        if best is None
        else (best[0], best[1]["metrics"], best[1]["step"])
    )
    return Outcome(
        params=jax.tree.map(np.asarray, params),
        metrics=metrics_of_best,
        best_step=best_step,
        steps=int(state.step),
        seconds=seconds_before + time.monotonic() - start,
    )


@dataclasses.dataclass
class _Selection:
    """Model selection on the dev split."""

    best: float = -math.inf
    best_step: int = 0
    evaluations_since: int = 0

    def update(self, step: int, scores: Mapping[str, float]) -> bool:
        if scores["selection"] > self.best:
            self.best, self.best_step, self.evaluations_since = scores["selection"], step, 0
            return True
        self.evaluations_since += 1
        return False

    def stop(self, patience: int | None) -> bool:
        return patience is not None and self.evaluations_since >= patience


class _Window:
    """Means of metrics over the steps since the last log line, read one step late."""

    def __init__(self, log: RunLog, schedule: Schedule) -> None:
        self._log = log
        self._schedule = schedule
        self._pending: tuple[int, dict[str, Any]] | None = None
        self._sums: dict[str, np.ndarray] = {}
        self._steps = 0
        self._start = time.monotonic()

    def add(self, step: int, metrics: dict[str, Any]) -> None:
        previous, self._pending = self._pending, (step, metrics)
        if previous is not None:
            self._read(*previous)

    def flush(self) -> None:
        if self._pending is not None:
            self._read(*self._pending)
            self._pending = None

    def _read(self, step: int, metrics: dict[str, Any]) -> None:
        values = {
            name: np.array(pair, np.float64) for name, pair in jax.device_get(metrics).items()
        }
        if not np.isfinite(values["loss"][0]):
            raise UserError(
                f"the loss is {values['loss'][0]} at step {step} (batch {step - 1} of the data); "
                "lower the learning rate or look at that batch; checkpoints before it are kept"
            )
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, np.zeros(2)) + value
        self._steps += 1
        if step % self._schedule.log_period == 0:
            self._write(step)

    def _write(self, step: int) -> None:
        means = {name: float(s / max(w, 1.0)) for name, (s, w) in self._sums.items()}
        seconds = time.monotonic() - self._start
        means["steps_per_second"] = self._steps / seconds
        self._log.write(step, "train", means)
        self._log.say(
            f"step {step}/{self._schedule.train_steps}  loss {means['loss']:.4f}  "
            f"{means['steps_per_second']:.1f} steps/s"
        )
        self._sums, self._steps, self._start = {}, 0, time.monotonic()


def _feed(batches: grain.MapDataset[Batch], first: int, last: int, mesh: Mesh) -> Iterator[Batch]:
    """Batches `first` to `last`, made ahead in a thread and placed on the mesh."""
    if first >= last:
        return
    sharding = batch_sharding(mesh)
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
    for batch in batches[first:last].to_iter_dataset(options):
        yield jax.tree.map(lambda array: jax.device_put(array, sharding), batch)
