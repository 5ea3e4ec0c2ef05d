"""Training steps of this project to be timed: a state, a compiled step, and batches for it."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

import jax
import numpy as np

from benchmarks.common.timing import Patience, Timing, alternate, warm_up
from distill_jax.distill.language_model import LanguageModel, LanguageModelLoss
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.parallel.mesh import Placement
from distill_jax.train.flops import matrix_flops
from distill_jax.train.optimizers import adamw
from distill_jax.train.state import abstract_state, create_state, shardings_of
from distill_jax.train.step import Step, compile_step

Batch = Mapping[str, np.ndarray]
LEARNING_RATE = 1e-3
ONE_DEVICE = Placement(first_devices=1)
"""The first device, which is all that the peers use."""


def random_tokens(vocab_size: int, rows: int, length: int, seed: int) -> dict[str, np.ndarray]:
    """`rows` examples of `length` random tokens on both sides, without padding."""
    rng = np.random.default_rng(seed)
    inputs, targets = rng.integers(3, vocab_size, (2, rows, length)).astype(np.int32)
    ones = np.ones((rows, length), np.int32)
    return {
        "encoder_input_tokens": inputs,
        "encoder_segment_ids": ones,
        "decoder_input_tokens": np.pad(targets[:, :-1], ((0, 0), (1, 0))),
        "decoder_target_tokens": targets,
        "decoder_segment_ids": ones,
    }


@dataclasses.dataclass(frozen=True)
class Program:
    """A model, its optimizer, and their step on one device."""

    objective: LanguageModel
    step: Step
    places: Any
    """The abstract state."""

    @staticmethod
    def make(config: T5Config, loss: LanguageModelLoss = LanguageModelLoss()) -> "Program":
        """The step that `distill-jax train` would run."""
        objective = LanguageModel(T5(config), loss)
        optimizer, place = _optimizer(), ONE_DEVICE.place()
        assert place.mesh is not None, "a placement makes a mesh"
        places = abstract_state(objective, optimizer, place.mesh, place.rules)
        step = compile_step(objective, optimizer, place, shardings_of(places))
        return Program(objective, step, places)

    def flops(self, batch: Batch) -> float:
        """Operations of the step's matrix products."""
        traced = jax.make_jaxpr(self.step)(self.places, batch, jax.random.key(0))
        return matrix_flops(traced)

    def compile_seconds(self, batch: Batch) -> dict[str, float]:
        """Seconds of tracing and lowering, and of XLA's compilation; no state is made."""
        start = time.perf_counter()
        lowered = self.step.lower(self.places, batch, jax.random.key(0))  # type: ignore[attr-defined]
        middle = time.perf_counter()
        lowered.compile()
        end = time.perf_counter()
        return {"trace": middle - start, "compile": end - middle, "seconds": end - start}

    def stepper(self, params: Any, batches: Sequence[Batch]) -> Callable[[], Any]:
        """What does one training step when called: on one batch after the other, in a circle."""
        state = create_state(self.objective, _optimizer(), ONE_DEVICE.mesh(), 0, params)
        key, given = jax.random.key(0), cycle([jax.device_put(dict(batch)) for batch in batches])

        def step() -> Any:
            nonlocal state
            state, metrics = self.step(state, next(given), key)
            return state.params, metrics

        return step

    def loss(self, params: Any, batch: Batch) -> float:
        """The mean loss of a target token, without dropout."""
        total, weight = jax.jit(self.objective.loss)(params, None, batch, None)["loss"]
        return float(total) / float(weight)


def _optimizer() -> Any:
    return adamw(LEARNING_RATE, clip_norm=None)


@dataclasses.dataclass(frozen=True)
class Clocks:
    """Of one function: the wall's time, and the processor's, which other programs do not add to."""

    wall: Timing
    cpu: Timing


def time_in_turns(
    functions: Mapping[str, Callable[[], Any]], patience: Patience
) -> dict[str, Clocks]:
    """`timing.alternate` after a first call of each, with the time of the processor beside it."""
    warm_up(functions)
    cpu: dict[str, list[float]] = {name: [] for name in functions}

    def watched(name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        def call() -> None:
            start = time.process_time()
            jax.block_until_ready(function())
            cpu[name].append(time.process_time() - start)

        return call

    wall = alternate({n: watched(n, function) for n, function in functions.items()}, patience)
    return {name: Clocks(wall[name], Timing(tuple(cpu[name]))) for name in functions}


def examples_in(batch: Batch) -> int:
    """How many examples the rows of a batch hold, several to a row where it is packed."""
    return int(np.asarray(batch["decoder_segment_ids"]).max(axis=1).sum())


def batches_of(rows: Any, size: int, count: int) -> Iterator[Batch]:
    """The first batches of `data.seq2seq.packed_rows`."""
    for number in range(count):
        chosen = [rows[number * size + row] for row in range(size)]
        yield {name: np.stack([row[name] for row in chosen]) for name in chosen[0]}
