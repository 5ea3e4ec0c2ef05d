"""Weights of silver sentences, found in every step by what these do for trusted ones.

Ren et al. 2018 (arXiv 1803.09050): a step along the gradient of silver sentence i's loss changes the loss V
of trusted sentences by −α ∇V · ∇ℓᵢ, to first order. So a sentence whose gradient points against that of the
trusted ones gets no weight, and others

    wᵢ = n max(∇V · ∇ℓᵢ, 0) / Σⱼ max(∇V · ∇ℓⱼ, 0)

of the n silver sentences of the batch; gold sentences keep theirs. It is the idea of SunGen (Gao et al. 2023,
arXiv 2205.12679), weights of generated sentences learnt on others, without its inner training to the end, and
with nothing to keep from step to step. ∇V · ∇ℓᵢ of all i is the change of the losses along ∇V, taken as a
difference of two points as in DARTS (Liu et al. 2019, arXiv 1806.09055), since the LSTM has a gradient but no
forward derivative: (ℓᵢ(θ + ε∇V) − ℓᵢ(θ − ε∇V)) / 2ε, ε = 0.01 / ‖∇V‖. So a step has one more gradient, of
V, and two more forward passes.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float

from distill_jax.data.features import TRUSTED
from distill_jax.distill.tags import TaggerDistillation
from distill_jax.distill.weighted import WeightedSum

_REACH = 0.01
"""‖ε∇V‖: short beside the parameters' distances, long beside what float32 rounds."""
_ROW_WEIGHTS = ("tag_weights", "kl_weights")


@dataclasses.dataclass(frozen=True)
class Reweighted:
    """A student's objective with learnt weights of silver sentences.

    A batch is a `data.features.ReweightedBatch`.
    """

    student: TaggerDistillation

    def init(self, key: jax.Array) -> Any:
        """See `train.objective.Objective`."""
        return self.student.init(key)

    def init_frozen(self, key: jax.Array) -> None:
        """There is no teacher within the step."""

    def loss(
        self, params: Any, frozen: Any, batch: Any, key: jax.Array | None
    ) -> dict[str, WeightedSum]:
        """See `train.objective.Objective`; `silver_used`, the share of silver sentences with a weight
        above 0, beside the student's figures."""
        silver_B = batch["is_silver"]
        weights_B = lax.stop_gradient(
            learnt_weights(self.student, lax.stop_gradient(params), batch, key)
        )
        sums = self.student.loss(params, frozen, _with_row_weights(batch, weights_B), key)
        used = jnp.sum(silver_B & (weights_B > 0), dtype=jnp.float32)
        return sums | {"silver_used": WeightedSum(used, jnp.sum(silver_B, dtype=jnp.float32))}


def learnt_weights(
    student: TaggerDistillation, params: Any, batch: Mapping[str, Any], key: jax.Array | None
) -> Float[Array, "batch"]:
    """wᵢ of each row: see the head of this module; 1 of gold sentences.

    All are 0 where no silver sentence helps. `key` is for the dropout of the losses ℓᵢ; V is without.
    """
    trusted = {
        name.removeprefix(TRUSTED): value
        for name, value in batch.items()
        if name.startswith(TRUSTED)
    }

    def of_trusted(params: Any) -> jax.Array:
        return student.loss(params, None, trusted, None)["cross_entropy"].mean()

    def of_rows(params: Any) -> Float[Array, "batch"]:
        # The sum of all rows' losses is linear in their weights.
        def total(weights_B: jax.Array) -> jax.Array:
            return student.loss(params, None, _with_row_weights(batch, weights_B), key)[
                "loss"
            ].total

        return jax.grad(total)(jnp.ones(len(batch["is_silver"]), jnp.float32))

    towards = jax.grad(of_trusted)(params)
    size = _REACH / jnp.maximum(optax.global_norm(towards), jnp.finfo(jnp.float32).tiny)

    def moved(sign: int) -> Any:
        return jax.tree.map(lambda value, step: value + sign * size * step, params, towards)

    return _normalised(of_rows(moved(1)) - of_rows(moved(-1)), batch["is_silver"])


def _normalised(helps_B: jax.Array, silver_B: Bool[Array, "batch"]) -> Float[Array, "batch"]:
    """Of silver rows in proportion to what helps, 1 on the mean; 1 of the others."""
    helps_B = jnp.where(silver_B, jnp.maximum(helps_B, 0.0), 0.0)
    total = helps_B.sum()
    share_B = helps_B / jnp.where(total > 0, total, 1.0)
    return jnp.where(silver_B, silver_B.sum() * share_B, 1.0)


def _with_row_weights(batch: Mapping[str, Any], weights_B: jax.Array) -> dict[str, Any]:
    weighted = {name: batch[name] * weights_B[:, None] for name in _ROW_WEIGHTS}
    return {**batch, **weighted}
