"""The training loop: dispatch a step, read the one before, evaluate, checkpoint, stop early."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import gin
import grain
import jax
import numpy as np
import optax
from jax.sharding import Mesh

from distill_jax.distill.objectives import Batch, Objective
from distill_jax.errors import UserError
from distill_jax.train.checkpoints import RunCheckpoints
from distill_jax.train.mesh import batch_sharding, check_batch_size
from distill_jax.train.reporting import RunLog
from distill_jax.train.state import abstract_state, create_state, shardings_of
from distill_jax.train.step import compile_step

Evaluate = Callable[[Any], dict[str, float]]
"""Parameters → dev metrics; `selection` among them is what model selection maximises."""


@gin.configurable
@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train and how often to look.

    `patience` counts evaluations without a better dev score; None trains to the end. Periods are
    in steps; there is an evaluation and a checkpoint after the last step in any case. Raises
    `UserError` if a number is too small.
    """

    train_steps: int
    eval_period: int = 500
    checkpoint_period: int = 500
    log_period: int = 50
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("train_steps", "eval_period", "checkpoint_period", "log_period", "patience"):
            value, least = getattr(self, name), 0 if name == "train_steps" else 1
            if value is not None and value < least:
                raise UserError(f"Schedule: {name} is {value}; it must be at least {least}")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The best parameters (host arrays), the dev metrics they had, and how the run went."""

    params: Any
    metrics: dict[str, float]
    best_step: int
    steps: int
    seconds: float


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

    Batch s of `batches` is the data of step s, so that data position is the step number. A run that
    goes on ends bit for bit as if it had never stopped; one that had finished is not trained
    further. Raises `UserError` if the loss or its gradient is not finite, naming step and batch, and
    if a checkpoint in `model_dir` is damaged or of another model or optimizer.
    """
    check_batch_size(batch_size, mesh)
    directory = Path(model_dir)
    places = abstract_state(objective, optimizer, mesh)
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(RunCheckpoints(directory / "checkpoints"))
        selection, window_before, seconds_before = _Selection(), None, 0.0
        if checkpoints.latest_step() is None:
            state = create_state(objective, optimizer, mesh, seed, initial_params)
        else:
            state, run = checkpoints.restore(places)
            selection, seconds_before = _Selection(**run["selection"]), run["seconds"]
            window_before = run.get("window")
        done = first = int(state.step)
        stopped = selection.stop(schedule.patience)

        log = stack.enter_context(RunLog(directory, first_step=first))
        log.say(_opening_line(state.params, first, schedule, stopped, directory))
        window = _Window(log, schedule, window_before)
        feed = stack.enter_context(
            contextlib.closing(_feed(batches, first, schedule.train_steps, mesh))
        )
        step_fn = compile_step(objective, optimizer, mesh, shardings_of(places))
        key = jax.random.key(seed)
        while done < schedule.train_steps and not stopped:
            state, metrics = step_fn(state, next(feed), key)
            done += 1
            # Reads the metrics of steps already finished while this one runs.
            window.add(done, metrics)
            last = done == schedule.train_steps
            if done % schedule.eval_period == 0 or last:
                window.flush()
                with window.paused():
                    scores = evaluate(state.params)
                log.write(done, "dev", scores)
                better = selection.update(done, scores)
                shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
                log.say(f"step {done}  dev  {shown}{'  (best)' if better else ''}")
                if better:
                    checkpoints.save_best(done, state.params, {"metrics": scores, "step": done})
                stopped = selection.stop(schedule.patience)
            if done % schedule.checkpoint_period == 0 or last or stopped:
                window.flush()
                checkpoints.save(
                    state,
                    {
                        "selection": dataclasses.asdict(selection),
                        "window": window.as_json(),
                        "seconds": seconds_before + time.monotonic() - start,
                        "gin": gin.operative_config_str(),
                    },
                )
            if stopped and not last:
                log.say(f"no better dev score in {schedule.patience} evaluations: stopping")
        checkpoints.prune()
        params = state.params
        best: dict[str, Any] = {"metrics": {}, "step": done}
        if selection.best_step:
            params, best = checkpoints.restore_best(selection.best_step, places.params)
        elif done:
            log.say("no dev score is a number to select by: these are the last step's parameters")
    return Outcome(
        params=jax.tree.map(np.asarray, params),
        metrics=best["metrics"],
        best_step=best["step"],
        steps=done,
        seconds=seconds_before + time.monotonic() - start,
    )


