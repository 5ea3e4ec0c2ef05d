"""What a training step carries from one step to the next, made directly in its place on the mesh."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct
from jax.sharding import Mesh

from distill_jax.models.partitioning import Place, Rules
from distill_jax.parallel.mesh import state_shardings
from distill_jax.train.objective import Objective, WithUntrained


class TrainState(struct.PyTreeNode):
    """Step number (int32 scalar), parameters (float32), optimizer state."""

    step: jax.Array
    params: Any
    opt_state: Any


def abstract_state(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    rules: Rules | None = None,
) -> TrainState:
    """Shapes, dtypes and shardings of a state, as `jax.ShapeDtypeStruct`s: nothing is allocated.

    `rules` say where logical axes live; None: `LOGICAL_AXIS_RULES`.
    """
    return abstract(state_initialiser(objective, optimizer), mesh, rules)


def abstract(init: Callable[[jax.Array], Any], mesh: Mesh, rules: Rules | None = None) -> Any:
    """Shapes, dtypes and shardings of what `init` makes of a key, boxed with logical axis names."""
    return _placed(jax.eval_shape(init, jax.random.key(0)), mesh, rules)


def _placed(boxed: Any, mesh: Mesh, rules: Rules | None) -> Any:
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        nn.unbox(boxed),
        state_shardings(boxed, mesh, rules),
    )


def abstract_frozen(objective: Objective, place: Place) -> Any:
    """As `abstract_state`, of the objective's frozen parameters, by the teacher's rules; None:
    there are none."""
    assert place.mesh is not None, "parameters that are sharded lie on a mesh"
    rules = place.rules if place.teacher_rules is None else place.teacher_rules
    boxed = jax.eval_shape(objective.init_frozen, jax.random.key(0))
    if isinstance(boxed, WithUntrained):
        return WithUntrained(
            _placed(boxed.untrained, place.mesh, place.rules),
            _placed(boxed.frozen, place.mesh, rules),
        )
    return _placed(boxed, place.mesh, rules)


def shardings_of(tree: Any) -> Any:
    """The sharding of every leaf."""
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def create_state(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    seed: int,
    initial_params: Any = None,
    rules: Rules | None = None,
) -> TrainState:
    """Initialises a state, sharded from birth: the same values whatever the mesh.

    `initial_params` (arrays, say of a checkpoint) replace the random ones. They are copied, since
    the step donates its state, and an array that shared its memory would be overwritten.
    """
    places = abstract_state(objective, optimizer, mesh, rules)
    shardings = shardings_of(places)
    if initial_params is None:
        init = state_initialiser(objective, optimizer)
        made = jax.jit(lambda key: nn.unbox(init(key)), out_shardings=shardings)
        return made(jax.random.key(seed))
    params = jax.tree.map(
        lambda leaf, place: jax.device_put(np.array(leaf, place.dtype), place.sharding),
        initial_params,
        places.params,
    )
    step = jax.device_put(np.zeros((), np.int32), shardings.step)
    opt_state = jax.jit(optimizer.init, out_shardings=shardings.opt_state)(params)
    return TrainState(step, params, opt_state)


def state_initialiser(
    objective: Objective, optimizer: optax.GradientTransformation
) -> Callable[[jax.Array], TrainState]:
    """Key → a random state, its leaves boxed with their logical axes."""

    def init(key: jax.Array) -> TrainState:
        params = objective.init(key)
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    return init
