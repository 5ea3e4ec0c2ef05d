"""The training loop: dispatch a step, read the one before, evaluate, checkpoint, stop early.

With several processes all of them run it. Each loads its own rows of the batches; the first alone
logs, and evaluates, for which the parameters are brought together on its host.
"""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import gin
import jax
import numpy as np
import optax
from jax.sharding import Mesh

from distill_jax.distill.objectives import Objective
from distill_jax.distill.online import TeacherObjective
from distill_jax.errors import UserError
from distill_jax.parallel import processes
from distill_jax.parallel.mesh import check_batch_size, state_shardings, teacher_axis_rules
from distill_jax.train.checkpoints import RunCheckpoints
from distill_jax.train.feed import Batches, Feed
from distill_jax.train.learning_rate import learning_rate_at
from distill_jax.train.preemption import EXIT_PREEMPTED, Interrupted, Preempted, PreemptionWatch
from distill_jax.train.profiling import StepProfile
from distill_jax.train.reporting import RunLog
from distill_jax.train.same_run import (
    check_same_config,
    check_same_inputs,
    version_notes,
    versions,
)
from distill_jax.train.state import abstract_state, create_state, shardings_of
from distill_jax.train.step import StepOptions, compile_step
from distill_jax.train.throughput import memory_in_use, peak_flops
from distill_jax.train.timed_step import TimedStep

Evaluate = Callable[[Any], dict[str, float]]
"""Parameters → dev metrics; `selection` among them is what model selection maximises.

The parameters are host arrays where several processes train: whoever evaluates places them."""


@gin.configurable
@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train and how often to look.

    `patience` counts evaluations without a better dev score; None trains to the end. Periods are
    in steps; there is an evaluation and a checkpoint after the last step in any case.
    `profile_steps` (A, B) writes a profiler trace of the steps A to B, counted from 1, to
    `MODEL_DIR/profile`. Raises `UserError` if a number is too small, or those steps are
    not all within the run.
    """

    train_steps: int
    eval_period: int = 500
    checkpoint_period: int = 500
    log_period: int = 50
    patience: int | None = None
    profile_steps: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("train_steps", "eval_period", "checkpoint_period", "log_period", "patience"):
            value, least = getattr(self, name), 0 if name == "train_steps" else 1
            if value is not None and value < least:
                raise UserError(f"Schedule: {name} is {value}; it must be at least {least}")
        if self.profile_steps is not None:
            first, last = self.profile_steps
            if not 1 <= first <= last:
                raise UserError(
                    f"Schedule: profile_steps is {first}:{last}; give the first step, from 1, and "
                    "the last"
                )
            if last > self.train_steps:
                raise UserError(
                    f"Schedule: profile_steps is {first}:{last}, but the run ends with step "
                    f"{self.train_steps}; choose steps within it"
                )


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The best parameters (host arrays), the dev metrics they had, and how the run went.

    Of several processes only the first has `params`; in the others they are None.
    """

    params: Any
    metrics: dict[str, float]
    best_step: int
    steps: int
    seconds: float


