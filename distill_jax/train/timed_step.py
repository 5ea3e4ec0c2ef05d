"""The compiled step, with what it took to compile and what it costs to run."""

import time
from typing import Any

import jax

from distill_jax.train.flops import matrix_flops
from distill_jax.train.objective import Batch
from distill_jax.train.state import TrainState


class TimedStep:
    """A jitted training step, compiled here once for every shape of batch.

    `compile_seconds` is what compiling took so far, `flops` what one device spends on the step that
    was dispatched last in matrix products, those that are computed again included (None: no step was
    dispatched yet). `frozen` is given to every step behind its key, if it is not None.
    """

    def __init__(self, step: Any, frozen: Any = None) -> None:
        self.compile_seconds = 0.0
        self.flops: float | None = None
        self._step = step
        self._frozen = () if frozen is None else (frozen,)
        self._programs: dict[Any, tuple[Any, float]] = {}

    def __call__(
        self, state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[TrainState, dict[str, Any]]:
        shapes = tuple((name, array.shape, array.dtype) for name, array in batch.items())
        if shapes not in self._programs:
            start = time.monotonic()
            traced = self._step.trace(state, batch, key, *self._frozen)
            program = traced.lower().compile()
            self.compile_seconds += time.monotonic() - start
            self._programs[shapes] = program, self._flops_of(traced, batch)
        program, self.flops = self._programs[shapes]
        result: tuple[TrainState, dict[str, Any]] = program(state, batch, key, *self._frozen)
        return result

    @staticmethod
    def _flops_of(traced: Any, batch: Batch) -> float:
        # A loop that ends when the data say so goes over the words of a sentence.
        words = batch["tags"].shape[-1] if "tags" in batch else 1
        devices = max(
            len(array.sharding.device_set) if isinstance(array, jax.Array) else 1
            for array in batch.values()
        )
        return matrix_flops(traced.jaxpr, unknown_trips=words) / devices
