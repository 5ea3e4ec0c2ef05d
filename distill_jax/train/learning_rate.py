"""An optimizer that knows its learning rate, which Optax hides in closures."""

from typing import Any

import optax


class _Rated(optax.GradientTransformation):
    """A gradient transformation with one attribute more; its state is what it was."""

    learning_rate: Any


def with_learning_rate(
    optimizer: optax.GradientTransformation, learning_rate: optax.Schedule | float
) -> optax.GradientTransformation:
    """The same optimizer, of which `learning_rate_at` can tell the rate."""
    rated = _Rated(optimizer.init, optimizer.update)
    rated.learning_rate = learning_rate
    return rated


def learning_rate_at(optimizer: optax.GradientTransformation, step: int) -> float | None:
    """The rate that step number `step`, counted from 1, was made with; None if nobody knows."""
    rate = getattr(optimizer, "learning_rate", None)
    if rate is None:
        return None
    # A schedule counts the updates made before.
    return float(rate(step - 1) if callable(rate) else rate)