def fit(
    objective: Objective,
    batches: Batches,
    evaluate: Evaluate,
    *,
    model_dir: str,
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    batch_size: int,
    mesh: Mesh,
    seed: int,
    initial_params: Any = None,
    frozen: Any = None,
    inputs: Mapping[str, str] | None = None,
) -> Outcome:
    """Trains, or goes on where a run in `model_dir` stopped; returns the parameters best on dev.

    Batch s of `batches` is the data of step s, so that data position is the step number. A run that
    goes on ends bit for bit as if it had never stopped; one that had finished is not trained
    further. On SIGTERM it saves a checkpoint and raises `Preempted`, which ends Python with code 143;
    an evaluation that is under way is given up, and done again by the run that goes on.

    `frozen` are the parameters (host arrays) of a teacher that is part of the step, for an objective
    of `distill.online`: placed on the mesh by `mesh.teacher_axis_rules`, in no checkpoint.

    `inputs` are what the run reads besides Gin, by name, each with a hash of its content: a run goes on
    with the same alone, and all processes must have the same.

    Raises `UserError` if the loss or its gradient is not finite, naming step and batch; if the
    Gin configuration or an input is not the one that the run was started with; and if no checkpoint in
    `model_dir` is sound, or they are of another model or optimizer.
    """
    check_batch_size(batch_size, mesh, accumulate=StepOptions().accumulate)
    directory = Path(model_dir)
    places = abstract_state(objective, optimizer, mesh)
    start = time.monotonic()
    inputs = dict(inputs or {})
    processes.agree("Gin configuration", gin.operative_config_str())
    processes.agree("data or version", json.dumps(inputs | versions(), indent=1, sort_keys=True))
    with contextlib.ExitStack() as stack:
        watch = stack.enter_context(PreemptionWatch())
        checkpoints = stack.enter_context(RunCheckpoints(directory / "checkpoints"))
        selection, window_before, seconds_before, evaluated = Selection(), None, 0.0, 0
        notes: list[str] = []
        if checkpoints.latest_step() is None:
            state = create_state(objective, optimizer, mesh, seed, initial_params)
        else:
            saved = checkpoints.facts() or {}
            where = str(directory / "checkpoints")
            check_same_config(saved.get("gin", ""), gin.operative_config_str(), where)
            check_same_inputs(saved.get("inputs", {}), inputs, where)
            state, run = checkpoints.restore(places)
            selection, seconds_before = Selection(**run["selection"]), run["seconds"]
            window_before = run.get("window")
            evaluated = run.get("evaluated", int(state.step))
            notes = checkpoints.notes + version_notes(run.get("versions", {}))
        done = first = int(state.step)
        stopped = selection.stop(schedule.patience)

        log = stack.enter_context(
            RunLog(
                directory,
                first_step=first,
                evaluated=evaluated,
                writes=processes.is_first(),
            )
        )
        for note in notes:
            log.say(note)
        log.say(_opening_line(state.params, first, schedule, stopped, directory))
        feed = stack.enter_context(
            contextlib.closing(Feed(batches, first, schedule.train_steps, mesh))
        )
        frozen, frozen_shardings = _place_frozen(objective, frozen, mesh)
        compiled = compile_step(
            objective,
            optimizer,
            mesh,
            shardings_of(places),
            frozen_shardings=frozen_shardings,
        )
        step_fn = TimedStep(compiled, frozen)
        window = _Window(log, schedule, optimizer, mesh, feed, step_fn, window_before)
        profile = stack.enter_context(StepProfile(directory / "profile", schedule.profile_steps))
        key = jax.random.key(seed)

        def save() -> None:
            window.flush()
            checkpoints.save(
                state,
                {
                    "selection": dataclasses.asdict(selection),
                    "window": window.as_json(),
                    "seconds": seconds_before + time.monotonic() - start,
                    "evaluated": evaluated,
                    "gin": gin.operative_config_str(),
                    "inputs": inputs,
                    "versions": versions(),
                },
            )

        def preempted() -> NoReturn:
            if done:
                save()
                checkpoints.wait()
            log.say(
                f"SIGTERM: stopped after step {done}, which is saved; the same command goes on from "
                f"there (exit code {EXIT_PREEMPTED})"
            )
            raise Preempted

        while True:
            last = done >= schedule.train_steps
            due = done % schedule.eval_period == 0 or done == schedule.train_steps
            to_save = done > first and (done % schedule.checkpoint_period == 0 or last)
            if due and evaluated != done and not stopped:
                if to_save and processes.is_distributed():
                    # SIGTERM cannot end an evaluation of the first process alone, which may take
                    # longer than the time that is left then; a run that goes on evaluates again.
                    save()
                window.flush()
                try:
                    with window.paused(), watch.interruptible():
                        scores = _evaluate(evaluate, state.params, mesh)
                except Interrupted:
                    preempted()
                evaluated = done
                log.write(done, "dev", scores)
                better = selection.update(done, scores)
                shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
                log.say(f"step {done}  dev  {shown}{'  (best)' if better else ''}")
                if better:
                    checkpoints.save_best(done, state.params, {"metrics": scores, "step": done})
                stopped = selection.stop(schedule.patience)
            if to_save or (done > first and stopped):
                save()
            if stopped and not last and done > first:
                log.say(f"no better dev score in {schedule.patience} evaluations: stopping")
            if last or stopped:
                break
            if watch.reached(done):
                preempted()
            profile.before(done + 1)
            state, metrics = step_fn(state, next(feed), key)
            done += 1
            if profile.after(done, metrics):
                log.say(f"{profile} written")
            # Reads the metrics of steps already finished while this one runs.
            window.add(done, metrics)
        checkpoints.prune(selection.best_step)
        params = state.params
        best: dict[str, Any] = {"metrics": {}, "step": done}
        if selection.best_step:
            params, best = checkpoints.restore_best(selection.best_step, places.params)
        elif done:
            log.say("no dev score is a number to select by: these are the last step's parameters")
    return Outcome(
        params=processes.gathered(params, mesh),
        metrics=best["metrics"],
        best_step=best["step"],
        steps=done,
        seconds=seconds_before + time.monotonic() - start,
    )


