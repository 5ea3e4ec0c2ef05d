"""A teacher's states out of a store (`labels.states`) in place of the teacher within the step."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distill_jax.data.teacher_readers import Feature
from distill_jax.errors import UserError
from distill_jax.labels.states import TeacherStates

_FEATURE = "teacher_states_"


class StoredStatesReader:
    """A `data.teacher_readers.TeacherReader` that looks sentences up: `teacher_states_N` float16[L, D] of
    each layer N in the store."""

    def __init__(self, store: TeacherStates) -> None:
        self._store = store
        self.features: Mapping[str, Feature] = {
            f"{_FEATURE}{number}": Feature(0, of_words=True, dtype="float16")
            for number in store.layers.numbers
        }

    def encode(self, words: Sequence[str]) -> dict[str, np.ndarray]:
        """See `TeacherReader`; `UserError` for a sentence that is not there."""
        if words not in self._store:
            raise UserError(
                f"{self._store.directory}: has no states of {' '.join(words[:8])!r}, part of a sentence that "
                "the student cannot read at once; raise its max_input_tokens, or compute states in the step"
            )
        return dict(zip(self.features, self._store.states(words), strict=True))

    def windows(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """See `TeacherReader`: sentences were read whole."""
        return [(0, len(words))] if words else []

    def truncated_words(self, words: Sequence[str]) -> Sequence[Any]:
        """See `TeacherReader`."""
        return ()


@dataclasses.dataclass(frozen=True)
class StoredStates:
    """A `distill.online.Teacher` of states alone, those of a batch; it has no parameters.

    `layers` are those that the store has, of so many as `count`.
    """

    layers: tuple[int, ...]
    count: int

    def init(self, key: jax.Array) -> None:
        """See `Teacher`: there is nothing that is frozen."""

    def label(self, params: Any, batch: Any) -> dict[str, jax.Array]:
        """See `Teacher`."""
        raise NotImplementedError("a store of states has no labels")

    def states(self, params: Any, batch: Any) -> tuple[Float[Array, "batch length features"], ...]:
        """See `Teacher`; what the store has not is of no width."""
        length = batch["tags"].shape[1]
        nothing = jnp.zeros((len(batch["tags"]), length, 0))
        return tuple(
            batch[f"{_FEATURE}{layer}"][:, :length].astype(jnp.float32)
            if layer in self.layers
            else nothing
            for layer in range(self.count)
        )

    def states_and_maps(
        self, params: Any, batch: Any
    ) -> tuple[tuple[jax.Array, ...], list[jax.Array]]:
        """See `Teacher`; attention maps are not kept."""
        return self.states(params, batch), []


@dataclasses.dataclass(frozen=True, eq=False)
class StoredStepTeacher:
    """What stands in for a `kinds.base.StepTeacher` where states are matched out of a store."""

    store: TeacherStates

    @property
    def reader(self) -> StoredStatesReader:
        """How sentences are looked up."""
        return StoredStatesReader(self.store)

    @property
    def teacher(self) -> StoredStates:
        """Their states."""
        return StoredStates(self.store.layers.numbers, self.store.layers.of)

    def params(self) -> Any:
        """None."""

    def online(self, student: Any, sent_format: Any = None, *, start_id: int = 0) -> Any:
        """No student learns tags from states."""
        raise NotImplementedError("a store of states has no labels")

    def check(self, sentences: Sequence[Sequence[str]], layers: Sequence[int]) -> None:
        """Raises `UserError` if the store lacks layers, or states of some of the sentences."""
        for layer in layers:
            if layer not in self.store.layers.numbers:
                there = ", ".join(map(str, self.store.layers.numbers))
                raise UserError(
                    f"{self.store.directory}: has states of layers {there}, not of {layer}; keep that one "
                    "too (label --states), or name those there are (STATE_LAYERS)"
                )
        missing = [words for words in sentences if words not in self.store]
        if missing:
            raise UserError(
                f"{self.store.directory}: has no states of {len(missing)} of {len(sentences)} sentences, "
                f"such as {' '.join(missing[0][:8])!r}; keep those of gold, dev and silver (--split)"
            )
