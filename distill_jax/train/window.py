"""Means of a run's metrics and its rates, between one log line and the next."""

import contextlib
import dataclasses
import datetime
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from distill_jax.errors import UserError
from distill_jax.train.feed import Feed
from distill_jax.train.reporting import RunLog, fitted
from distill_jax.train.throughput import memory_in_use, peak_flops
from distill_jax.train.timed_step import TimedStep
from distill_jax.train.training import Training


class MetricsWindow:
    """Means of metrics over the steps since the last log line, read one step late; and rates.

    They are sums over sums of weights, not means of means. `before` is what `as_json` gave when
    the run was last checkpointed: the first line after it covers the steps before it too. Time
    spent on evaluation and on compiling is not time of steps.
    """

    def __init__(
        self,
        log: RunLog,
        training: Training,
        mesh: Mesh,
        feed: Feed,
        step_fn: TimedStep,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        self._log = log
        self._schedule = training.schedule
        self._optimizer = training.optimizer
        self._feed = feed
        self._step_fn = step_fn
        self._devices = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
        self._pending: tuple[int, dict[str, Any], Work] | None = None
        self._sums: dict[str, np.ndarray] = {}
        self._begin()
        if before is not None:
            self._sums = {name: np.array(pair) for name, pair in before["sums"].items()}
            self._steps = before["steps"]
            self._work = Work(*before.get("work", ()))
            self._start -= before["seconds"]
            self._waited -= before.get("waited", 0.0)

    def add(self, step: int, metrics: dict[str, Any]) -> None:
        """Takes what the step just dispatched returned, and reads the step before it."""
        counts, flops = self._feed.counts, self._step_fn.flops
        work = Work(counts.examples, counts.target_tokens, math.nan if flops is None else flops)
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
        self._steps, self._work = 0, Work()
        self._start = time.monotonic()
        self._waited, self._compiled = self._feed.waited, self._step_fn.compile_seconds

    def _compile_seconds(self) -> float:
        return self._step_fn.compile_seconds - self._compiled

    def _seconds(self) -> float:
        return time.monotonic() - self._start - self._compile_seconds()

    def _read(self, step: int, metrics: dict[str, Any], work: "Work") -> None:
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
        means["learning_rate"] = self._optimizer.learning_rate_at(step)
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
        steps = self._schedule.train_steps
        self._log.working(
            train_line(step, steps, means, rates), brief_line(step, steps, means, rates)
        )
        self._begin()


@dataclasses.dataclass
class Work:
    """What steps worked on: sentences, target tokens, FLOPs of one device (NaN: not known)."""

    examples: int = 0
    target_tokens: int = 0
    flops: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.examples + other.examples,
            self.target_tokens + other.target_tokens,
            self.flops + other.flops,
        )


def train_line(
    step: int, steps: int, means: Mapping[str, float], rates: Mapping[str, float]
) -> str:
    """What the person needs who watches every step, as much as fits a line; the files have everything."""
    shown = [f"loss {means['loss']:.4f}", f"{rates['steps_per_second']:.1f} steps/s"]
    if rates["compile_seconds"] >= 0.05:
        shown.append(f"compiled {rates['compile_seconds']:.1f} s")
    if "mfu" in rates:
        shown.append(f"MFU {rates['mfu']:.1%}")
    shown += [
        f"grad {means['grad_norm']:.3g}",
        f"lr {means['learning_rate']:.3g}",
        f"input {rates['input_wait_seconds'] / rates['step_seconds']:.0%}",
    ]
    if "memory_bytes" in rates:
        shown.append(f"memory {rates['memory_bytes'] / 2**30:.1f} GiB")
    shown.append(f"{rates['examples_per_second']:.0f} examples/s")
    return fitted(f"step {step}/{steps}", shown)


def brief_line(
    step: int, steps: int, means: Mapping[str, float], rates: Mapping[str, float]
) -> str:
    """How far a run is, and how long it will take at this rate (evaluations aside)."""
    left = datetime.timedelta(seconds=round((steps - step) / rates["steps_per_second"]))
    return f"step {step}/{steps}  loss {means['loss']:.4f}  {left} left"