def _evaluate(evaluate: Evaluate, params: Any, mesh: Mesh) -> dict[str, float]:
    """Dev scores, the same in all processes; of several only the first evaluates."""
    if not processes.is_distributed():
        return evaluate(params)
    host = processes.gathered(params, mesh)
    scores: dict[str, float] = processes.from_first("dev scores", lambda: evaluate(host))
    return scores


def _place_frozen(objective: Objective, frozen: Any, mesh: Mesh) -> tuple[Any, Any]:
    """Frozen parameters on the mesh, and where they are; None and None if there are none."""
    if frozen is None:
        return None, None
    init = cast(TeacherObjective, objective).init_teacher
    boxed = jax.eval_shape(init, jax.random.key(0))
    shardings = state_shardings(boxed, mesh, teacher_axis_rules())
    return jax.tree.map(jax.device_put, frozen, shardings), shardings


def _opening_line(
    params: Any, first: int, schedule: Schedule, stopped: bool, directory: Path
) -> str:
    count = f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters"
    if first and (stopped or first >= schedule.train_steps):
        return f"{count}; already trained for {first} steps in {directory}"
    resumed = f", resumed from {directory}" if first else ""
    return f"{count}; steps {first} to {schedule.train_steps}{resumed}"


@dataclasses.dataclass
class Selection:
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
    """Means of metrics over the steps since the last log line, read one step late; and rates.

    They are sums over sums of weights, not means of means. `before` is what `as_json` gave when
    the run was last checkpointed: the first line after it covers the steps before it too. Time
    spent on evaluation and on compiling is not time of steps.
    """

    def __init__(
        self,
        log: RunLog,
        schedule: Schedule,
        optimizer: optax.GradientTransformation,
        mesh: Mesh,
        feed: Feed,
        step_fn: TimedStep,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        self._log = log
        self._schedule = schedule
        self._optimizer = optimizer
        self._feed = feed
        self._step_fn = step_fn
        self._devices = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
        self._pending: tuple[int, dict[str, Any], _Work] | None = None
        self._sums: dict[str, np.ndarray] = {}
        self._begin()
        if before is not None:
            self._sums = {name: np.array(pair) for name, pair in before["sums"].items()}
            self._steps = before["steps"]
            self._work = _Work(*before.get("work", ()))
            self._start -= before["seconds"]
            self._waited -= before.get("waited", 0.0)

    def add(self, step: int, metrics: dict[str, Any]) -> None:
        """Takes what the step just dispatched returned, and reads the step before it."""
        counts, flops = self._feed.counts, self._step_fn.flops
        work = _Work(counts.examples, counts.target_tokens, math.nan if flops is None else flops)
        previous, self._pending = self._pending, (step, metrics, work)
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
        try:
            yield
        finally:
            self._start += time.monotonic() - start

    def as_json(self) -> dict[str, Any]:
        return {
            "sums": {name: pair.tolist() for name, pair in self._sums.items()},
            "steps": self._steps,
            "work": dataclasses.astuple(self._work),
            "seconds": self._seconds(),
            "waited": self._feed.waited - self._waited,
        }

    def _begin(self) -> None:
        self._sums = {}
        self._steps, self._work = 0, _Work()
        self._start = time.monotonic()
        self._waited, self._compiled = self._feed.waited, self._step_fn.compile_seconds

    def _compile_seconds(self) -> float:
        return self._step_fn.compile_seconds - self._compiled

    def _seconds(self) -> float:
        return time.monotonic() - self._start - self._compile_seconds()

    def _read(self, step: int, metrics: dict[str, Any], work: "_Work") -> None:
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
        self._work += work
        if step % self._schedule.log_period == 0:
            self._write(step)

    def _write(self, step: int) -> None:
        means = {name: float(s / w) if w > 0 else 0.0 for name, (s, w) in self._sums.items()}
        seconds = self._seconds()
        rate = learning_rate_at(self._optimizer, step)
        if rate is not None:
            means["learning_rate"] = rate
        rates = {
            "step_seconds": seconds / self._steps,
            "examples_per_second": self._work.examples / seconds,
            "input_wait_seconds": (self._feed.waited - self._waited) / self._steps,
            "compile_seconds": self._compile_seconds(),
            **memory_in_use(self._devices),
        }
        if self._work.target_tokens:
            rates["target_tokens_per_second"] = self._work.target_tokens / seconds
        peak = peak_flops(self._devices[0]) if self._devices else None
        if peak is not None and math.isfinite(self._work.flops):
            rates["mfu"] = self._work.flops / seconds / peak
        rates["steps_per_second"] = self._steps / seconds
        self._log.write(step, "train", means | rates)
        self._log.say(_train_line(step, self._schedule.train_steps, means, rates))
        self._begin()


@dataclasses.dataclass
class _Work:
    """What steps worked on: sentences, target tokens, FLOPs of one device (NaN: not known)."""

    examples: int = 0
    target_tokens: int = 0
    flops: float = 0.0

    def __add__(self, other: "_Work") -> "_Work":
        return _Work(
            self.examples + other.examples,
            self.target_tokens + other.target_tokens,
            self.flops + other.flops,
        )


def _train_line(
    step: int, steps: int, means: Mapping[str, float], rates: Mapping[str, float]
) -> str:
    """What the person who watches needs; the files have everything."""
    shown = [
        f"step {step}/{steps}",
        f"loss {means['loss']:.4f}",
        f"grad {means['grad_norm']:.3g}",
    ]
    if "learning_rate" in means:
        shown.append(f"lr {means['learning_rate']:.3g}")
    shown += [
        f"{rates['steps_per_second']:.1f} steps/s",
        f"{rates['examples_per_second']:.0f} examples/s",
    ]
    if "target_tokens_per_second" in rates:
        shown.append(f"{rates['target_tokens_per_second']:.0f} tokens/s")
    if "mfu" in rates:
        shown.append(f"MFU {rates['mfu']:.1%}")
    if "memory_bytes" in rates:
        shown.append(f"memory {rates['memory_bytes'] / 2**30:.1f} GiB")
    shown.append(f"input {rates['input_wait_seconds'] / rates['step_seconds']:.0%}")
    if rates["compile_seconds"] >= 0.05:
        shown.append(f"compiled {rates['compile_seconds']:.1f}s")
    return "  ".join(shown)
