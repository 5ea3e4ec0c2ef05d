"""A bidirectional LSTM over padded sequences, written for speed.

The equations are those of `torch.nn.LSTM` (Hochreiter & Schmidhuber 1997 with forget gates), with one
bias instead of its two, which are only ever added:

    i, f, g, o = split(x_t W + h_{t-1} U + b)
    c_t = σ(f) c_{t-1} + σ(i) tanh(g),   h_t = σ(o) tanh(c_t)

What does not depend on the recurrence, `x W + b`, is one matmul over all steps before the loop. The
two directions then advance together, as a batched matmul over a leading axis of 2: while the forward
one is at step t, the backward one is at step n-1-t of the n that the longest sequence has. As padding
leaves the state as it is, and the state starts at zero, that is the same as reversing each sequence
within its own length. The loop runs n times, whatever the arrays are padded to: a bucket of 16 words,
or 20 characters a word, costs what the longest of the batch needs.

Why not Flax's `nn.RNN` with `OptimizedLSTMCell`: it scans over the padded length, runs one loop for
each direction, and its derivative accumulates the recurrent matrix's gradient inside the loop (see
`run_directions`). All of that is in the recurrence, where XLA can do nothing about it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Int

DIRECTIONS = 2
GATES = 4


def bias_init(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """1 for the forget gate (Jozefowicz et al. 2015), 0 for the others: `[2, 4 * hidden]`."""
    del key
    hidden = shape[1] // GATES
    return jnp.zeros(shape, dtype).at[:, hidden : 2 * hidden].set(1)


@jax.custom_batching.custom_vmap
def longest(mask_LxB: Bool[Array, "length batch"]) -> Int[Array, ""]:
    """The number of steps until the last real one of any sequence.

    Under `vmap` that is the last of all members: a loop whose end differs from member to member
    would copy what it has written at every step.
    """
    steps = jnp.arange(1, mask_LxB.shape[0] + 1)
    return jnp.max(jnp.where(mask_LxB, steps[:, None], 0), initial=0)


@longest.def_vmap
def _longest_of_all(size: int, mapped: list[bool], mask_MxLxB: jax.Array) -> tuple[Any, bool]:
    del size, mapped  # called for nothing that is not mapped
    return longest(jnp.any(mask_MxLxB, axis=0)), False


def at(steps_2xLxBx: jax.Array, t: jax.Array, n: jax.Array) -> jax.Array:
    """What the two directions find at the t-th of n steps: `[2, batch, …]`."""
    return jnp.concatenate(
        [
            lax.dynamic_slice(
                steps_2xLxBx, _corner(steps_2xLxBx, k, place), (1, 1, *steps_2xLxBx.shape[2:])
            )[0]
            for k, place in enumerate((t, n - 1 - t))
        ]
    )


def put(steps_2xLxBx: jax.Array, t: jax.Array, n: jax.Array, values_2xBx: jax.Array) -> jax.Array:
    """`steps` with the t-th of n steps replaced, in place where XLA can."""
    for k, place in enumerate((t, n - 1 - t)):
        steps_2xLxBx = lax.dynamic_update_slice(
            steps_2xLxBx, values_2xBx[k : k + 1, None], _corner(steps_2xLxBx, k, place)
        )
    return steps_2xLxBx


def _corner(steps: jax.Array, direction: int, place: jax.Array) -> tuple[Any, ...]:
    return (direction, place, *[0] * (steps.ndim - 2))


@jax.custom_vjp
def run_directions(
    projected_2xLxBxG: Float[Array, "2 length batch gates"],
    mask_LxB: Bool[Array, "length batch"],
    recurrent_2xHxG: Float[Array, "2 hidden gates"],
) -> tuple[Float[Array, "2 length batch hidden"], Float[Array, "2 batch hidden"]]:
    """Runs the recurrence, forwards in the first direction and backwards in the second.

    The derivative is written by hand: it keeps the gates instead of computing them again, and takes
    the gradient of `recurrent` out of the loop as one matmul over all steps, where the derived one
    reads and writes that gradient, larger than a core's nearest caches, at every step. Only reverse
    mode is defined.

    Returns:
        the hidden state at each step (at padding: anything), and each direction's last.
    """
    outputs, _ = _forward(projected_2xLxBxG, mask_LxB, recurrent_2xHxG)
    return outputs


def _forward(projected: jax.Array, mask: jax.Array, recurrent: jax.Array) -> tuple[Any, Any]:
    """The outputs, and what the derivative needs."""
    directions, length, batch, width = projected.shape
    n = longest(mask)
    mask = jnp.broadcast_to(mask, (directions, *mask.shape))
    # σ(x) = (1 + tanh(x / 2)) / 2: one function for all gates, and no splitting and joining of them.
    scale = jnp.ones((GATES, width // GATES)).at[jnp.array([0, 1, 3])].set(0.5).reshape(width)

    def step(t: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        hidden, cell, states, cells, gates = state
        # The state is float32 whatever the type of activations: it sums over the whole sequence.
        summed = at(projected, t, n).astype(jnp.float32) + jnp.einsum(
            "kbh,khg->kbg",
            hidden.astype(recurrent.dtype),
            recurrent,
            preferred_element_type=jnp.float32,
        )
        activated = jnp.tanh(summed * scale) * scale + (1 - scale)
        i, f, g, o = jnp.split(activated, GATES, axis=-1)
        keep = at(mask, t, n)[..., None]
        new_cell = f * cell + i * g
        hidden = jnp.where(keep, o * jnp.tanh(new_cell), hidden)
        cell = jnp.where(keep, new_cell, cell)
        kept = (put(states, t, n, hidden), put(cells, t, n, cell), put(gates, t, n, activated))
        return hidden, cell, *kept

    zeros = jnp.zeros((directions, batch, width // GATES), jnp.float32)
    steps = jnp.zeros((directions, length, batch, width // GATES), jnp.float32)
    gates = jnp.zeros(projected.shape, jnp.float32)
    last, _, states, cells, gates = lax.fori_loop(0, n, step, (zeros, zeros, steps, steps, gates))
    # An empty array tells the type of what was projected, which nothing else is needed of.
    return (states, last), (projected[:, :0], n, mask, recurrent, states, cells, gates)


def _backward(kept: Any, gradients: tuple[jax.Array, jax.Array]) -> tuple[Any, Any, Any]:
    like, n, mask, recurrent, states, cells, gates = kept
    of_states, of_last = gradients

    def step(done: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        of_hidden, of_cell, of_projected = carry
        t = n - 1 - done
        of_hidden = of_hidden + at(of_states, t, n)
        i, f, g, o = jnp.split(at(gates, t, n), GATES, axis=-1)
        cell_before = jnp.where(t > 0, at(cells, t - 1, n), 0.0)
        activated = jnp.tanh(at(cells, t, n))
        of_new_cell = of_cell + of_hidden * o * (1 - activated * activated)
        of_gates = jnp.concatenate(
            [
                of_new_cell * g * i * (1 - i),
                of_new_cell * cell_before * f * (1 - f),
                of_new_cell * i * (1 - g * g),
                of_hidden * activated * o * (1 - o),
            ],
            axis=-1,
        )
        keep = at(mask, t, n)[..., None]
        of_gates = jnp.where(keep, of_gates, 0.0)
        through = jnp.einsum(
            "kbg,khg->kbh",
            of_gates.astype(recurrent.dtype),
            recurrent,
            preferred_element_type=jnp.float32,
        )
        of_hidden = jnp.where(keep, through, of_hidden)
        of_cell = jnp.where(keep, of_new_cell * f, of_cell)
        return of_hidden, of_cell, put(of_projected, t, n, of_gates)

    start = (of_last, jnp.zeros_like(of_last), jnp.zeros_like(gates))
    _, _, of_projected = lax.fori_loop(0, n, step, start)
    # The step before is the one on the left forwards, on the right backwards.
    nothing = jnp.zeros_like(states[:, :1])
    before = jnp.stack(
        [
            jnp.concatenate([nothing[0], states[0, :-1]]),
            jnp.concatenate([states[1, 1:], nothing[1]]),
        ]
    )
    directions, length, batch, width = of_projected.shape
    of_recurrent = jnp.einsum(
        "knh,kng->khg",
        before.reshape(directions, length * batch, -1).astype(recurrent.dtype),
        of_projected.reshape(directions, length * batch, width).astype(recurrent.dtype),
        preferred_element_type=jnp.float32,
    )
    return of_projected.astype(like.dtype), None, of_recurrent.astype(recurrent.dtype)


run_directions.defvjp(_forward, _backward)


class BidirectionalLSTM(nn.Module):
    """One bidirectional layer.

    Parameters: `input_kernel` [2, features, 4 * hidden], `recurrent_kernel` [2, hidden, 4 * hidden],
    `bias` [2, 4 * hidden], the forward direction first, gates in the order i, f, g, o.
    """

    hidden: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        inputs_BxLxD: Float[Array, "batch length features"],
        mask_BxL: Bool[Array, "batch length"],
    ) -> tuple[Float[Array, "batch length outputs"], Float[Array, "batch outputs"]]:
        """Runs the layer; `outputs` is 2 * hidden, the forward direction first.

        Args:
            inputs_BxLxD: padding may stand after or before a sequence, not inside one.
            mask_BxL: True where there is a real step.

        Returns:
            float32 hidden states of each step, zero where there is padding, and the last hidden
            state of each direction (forward: at the last real step, backward: at the first), zero
            for an empty sequence.
        """
        features = inputs_BxLxD.shape[-1]
        gates = GATES * self.hidden
        input_kernel = self.param(
            "input_kernel",
            nn.with_logical_partitioning(
                nn.initializers.variance_scaling(1.0, "fan_avg", "uniform", batch_axis=0),
                ("lstm_direction", "embed", "lstm_gates"),
            ),
            (DIRECTIONS, features, gates),
            jnp.float32,
        )
        recurrent_kernel = self.param(
            "recurrent_kernel",
            nn.with_logical_partitioning(
                # Variance 1 / hidden, an orthogonal matrix's, without the compile time of its QR.
                nn.initializers.variance_scaling(1.0, "fan_in", "uniform", batch_axis=0),
                ("lstm_direction", "lstm_hidden", "lstm_gates"),
            ),
            (DIRECTIONS, self.hidden, gates),
            jnp.float32,
        )
        bias = self.param(
            "bias",
            nn.with_logical_partitioning(bias_init, ("lstm_direction", "lstm_gates")),
            (DIRECTIONS, gates),
            jnp.float32,
        )
        batch, length = mask_BxL.shape
        # A batched matmul wants its batch first; repeating the narrow inputs for both directions is
        # cheaper than transposing what they are projected to.
        steps_2xNxD = jnp.broadcast_to(
            jnp.swapaxes(inputs_BxLxD, 0, 1).reshape(length * batch, features).astype(self.dtype),
            (DIRECTIONS, length * batch, features),
        )
        projected_2xNxG = jnp.einsum("knd,kdg->kng", steps_2xNxD, input_kernel.astype(self.dtype))
        projected_2xNxG += bias[:, None].astype(self.dtype)
        states_2xLxBxH, last_2xBxH = run_directions(
            projected_2xNxG.reshape(DIRECTIONS, length, batch, gates),
            mask_BxL.T,
            recurrent_kernel.astype(self.dtype),
        )
        states_BxLx2xH = jnp.transpose(states_2xLxBxH, (2, 1, 0, 3))
        outputs = states_BxLx2xH.reshape(batch, length, DIRECTIONS * self.hidden)
        outputs = jnp.where(mask_BxL[..., None], outputs, 0.0)
        last = jnp.moveaxis(last_2xBxH, 0, 1).reshape(batch, DIRECTIONS * self.hidden)
        return outputs, last
