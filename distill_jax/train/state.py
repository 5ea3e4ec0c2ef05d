"""What a training step carries from one step to the next, made directly in its place on the mesh."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from distill_jax.distill.objectives import Objective
from distill_jax.train.mesh import state_shardings


class TrainState(struct.PyTreeNode):
    """Step number (int32 scalar), parameters (float32), optimizer state."""

    step: jax.Array
    params: Any
    opt_state: Any


def create_state(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    seed: int,
    initial_params: Any = None,
) -> tuple[TrainState, TrainState]:
    """Initialises a state, sharded from birth; returns it and its tree of shardings.

    `initial_params` (host arrays, say of a checkpoint) replace the random ones.
    """

    def init(key: jax.Array) -> TrainState:
        params = objective.init(key)
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    key = jax.random.key(seed)
    abstract = jax.eval_shape(init, key)
    shardings = state_shardings(abstract, mesh)
    if initial_params is None:
        return jax.jit(lambda key: nn.unbox(init(key)), out_shardings=shardings)(key), shardings
    params = jax.device_put(initial_params, shardings.params)
    step = jax.device_put(jnp.zeros((), jnp.int32), NamedSharding(mesh, PartitionSpec()))
    opt_state = jax.jit(optimizer.init, out_shardings=shardings.opt_state)(params)
    return TrainState(step, params, opt_state), shardings
