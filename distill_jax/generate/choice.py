"""Drawing a token from logits that are cut by top-k, top-p and min-p, without sorting a vocabulary.

A token is found where the cumulated probabilities pass a uniform number, which costs two numbers a
row instead of the noise for every token that a Gumbel maximum needs; and top-p's threshold is found by
bisection, which on a CPU is many times faster than a sort. Shape suffixes: B batch, N candidates.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distill_jax.generate.settings import SamplingSettings

_FLAT = 1024
"""So many candidates are cumulated in one go; more in two, by blocks."""


def choose(
    logits_BxN: Float[Array, "batch vocab"],
    uniform_Bx2: Float[Array, "batch 2"],
    settings: SamplingSettings,
) -> Int[Array, " batch"]:
    """A token of each row, int32, drawn as the settings say with the row's uniform numbers in [0, 1).

    Logits are float32, -inf where a token is not allowed; at least one must be.
    """
    scaled_BxN = logits_BxN / settings.temperature
    ids_BxN = None
    if 0 < settings.top_k < logits_BxN.shape[1]:
        scaled_BxN, ids_BxN = jax.lax.top_k(scaled_BxN, settings.top_k)
    weights_BxN = jnp.exp(scaled_BxN - scaled_BxN.max(axis=1, keepdims=True))
    weights_BxN = jnp.where(_kept(weights_BxN, settings), weights_BxN, 0.0)
    chosen_B = _draw(weights_BxN, uniform_Bx2)
    if ids_BxN is None:
        return chosen_B
    return jnp.take_along_axis(ids_BxN, chosen_B[:, None], axis=1)[:, 0]


def _kept(
    weights_BxN: Float[Array, "batch n"], settings: SamplingSettings
) -> Bool[Array, "batch n"]:
    """Which tokens top-p and then min-p leave, given weights whose largest is 1."""
    least_B = jnp.full(weights_BxN.shape[0], settings.min_p, jnp.float32)
    if settings.top_p < 1:
        least_B = jnp.maximum(least_B, _nucleus(weights_BxN, settings.top_p))
    return weights_BxN >= least_B[:, None]


def _nucleus(weights_BxN: Float[Array, "batch n"], mass: float) -> Float[Array, " batch"]:
    """The largest threshold at which the weights that reach it have `mass` of the whole.

    Bits of floats from 0 on are ordered as the floats are, so bisecting them ends at the threshold itself.
    """
    wanted_B = mass * weights_BxN.sum(axis=1)

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        enough_B, too_high_B = bounds
        middle_B = enough_B + (too_high_B - enough_B) // 2
        threshold_B = jax.lax.bitcast_convert_type(middle_B, jnp.float32)
        reached_B = jnp.where(weights_BxN >= threshold_B[:, None], weights_BxN, 0.0).sum(axis=1)
        is_enough_B = reached_B >= wanted_B
        return (
            jnp.where(is_enough_B, middle_B, enough_B),
            jnp.where(is_enough_B, too_high_B, middle_B),
        )

    above_one = jax.lax.bitcast_convert_type(jnp.float32(1.0), jnp.int32) + 1
    rows = weights_BxN.shape[0]
    bounds = (jnp.zeros(rows, jnp.int32), jnp.full(rows, above_one))
    enough_B, _ = jax.lax.fori_loop(0, 31, halve, bounds)
    return jax.lax.bitcast_convert_type(enough_B, jnp.float32)


def _draw(
    weights_BxN: Float[Array, "batch n"], uniform_Bx2: Float[Array, "batch 2"]
) -> Int[Array, " batch"]:
    """A place of each row with a probability proportional to its weight; never one of weight 0."""
    rows, places = weights_BxN.shape
    if places <= _FLAT:
        return _pass(weights_BxN, uniform_Bx2[:, 0])
    size = math.isqrt(places - 1) + 1
    padded = jnp.pad(weights_BxN, ((0, 0), (0, size * size - places)))
    blocks = padded.reshape(rows, size, size)
    block_B = _pass(blocks.sum(axis=2), uniform_Bx2[:, 0])
    within = jnp.take_along_axis(blocks, block_B[:, None, None], axis=1)[:, 0]
    return block_B * size + _pass(within, uniform_Bx2[:, 1])


def _pass(weights_BxN: jax.Array, uniform_B: jax.Array) -> jax.Array:
    """Where the cumulated weights pass the uniform number's share of their sum."""
    cumulated_BxN = jnp.cumsum(weights_BxN, axis=1)
    passed_BxN = cumulated_BxN > (uniform_B * cumulated_BxN[:, -1])[:, None]
    # Rounding may let nothing pass, or a place of weight 0 where a sum falls: then the likeliest.
    chosen_B = jnp.argmax(passed_BxN & (weights_BxN > 0), axis=1).astype(jnp.int32)
    weight_B = jnp.take_along_axis(weights_BxN, chosen_B[:, None], axis=1)[:, 0]
    return jnp.where(weight_B > 0, chosen_B, jnp.argmax(weights_BxN, axis=1).astype(jnp.int32))
