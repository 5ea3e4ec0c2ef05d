"""A bidirectional LSTM over padded sequences, written for speed.

The equations are those of `torch.nn.LSTM` (Hochreiter & Schmidhuber 1997 with forget gates), with one
bias instead of its two, which are only ever added:

    i, f, g, o = split(x_t W + h_{t-1} U + b)
    c_t = σ(f) c_{t-1} + σ(i) tanh(g),   h_t = σ(o) tanh(c_t)

What does not depend on the recurrence, `x W + b`, is one matmul over all steps and both directions
before the scan. The two directions then advance together, as a batched matmul over a leading axis of
2. The backward direction reads the flipped sequence, in which padding comes first: as padding leaves
the state as it is, and the state starts at zero, that is the same as reversing each sequence within
its own length, but needs no gather, whose gradient would be a scatter.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float

DIRECTIONS = 2
GATES = 4


def bias_init(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """1 for the forget gate (Jozefowicz et al. 2015), 0 for the others: `[2, 4 * hidden]`."""
    del key
    hidden = shape[1] // GATES
    return jnp.zeros(shape, dtype).at[:, hidden : 2 * hidden].set(1)


@jax.custom_vjp
def scan_directions(
    projected_Lx2xBxG: Float[Array, "length 2 batch gates"],
    mask_Lx2xB: Bool[Array, "length 2 batch"],
    recurrent_2xHxG: Float[Array, "2 hidden gates"],
) -> tuple[Float[Array, "length 2 batch hidden"], Float[Array, "2 batch hidden"]]:
    """Runs the recurrence of both directions, in the order in which the steps are given.

    The derivative is written by hand: it keeps the gates instead of computing them again, and takes
    the gradient of `recurrent` out of the scan as one matmul over all steps, where the derived one
    reads and writes that gradient, larger than a core's nearest caches, at every step. Only reverse
    mode is defined. On a CPU, unrolling or one matmul per direction in place of a batched one was no
    faster.

    Returns:
        the hidden state after each step (at a masked step: that of the step before), and the last.
    """
    outputs, _ = _scan_forward(projected_Lx2xBxG, mask_Lx2xB, recurrent_2xHxG)
    return outputs


def _scan_forward(projected: jax.Array, mask: jax.Array, recurrent: jax.Array) -> tuple[Any, Any]:
    """The outputs, and what the derivative needs."""

    def step(state: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, jax.Array]) -> Any:
        hidden, cell = state
        projected, mask = inputs
        # The state is float32 whatever the type of activations: it sums over the whole sequence.
        gates = projected.astype(jnp.float32) + jnp.einsum(
            "kbh,khg->kbg",
            hidden.astype(recurrent.dtype),
            recurrent,
            preferred_element_type=jnp.float32,
        )
        i, f, g, o = jnp.split(gates, GATES, axis=-1)
        i, f, g, o = nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)
        keep = mask[..., None]
        new_cell = f * cell + i * g
        hidden = jnp.where(keep, o * jnp.tanh(new_cell), hidden)
        cell = jnp.where(keep, new_cell, cell)
        return (hidden, cell), (hidden, cell, i, f, g, o)

    _, directions, batch, _ = projected.shape
    zeros = jnp.zeros((directions, batch, recurrent.shape[1]), jnp.float32)
    (last, _), kept = lax.scan(step, (zeros, zeros), (projected, mask))
    # An empty array tells the type of what was projected, which nothing else is needed of.
    return (kept[0], last), (projected[:0], mask, recurrent, *kept)


def _scan_backward(kept: Any, gradients: tuple[jax.Array, jax.Array]) -> tuple[Any, Any, Any]:
    like, mask, recurrent, states, cells, *gates = kept
    of_states, of_last = gradients

    def before(steps: jax.Array) -> jax.Array:
        return jnp.concatenate([jnp.zeros_like(steps[:1]), steps[:-1]])

    def step(carry: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, ...]) -> Any:
        of_hidden, of_cell = carry
        of_state, mask, cell, cell_before, i, f, g, o = inputs
        of_hidden = of_hidden + of_state
        keep = mask[..., None]
        activated = jnp.tanh(cell)
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
        of_gates = jnp.where(keep, of_gates, 0.0)
        through = jnp.einsum(
            "kbg,khg->kbh",
            of_gates.astype(recurrent.dtype),
            recurrent,
            preferred_element_type=jnp.float32,
        )
        of_hidden = jnp.where(keep, through, of_hidden)
        of_cell = jnp.where(keep, of_new_cell * f, of_cell)
        return (of_hidden, of_cell), of_gates

    inputs = (of_states, mask, cells, before(cells), *gates)
    _, of_projected = lax.scan(step, (of_last, jnp.zeros_like(of_last)), inputs, reverse=True)
    of_recurrent = jnp.einsum(
        "lkbh,lkbg->khg",
        before(states).astype(recurrent.dtype),
        of_projected.astype(recurrent.dtype),
        preferred_element_type=jnp.float32,
    )
    return of_projected.astype(like.dtype), None, of_recurrent.astype(recurrent.dtype)


scan_directions.defvjp(_scan_forward, _scan_backward)


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
        projected = jnp.einsum(
            "bld,kdg->lkbg", inputs_BxLxD.astype(self.dtype), input_kernel.astype(self.dtype)
        )
        projected_Lx2xBxG = flip_backward(projected + bias[:, None].astype(self.dtype))
        mask_Lx2xB = flip_backward(jnp.broadcast_to(mask_BxL.T[:, None], projected.shape[:3]))
        states_Lx2xBxH, last_2xBxH = scan_directions(
            projected_Lx2xBxG, mask_Lx2xB, recurrent_kernel.astype(self.dtype)
        )
        batch, length = mask_BxL.shape
        states_BxLx2xH = jnp.transpose(flip_backward(states_Lx2xBxH), (2, 0, 1, 3))
        outputs = states_BxLx2xH.reshape(batch, length, DIRECTIONS * self.hidden)
        outputs = jnp.where(mask_BxL[..., None], outputs, 0.0)
        last = jnp.moveaxis(last_2xBxH, 0, 1).reshape(batch, DIRECTIONS * self.hidden)
        return outputs, last


def flip_backward(steps_Lx2: jax.Array) -> jax.Array:
    """Turns the time of the backward direction round: `[length, 2, …]`. Its own inverse."""
    return jnp.stack([steps_Lx2[:, 0], steps_Lx2[::-1, 1]], axis=1)
