"""What a training step minimises, as the trainer sees it: it knows neither tags nor teachers.

Losses are sums with their weights, never means of means: they add up over devices and steps.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax

Batch = Mapping[str, jax.Array]
"""Arrays of a step by name, rows first; each objective says which it reads."""
Sums = Mapping[str, tuple[jax.Array, jax.Array]]
"""Name → (sum, weight), float32 scalars. `loss` is what is minimised, as sum / weight."""


class WithUntrained(NamedTuple):
    """Frozen parameters where some of the model itself are not trained (`train.partly`): those, which live
    on the mesh by the rules of the state, and the frozen ones that there are besides."""

    untrained: Any
    frozen: Any


class Objective(Protocol):
    """A model with its loss."""

    def init(self, key: jax.Array) -> Any:
        """Random parameters, boxed with their logical axis names."""

    def init_frozen(self, key: jax.Array) -> Any:
        """Random frozen parameters (a teacher's), boxed likewise: for shapes and places. None:
        there are none."""

    def loss(self, params: Any, frozen: Any, batch: Any, key: jax.Array | None) -> Sums:
        """The loss of a batch.

        Args:
            params: those that are trained.
            frozen: those that are not, as `init_frozen` lays them out; None where there are none.
            batch: of this step.
            key: for dropout; None switches it off.
        """
