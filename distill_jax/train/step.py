"""One training step: the gradient of an objective, an optimizer's update, jitted over the mesh."""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import gin
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from distill_jax.distill.objectives import Batch, Objective, Sums
from distill_jax.distill.online import TeacherObjective
from distill_jax.errors import UserError
from distill_jax.models.partitioning import Rules, constrain, partitioning
from distill_jax.parallel.mesh import batch_sharding, logical_axis_rules, teacher_axis_rules
from distill_jax.train.state import TrainState

Step = Callable[..., tuple[TrainState, dict[str, Any]]]
"""(state, batch, key[, frozen]) → (next state, metric sums). The key is folded with the step.

`frozen` are a teacher's parameters, for an objective of `distill.online`.
"""


@gin.configurable
@dataclasses.dataclass(frozen=True)
class StepOptions:
    """How a step is computed.

    `accumulate` is the number of micro-batches that a batch is cut into, one computed after the
    other: activations take that much less memory, and the step is the same. Raises `UserError` if
    it is below 1.
    """

    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise UserError(f"StepOptions: accumulate is {self.accumulate}; it must be at least 1")


Gradient = Callable[..., tuple[Any, Sums]]
"""(params, batch, key[, frozen]) → (gradients of the parameters, sums of the objective)."""


def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    options: StepOptions | None = None,
    *,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
    gradient_shardings: Any = None,
) -> Step:
    """The pure step: `make_gradient`, whose arguments it takes, and `apply_gradients`."""
    gradient = make_gradient(
        objective, options, mesh=mesh, rules=rules, gradient_shardings=gradient_shardings
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
    options: StepOptions | None = None,
    *,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
    gradient_shardings: Any = None,
) -> Gradient:
    """The gradient of a batch's loss.

    Options and rules are those that Gin binds if None. With a mesh, activations are constrained by
    the rules, those of a teacher within the step by `teacher_axis_rules`; `gradient_shardings`, those
    of the parameters, place the sums of accumulated gradients.

    The gradients of micro-batches are those of the sum of their losses, divided at the end by the
    sum of their weights: the gradient of the whole batch if the objective's `loss` is a sum over
    its examples.
    """
    options = StepOptions() if options is None else options
    rules = logical_axis_rules() if rules is None else rules
    teacher_rules = teacher_axis_rules()
    accumulate = options.accumulate

    def of_batch(
        objective: Objective, params: Any, batch: Batch, key: jax.Array
    ) -> tuple[Any, Sums]:
        def loss_of(params: Any) -> tuple[jax.Array, Sums]:
            sums = objective.loss(params, batch, key)
            total, weight = sums["loss"]
            return total / jnp.maximum(weight, 1.0), sums

        (_, sums), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        return gradients, sums

    def of_micro_batches(
        objective: Objective, params: Any, batch: Batch, key: jax.Array
    ) -> tuple[Any, Sums]:
        def total_of(params: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Sums]:
            sums = {name: tuple(pair) for name, pair in objective.loss(params, batch, key).items()}
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
        bound = objective if frozen is None else cast(TeacherObjective, objective).bind(frozen)
        with partitioning(mesh, rules, teacher_rules):
            return compute(bound, params, batch, key)

    return gradient


def _micro_batches(leaf: jax.Array, count: int) -> jax.Array:
    """`[B, …]` as `[count, B / count, …]`.

    Micro-batch j holds the rows j, j + count, …: some of every device's, so that none is moved.
    """
    if leaf.shape[0] % count:
        raise UserError(
            f"StepOptions.accumulate is {count}, which does not divide the {leaf.shape[0]} rows of "
            "a batch; choose a divisor of BATCH_SIZE"
        )
    rows = leaf.reshape(leaf.shape[0] // count, count, *leaf.shape[1:]).swapaxes(0, 1)
    return constrain(rows, None, "batch", *(None,) * (leaf.ndim - 1))


def compile_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    shardings: TrainState,
    options: StepOptions | None = None,
    rules: Rules | None = None,
    frozen_shardings: Any = None,
) -> Step:
    """The step jitted over the mesh: state in its shardings and donated, batches split by rows.

    Options and rules are those that Gin binds if None. With the shardings of frozen parameters these
    are the step's fourth argument: neither donated nor part of the state.
    """
    rules = logical_axis_rules() if rules is None else rules
    step = make_step(
        objective,
        optimizer,
        options,
        mesh=mesh,
        rules=rules,
        gradient_shardings=shardings.params,
    )
    frozen = () if frozen_shardings is None else (frozen_shardings,)
    return jax.jit(
        step,
        in_shardings=(shardings, batch_sharding(mesh, rules), None, *frozen),
        out_shardings=(shardings, None),
        donate_argnums=0,
    )