def _opening_line(
    params: Any, first: int, schedule: Schedule, stopped: bool, directory: Path
) -> str:
    count = f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters"
    if first and (stopped or first >= schedule.train_steps):
        return f"{count}; already trained for {first} steps in {directory}"
    resumed = f", resumed from {directory}" if first else ""
    return f"{count}; steps {first} to {schedule.train_steps}{resumed}"


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
    """Means of metrics over the steps since the last log line, read one step late.

    They are sums over sums of weights, not means of means. `before` is what `as_json` gave when
    the run was last checkpointed: the first line after it covers the steps before it too.
    """

    def __init__(
        self, log: RunLog, schedule: Schedule, before: Mapping[str, Any] | None = None
    ) -> None:
        self._log = log
        self._schedule = schedule
        self._pending: tuple[int, dict[str, Any]] | None = None
        before = before or {"sums": {}, "steps": 0, "seconds": 0.0}
        self._sums = {name: np.array(pair) for name, pair in before["sums"].items()}
        self._steps = before["steps"]
        self._start = time.monotonic() - before["seconds"]

    def add(self, step: int, metrics: dict[str, Any]) -> None:
        previous, self._pending = self._pending, (step, metrics)
        if previous is not None:
            self._read(*previous)

    def flush(self) -> None:
        if self._pending is not None:
            self._read(*self._pending)
            self._pending = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent in the block is not time spent on steps."""
        start = time.monotonic()
        yield
        self._start += time.monotonic() - start

    def as_json(self) -> dict[str, Any]:
        return {
            "sums": {name: pair.tolist() for name, pair in self._sums.items()},
            "steps": self._steps,
            "seconds": time.monotonic() - self._start,
        }

    def _read(self, step: int, metrics: dict[str, Any]) -> None:
        values = {
            name: np.array(pair, np.float64) for name, pair in jax.device_get(metrics).items()
        }
        # An infinite gradient spoils the parameters a step before the loss shows it.
        for name, what in (("loss", "loss"), ("grad_norm", "norm of the gradient")):
            if not np.isfinite(values[name][0]):
                raise UserError(
                    f"the {what} is {values[name][0]} at step {step} (batch {step - 1} of the "
                    "data, counted from 0); lower the learning rate or look at that batch; "
                    "checkpoints before it are kept"
                )
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, np.zeros(2)) + value
        self._steps += 1
        if step % self._schedule.log_period == 0:
            self._write(step)

    def _write(self, step: int) -> None:
        means = {name: float(s / w) if w > 0 else 0.0 for name, (s, w) in self._sums.items()}
        means["steps_per_second"] = self._steps / (time.monotonic() - self._start)
        self._log.write(step, "train", means)
        self._log.say(
            f"step {step}/{self._schedule.train_steps}  loss {means['loss']:.4f}  "
            f"{means['steps_per_second']:.1f} steps/s"
        )
        self._sums, self._steps, self._start = {}, 0, time.monotonic()


def _feed(
    batches: grain.MapDataset[Batch], first: int, last: int, mesh: Mesh
) -> Generator[Batch, None, None]:
    """Batches `first` to `last`, made ahead in a thread and placed on the mesh."""
    if first >= last:
        return
    sharding = batch_sharding(mesh)
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
    with contextlib.closing(iter(batches[first:last].to_iter_dataset(options))) as iterator:
        for batch in iterator:
            yield jax.tree.map(lambda array: jax.device_put(array, sharding), batch)
