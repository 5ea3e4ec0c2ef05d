"""Legal sBIO sequences under per-word scores, in the step: what `distill_jax_runtime` has, in JAX.

Only `I` at the start and `I` after `O` are illegal, so two states do: outside a span, and inside one.
Both functions are for whole batches, in float32, and have no gradient of use.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

_O, _I, _FIRST_LABEL = 0, 1, 2


def legal_log_marginals(
    scores_BxLxK: Float[Array, "batch length tags"], real_BxL: Bool[Array, "batch length"]
) -> Float[Array, "batch length tags"]:
    """The logarithm of each tag's probability under p(t₁ … t_L) ∝ Π exp(uᵢ(tᵢ)) over legal sequences.

    Forward–backward (Rabiner 1989, section III), each word's sums scaled to one: a row is then as exact
    as float32 has it, however long the sentence.

    Args:
        scores_BxLxK: u, log-probabilities or logits; -inf forbids a tag.
        real_BxL: False behind each sentence, where the result is zero.

    Returns:
        float32, -inf for what is illegal; NaN in a sentence without a legal sequence.
    """
    scores_BxLxK = scores_BxLxK.astype(jnp.float32)
    # What is behind a sentence is O for certain, which weighs nothing.
    outside_BxL = jnp.where(real_BxL, scores_BxLxK[..., _O], 0.0)
    inside_BxL = jnp.where(real_BxL, scores_BxLxK[..., _I], -jnp.inf)
    opens_BxL = jnp.where(real_BxL, jax.nn.logsumexp(_labels(scores_BxLxK), axis=-1), -jnp.inf)
    words = tuple(jnp.moveaxis(each, 1, 0) for each in (outside_BxL, inside_BxL, opens_BxL))

    def forward(before: jax.Array, word: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        out_B, go_on_B, open_B = word
        any_B = jnp.logaddexp(before[0], before[1])
        return _scaled(any_B + out_B, jnp.logaddexp(any_B + open_B, before[1] + go_on_B)), before

    def backward(after: jax.Array, word: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        out_B, go_on_B, open_B = word
        outside_B = jnp.logaddexp(out_B + after[0], open_B + after[1])
        return _scaled(outside_B, jnp.logaddexp(outside_B, go_on_B + after[1])), after

    nothing_B = jnp.zeros(scores_BxLxK.shape[0], jnp.float32)
    start, end = jnp.stack([nothing_B, nothing_B - jnp.inf]), jnp.stack([nothing_B, nothing_B])
    _, before_Lx2xB = lax.scan(forward, start, words)
    _, after_Lx2xB = lax.scan(backward, end, words, reverse=True)
    before_outside, before_inside = before_Lx2xB.transpose(1, 2, 0)
    after_outside, after_inside = after_Lx2xB.transpose(1, 2, 0)
    before_any = jnp.logaddexp(before_outside, before_inside)
    around_BxLxK = (before_any + after_inside)[..., None] + jnp.zeros_like(scores_BxLxK)
    around_BxLxK = around_BxLxK.at[..., _O].set(before_any + after_outside)
    around_BxLxK = around_BxLxK.at[..., _I].set(before_inside + after_inside)
    return jnp.where(real_BxL[..., None], jax.nn.log_softmax(scores_BxLxK + around_BxLxK), 0.0)


def best_legal_tags(
    scores_BxLxK: Float[Array, "batch length tags"], real_BxL: Bool[Array, "batch length"]
) -> Int[Array, "batch length"]:
    """The tags int32[B, L] of each sentence's legal sequence with the highest sum of scores (Viterbi).

    Ties are broken as in `legal.constrained_tags`, whose arguments' meaning they have; O behind
    each sentence.
    """
    scores_BxLxK = scores_BxLxK.astype(jnp.float32)
    labels_BxLxN = _labels(scores_BxLxK)
    label_BxL = labels_BxLxN.argmax(-1).astype(jnp.int32) + _FIRST_LABEL
    # Both states are equal in the padding, and a tie is `O`.
    outside, go_on, opens = (
        jnp.where(real_BxL, each, 0.0).T
        for each in (scores_BxLxK[..., _O], scores_BxLxK[..., _I], labels_BxLxN.max(-1))
    )

    def forward(
        sums: tuple[jax.Array, jax.Array], word: tuple[jax.Array, ...]
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        out_B, go_on_B, open_B = word
        continued_B = sums[1] + jnp.maximum(go_on_B, open_B)
        opened_B = sums[0] + open_B
        outside_B = jnp.maximum(*sums) + out_B
        inside_B = jnp.maximum(continued_B, opened_B)
        return (outside_B, inside_B), (inside_B > outside_B, continued_B > opened_B)

    def backward(
        following: tuple[jax.Array, jax.Array], word: tuple[jax.Array, ...]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        next_is_outside_B, next_from_inside_B = following
        ends_inside_B, from_inside_B, go_on_B, open_B, labels_B = word
        # The predecessor of `O`, like the last word, is whichever state has the higher sum.
        inside_B = jnp.where(next_is_outside_B, ends_inside_B, next_from_inside_B)
        continues_B = from_inside_B & (go_on_B >= open_B)
        tags_B = jnp.where(inside_B, jnp.where(continues_B, _I, labels_B), _O)
        return (~inside_B, from_inside_B), tags_B

    nothing_B = jnp.zeros(scores_BxLxK.shape[0], jnp.float32)
    before_first = (nothing_B, nothing_B - jnp.inf)  # outside: no sentence begins within a span
    _, (ends_inside, from_inside) = lax.scan(forward, before_first, (outside, go_on, opens))
    behind_last = (jnp.ones(nothing_B.shape, bool), jnp.zeros(nothing_B.shape, bool))
    words = (ends_inside, from_inside, go_on, opens, label_BxL.T)
    _, tags_LxB = lax.scan(backward, behind_last, words, reverse=True)
    return tags_LxB.T


def _labels(scores_BxLxK: jax.Array) -> jax.Array:
    """The scores of tags that open a span; a last one that is forbidden, as there may be no other."""
    labels_BxLxN = scores_BxLxK[..., _FIRST_LABEL:]
    return jnp.pad(labels_BxLxN, ((0, 0), (0, 0), (0, 1)), constant_values=-jnp.inf)


def _scaled(outside_B: jax.Array, inside_B: jax.Array) -> jax.Array:
    """The two states' logarithms, [2, B], less that of their sum."""
    return jnp.stack([outside_B, inside_B]) - jnp.logaddexp(outside_B, inside_B)
