"""One training step: the gradient of an objective, an optimizer's update, jitted over the mesh."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from distill_jax.errors import UserError
from distill_jax.models.partitioning import ANYWHERE, Place, constrain, partitioning
from distill_jax.parallel.mesh import batch_sharding
from distill_jax.train.objective import Batch, Objective, Sums
from distill_jax.train.state import TrainState

Step = Callable[..., tuple[TrainState, dict[str, Any]]]
"""(state, batch, key[, frozen]) → (next state, metric sums). The key is folded with the step.

`frozen` are the objective's frozen parameters, where it has some.
"""


Gradient = Callable[..., tuple[Any, Sums]]
"""(params, batch, key[, frozen]) → (gradients of the parameters, sums of the objective)."""


def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    place: Place = ANYWHERE,
    *,
    accumulate: int = 1,
    gradient_shardings: Any = None,
) -> Step:
    """The pure step: `make_gradient`, whose arguments it takes, and `apply_gradients`."""
    gradient = make_gradient(
        objective, place, accumulate=accumulate, gradient_shardings=gradient_shardings
    )

    def step(
        state: TrainState, batch: Batch, key: jax.Array, frozen: Any = None
    ) -> tuple[TrainState, dict[str, Any]]:
        gradients, sums = gradient(state.params, batch, jax.random.fold_in(key, state.step), frozen)
        return apply_gradients(optimizer, state, gradients, sums)

    return step


def apply_gradients(
    optimizer: optax.GradientTransformation, state: TrainState, gradients: Any, sums: Sums
) -> tuple[TrainState, dict[str, Any]]:
    """The next state, and the sums with the gradients' norm as a step's metrics."""
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics: dict[str, Any] = {name: tuple(pair) for name, pair in sums.items()}
    metrics["grad_norm"] = (optax.global_norm(gradients), jnp.float32(1))
    return TrainState(state.step + 1, params, opt_state), metrics


def make_gradient(
    objective: Objective,
    place: Place = ANYWHERE,
    *,
    accumulate: int = 1,
    gradient_shardings: Any = None,
) -> Gradient:
    """The gradient of a batch's loss, in `accumulate` micro-batches.

    With a mesh, activations are constrained by the rules; `gradient_shardings`, those of the
    parameters, place the sums of accumulated gradients.

    The gradients of micro-batches are those of the sum of their losses, divided at the end by the
    sum of their weights: the gradient of the whole batch if the objective's `loss` is a sum over
    its examples.
    """

    def of_batch(params: Any, frozen: Any, batch: Batch, key: jax.Array) -> tuple[Any, Sums]:
        def loss_of(params: Any) -> tuple[jax.Array, Sums]:
            sums = objective.loss(params, frozen, batch, key)
            total, weight = sums["loss"]
            return total / jnp.maximum(weight, 1.0), sums

        (_, sums), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        return gradients, sums

    def of_micro_batches(
        params: Any, frozen: Any, batch: Batch, key: jax.Array
    ) -> tuple[Any, Sums]:
        def total_of(params: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Sums]:
            own_sums = objective.loss(params, frozen, batch, key)
            sums = {name: tuple(pair) for name, pair in own_sums.items()}
            return sums["loss"][0], sums  # type: ignore[return-value]

        gradient_of = jax.grad(total_of, has_aux=True)

        def add(so_far: tuple[Any, Any], given: tuple[Any, jax.Array]) -> tuple[Any, None]:
            micro_batch, number = given
            own = gradient_of(params, micro_batch, jax.random.fold_in(key, number))
            return jax.tree.map(jnp.add, so_far, own), None

        micro_batches = jax.tree.map(lambda leaf: _micro_batches(leaf, accumulate), batch)
        first = jax.tree.map(lambda leaf: leaf[0], micro_batches)
        zeros = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
            jax.eval_shape(gradient_of, params, first, key),
        )
        if gradient_shardings is not None:
            zeros = (jax.lax.with_sharding_constraint(zeros[0], gradient_shardings), zeros[1])
        (gradients, sums), _ = jax.lax.scan(add, zeros, (micro_batches, jnp.arange(accumulate)))
        weight = jnp.maximum(sums["loss"][1], 1.0)
        return jax.tree.map(lambda gradient: gradient / weight, gradients), sums

    def gradient(params: Any, batch: Batch, key: jax.Array, frozen: Any = None) -> tuple[Any, Sums]:
        compute = of_batch if accumulate == 1 else of_micro_batches
        with partitioning(*place):
            return compute(params, frozen, batch, key)

    return gradient


def _micro_batches(leaf: jax.Array, count: int) -> jax.Array:
    """`[B, …]` as `[count, B / count, …]`.

    Micro-batch j holds the rows j, j + count, …: some of every device's, so that none is moved.
    """
    if leaf.shape[0] % count:
        raise UserError(
            f"ACCUMULATE is {count}, which does not divide the {leaf.shape[0]} rows of "
            "a batch; choose a divisor of BATCH_SIZE"
        )
    rows = leaf.reshape(leaf.shape[0] // count, count, *leaf.shape[1:]).swapaxes(0, 1)
    return constrain(rows, None, "batch", *(None,) * (leaf.ndim - 1))


def compile_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    place: Place,
    shardings: TrainState,
    *,
    accumulate: int = 1,
    frozen_shardings: Any = None,
) -> Step:
    """The step jitted over the place's mesh: state in its shardings and donated, batches split by rows.

    With the shardings of frozen parameters these are the step's fourth argument: neither donated
    nor part of the state.
    """
    assert place.mesh is not None, "a step that is compiled has a mesh"
    step = make_step(
        objective, optimizer, place, accumulate=accumulate, gradient_shardings=shardings.params
    )
    frozen = () if frozen_shardings is None else (frozen_shardings,)
    return jax.jit(
        step,
        in_shardings=(shardings, batch_sharding(place.mesh, place.rules), None, *frozen),
        out_shardings=(shardings, None),
        donate_argnums=0,
    )
