"""Sums over weighted positions, in which losses are counted: never means of means.

Every loss comes as a sum and the weight it was summed over: padding has weight zero, and sums and weights of
several batches or hosts may be added before one divides. At positions of weight zero inputs may
hold anything, infinities, NaNs and ids out of range included; they change neither value nor
gradient, which is exactly zero there. A weight is a non-negative number.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


class WeightedSum(NamedTuple):
    """A sum over weighted positions, and the sum of their weights; both float32 scalars."""

    total: jax.Array
    weight: jax.Array

    def merge(self, other: "WeightedSum") -> "WeightedSum":
        """The sum over the positions of both."""
        return WeightedSum(self.total + other.total, self.weight + other.weight)

    def mean(self) -> jax.Array:
        """Total by weight; 0 if there is no weight."""
        empty = self.weight == 0
        return jnp.where(empty, 0.0, self.total / jnp.where(empty, 1.0, self.weight))


def at_real_positions(
    values: jax.Array, weights: jax.Array
) -> tuple[jax.Array, Bool[Array, "batch length"], jax.Array]:
    """Float32 values that are 0 where the weight is, where the weight is not, and float32 weights."""
    real = weights != 0
    return fill(values, real), real, weights.astype(jnp.float32)


def fill(values: jax.Array, real: jax.Array) -> jax.Array:
    """Float32 values, 0 where a position is not real."""
    # Before anything is computed from them: 0 · NaN is NaN, in a gradient too ("double where").
    return jnp.where(real[..., None], values.astype(jnp.float32), 0.0)


def weighted_sum(values: jax.Array, weights: jax.Array) -> WeightedSum:
    """The sum of values times weights, and of the weights."""
    return WeightedSum(jnp.sum(values * weights), jnp.sum(weights))
