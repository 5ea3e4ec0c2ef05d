"""One training step: the gradient of an objective, an optimizer's update, jitted over the mesh."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from distill_jax.distill.objectives import Batch, Objective
from distill_jax.train.mesh import batch_sharding
from distill_jax.train.state import TrainState


def make_step(
    objective: Objective, optimizer: optax.GradientTransformation
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, dict[str, Any]]]:
    """The pure step: (state, batch, key) → (next state, metric sums). The key is folded with the step."""

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, dict[str, Any]]:
        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            sums = objective.loss(params, batch, jax.random.fold_in(key, state.step))
            total, weight = sums["loss"]
            return total / jnp.maximum(weight, 1.0), sums

        (_, sums), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {name: tuple(pair) for name, pair in sums.items()}
        metrics["grad_norm"] = (optax.global_norm(gradients), jnp.float32(1))
        return TrainState(state.step + 1, params, opt_state), metrics

    return step


def compile_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    shardings: TrainState,
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, dict[str, Any]]]:
    """The step jitted over the mesh: state in its shardings and donated, batches split by rows."""
    return jax.jit(
        make_step(objective, optimizer),
        in_shardings=(shardings, batch_sharding(mesh), None),
        out_shardings=(shardings, None),
        donate_argnums=0,
    )
