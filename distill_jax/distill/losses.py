"""What training steps minimise. Pure functions; everything in float32.

Every loss comes as a sum and the weight it was summed over (`WeightedSum`), never as a mean: padding
has weight zero, and sums and weights of several batches or hosts may be added before one divides.
At positions of weight zero inputs may hold anything, infinities, NaNs and ids out of range included;
they change neither value nor gradient, which is exactly zero there. A weight is a non-negative number.

`distillation_loss` is that of Farina et al. 2023 (arXiv 2302.05454), per word i

    CE(y*_i, q_i) + λ_KL KL(p*_i ‖ q_i),   p*_i = softmax(u_i / τ),   τ = 10, λ_KL = 1,

with u_i the teacher's log-likelihoods of the tags (SenTScore) and q_i the student's distribution.
Deviations:
- The paper prints p* in the first term; with it the student would get no gradient. It must be q.
- The paper does not say whether τ divides the student's logits as well, nor whether the KL is scaled by
  τ². The default of both options is that of Hinton et al. 2015 (arXiv 1503.02531): it does, it is. Then
  the gradients of the two terms are of like size whatever τ is. Only the KL term's q is softened.

`logit_matching_loss` is the second stage of Mukherjee & Awadallah 2020 (arXiv 2004.05686),
½‖logits_student − logit(p_teacher)‖². Deviation: logit(p) is clipped, as it is infinite at 0 and 1.

`language_model_loss` is that of t5x: cross-entropy, label smoothing from which the entropy of the
smoothed target is subtracted (a perfect prediction costs 0), and the z-loss that keeps log Z near 0.

Scores of -inf mark what is illegal (the tag `I` after `O`). A teacher's -inf has probability zero and adds
nothing; a student's -inf at the same place is fine, and values and gradients stay finite. A teacher with
mass where the student has -inf makes the loss infinite, as it should. Gradients never flow to the teacher.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from distill_jax.integers import ceil_divide


class WeightedSum(NamedTuple):
    """A sum over weighted positions, and the sum of their weights; both float32 scalars."""

    total: jax.Array
    weight: jax.Array

    def merge(self, other: "WeightedSum") -> "WeightedSum":
        """The sum over the positions of both."""
        return WeightedSum(self.total + other.total, self.weight + other.weight)

    def mean(self) -> jax.Array:
        """Total by weight; 0 if there is no weight."""
        empty = self.weight == 0
        return jnp.where(empty, 0.0, self.total / jnp.where(empty, 1.0, self.weight))


def language_model_loss(
    logits_BxTxV: Float[Array, "batch length vocab"],
    targets_BxT: Int[Array, "batch length"],
    weights_BxT: Shaped[Array, "batch length"],
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> dict[str, WeightedSum]:
    """Cross-entropy of target tokens, in nats.

    Args:
        logits_BxTxV: the decoder's, of any float type.
        targets_BxT: the token to predict at each position.
        weights_BxT: 0 (or False) at padding.
        label_smoothing: probability mass spread evenly over the tokens that are not the target.
        z_loss: the factor of (log Z)².

    Returns:
        `loss` (what to minimise: cross-entropy plus z-loss), `z_loss` (that part of it), `nll` (without
        label smoothing and z-loss) and `correct` (positions where the target has the highest logit).
    """
    logits, real, weights = _at_real_positions(logits_BxTxV, weights_BxT)
    targets = jnp.where(real, targets_BxT, 0)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    of_target = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    nll = log_z - of_target
    loss = nll
    if label_smoothing:
        # Σ_v p_v (log Z - logit_v) - H(p), p being 1 - ε at the target and ε / (V - 1) elsewhere;
        # sums in place of a smoothed one-hot array, which would be as large as the logits.
        vocab = logits.shape[-1]
        confidence, low = 1 - label_smoothing, label_smoothing / (vocab - 1)
        entropy = -(_xlogx(confidence) + (vocab - 1) * _xlogx(low))
        nll_of_all = vocab * log_z - logits.sum(axis=-1)
        loss = (confidence - low) * nll + low * nll_of_all - entropy
    z_term = z_loss * jnp.square(log_z)
    # An arg max would do, but XLA on a CPU takes longer for it than for everything else here.
    correct = of_target >= logits.max(axis=-1)
    return {
        "loss": _weighted_sum(loss + z_term, weights),
        "z_loss": _weighted_sum(z_term, weights),
        "nll": _weighted_sum(nll, weights),
        "correct": _weighted_sum(correct.astype(jnp.float32), weights),
    }


def chunked_language_model_loss(
    logits_of: Callable[[jax.Array], jax.Array],
    hidden_BxTxD: Float[Array, "batch length embed"],
    targets_BxT: Int[Array, "batch length"],
    weights_BxT: Shaped[Array, "batch length"],
    *,
    chunks: int,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> dict[str, WeightedSum]:
    """`language_model_loss` of the logits `logits_of(hidden)`, of which few exist at a time.

    Positions are cut into `chunks` runs (at most one a position), and the logits of a run are
    computed, used and forgotten, once more for the gradient: memory for logits falls to a
    `chunks`-th, for one more product of hidden states and output embedding.

    Args:
        logits_of: hidden states `[batch, positions, embed]` → logits `[batch, positions, vocab]`, of
            each position alone; it may close over parameters.
        hidden_BxTxD: the decoder's states.
        targets_BxT, weights_BxT, label_smoothing, z_loss: as in `language_model_loss`.
        chunks: at least 1.
    """
    length = targets_BxT.shape[1]
    positions = ceil_divide(length, min(chunks, length))
    chunks = ceil_divide(length, positions)

    def split(values: jax.Array) -> jax.Array:
        """`[batch, length, …]` as `[chunks, batch, positions, …]`; what is added weighs nothing."""
        rest = [(0, 0)] * (values.ndim - 2)
        padded = jnp.pad(values, [(0, 0), (0, chunks * positions - length), *rest])
        parts = padded.reshape(padded.shape[0], chunks, positions, *padded.shape[2:])
        return jnp.moveaxis(parts, 1, 0)

    @jax.checkpoint
    def loss_of(
        hidden: jax.Array, targets: jax.Array, weights: jax.Array
    ) -> dict[str, WeightedSum]:
        return language_model_loss(logits_of(hidden), targets, weights, label_smoothing, z_loss)

    def add(
        so_far: dict[str, WeightedSum], chunk: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[dict[str, WeightedSum], None]:
        return jax.tree.map(jnp.add, so_far, loss_of(*chunk)), None

    zero = jnp.zeros((), jnp.float32)
    start = {name: WeightedSum(zero, zero) for name in ("loss", "z_loss", "nll", "correct")}
    return lax.scan(add, start, (split(hidden_BxTxD), split(targets_BxT), split(weights_BxT)))[0]


def tag_cross_entropy(
    logits_BxLxK: Float[Array, "batch length tags"],
    tags_BxL: Int[Array, "batch length"],
    weights_BxL: Shaped[Array, "batch length"],
) -> WeightedSum:
    """CE(y, q) = -log q(y) for each word, in nats; q = softmax(logits), whose logits may hold -inf."""
    logits, real, weights = _at_real_positions(logits_BxLxK, weights_BxL)
    log_q, _ = _log_softmax(logits)
    tags = jnp.where(real, tags_BxL, 0)
    nll = -jnp.take_along_axis(log_q, tags[..., None], axis=-1)[..., 0]
    return _weighted_sum(nll, weights)


def kd_loss(
    student_logits_BxLxK: Float[Array, "batch length tags"],
    teacher_scores_BxLxK: Float[Array, "batch length tags"],
    weights_BxL: Shaped[Array, "batch length"],
    *,
    temperature: float | jax.Array = 10.0,
    both_sides: bool = True,
    square_scale: bool = True,
) -> WeightedSum:
    """KL(softmax(u / τ) ‖ q) for each word, in nats.

    Args:
        student_logits_BxLxK: may hold -inf where the teacher's scores do.
        teacher_scores_BxLxK: u, log-likelihoods or logits (any constant may be added to a row); -inf
            for illegal tags. A row of nothing but -inf is an error and gives NaN.
        weights_BxL: 0 (or False) at padding and at words without teacher.
        temperature: τ.
        both_sides: q = softmax(logits / τ) if true, softmax(logits) if false.
        square_scale: multiply by τ².
    """
    student, real, weights = _at_real_positions(student_logits_BxLxK, weights_BxL)
    teacher = _fill(lax.stop_gradient(teacher_scores_BxLxK), real)
    if both_sides:
        student = student / temperature
    log_p, p_legal = _log_softmax(teacher / temperature)
    log_q, _ = _log_softmax(student)
    # p may be zero at a legal tag too, by underflow; there, as at illegal ones, 0 log 0 = 0.
    p = jnp.where(p_legal, jnp.exp(log_p), 0.0)
    present = p > 0
    difference = jnp.where(present, log_p, 0.0) - jnp.where(present, log_q, 0.0)
    kl = jnp.sum(p * difference, axis=-1)
    kl = jnp.where(p_legal.any(axis=-1), kl, jnp.nan)
    if square_scale:
        kl = kl * temperature**2
    return _weighted_sum(kl, weights)


def distillation_loss(
    student_logits_BxLxK: Float[Array, "batch length tags"],
    tags_BxL: Int[Array, "batch length"],
    teacher_scores_BxLxK: Float[Array, "batch length tags"],
    weights_BxL: Shaped[Array, "batch length"],
    *,
    kl_weight: float = 1.0,
    kl_weights_BxL: Shaped[Array, "batch length"] | None = None,
    temperature: float = 10.0,
    both_sides: bool = True,
    square_scale: bool = True,
) -> dict[str, WeightedSum]:
    """CE(y*, q) + λ KL(p* ‖ q) for each word.

    Args:
        student_logits_BxLxK, teacher_scores_BxLxK, temperature, both_sides, square_scale: see `kd_loss`.
        tags_BxL: y*, the gold tag of gold words, the teacher's of silver words.
        weights_BxL: 0 (or False) at padding.
        kl_weight: λ. With 0 the teacher's scores are not looked at, and `kl` is absent.
        kl_weights_BxL: weights of the KL term; those of the cross-entropy if None. Set them to 0 at
            words that have no teacher scores; the loss is still summed over `weights`.

    Returns:
        `loss` (what to minimise), `cross_entropy`, and `kl` (λ not applied).
    """
    cross_entropy = tag_cross_entropy(student_logits_BxLxK, tags_BxL, weights_BxL)
    if not kl_weight:
        return {"loss": cross_entropy, "cross_entropy": cross_entropy}
    kl = kd_loss(
        student_logits_BxLxK,
        teacher_scores_BxLxK,
        weights_BxL if kl_weights_BxL is None else kl_weights_BxL,
        temperature=temperature,
        both_sides=both_sides,
        square_scale=square_scale,
    )
    loss = WeightedSum(cross_entropy.total + kl_weight * kl.total, cross_entropy.weight)
    return {"loss": loss, "cross_entropy": cross_entropy, "kl": kl}


def logit_matching_loss(
    student_logits_BxLxK: Float[Array, "batch length tags"],
    teacher_scores_BxLxK: Float[Array, "batch length tags"],
    weights_BxL: Shaped[Array, "batch length"],
    *,
    max_logit: float = 15.0,
) -> WeightedSum:
    """½ Σ_k (logits_k − logit(p_k))² for each word, with p = softmax(teacher scores).

    Args:
        student_logits_BxLxK: a tag whose logit is -inf adds nothing.
        teacher_scores_BxLxK: as in `kd_loss`; to give probabilities, pass their logarithms.
        weights_BxL: 0 (or False) at padding.
        max_logit: logit(p) = log(p / (1 − p)) is clipped to ± this; an illegal tag gets −`max_logit`.
    """
    student, real, weights = _at_real_positions(student_logits_BxLxK, weights_BxL)
    teacher = _fill(lax.stop_gradient(teacher_scores_BxLxK), real)
    target = jnp.clip(_log_odds(teacher), -max_logit, max_logit)
    finite = student != -jnp.inf
    error = jnp.where(finite, jnp.where(finite, student, 0.0) - target, 0.0)
    loss = 0.5 * jnp.sum(jnp.square(error), axis=-1)
    loss = jnp.where((teacher > -jnp.inf).any(axis=-1), loss, jnp.nan)
    return _weighted_sum(loss, weights)


def _at_real_positions(
    values: jax.Array, weights: jax.Array
) -> tuple[jax.Array, Bool[Array, "batch length"], jax.Array]:
    """Float32 values that are 0 where the weight is, where the weight is not, and float32 weights."""
    real = weights != 0
    return _fill(values, real), real, weights.astype(jnp.float32)


def _fill(values: jax.Array, real: jax.Array) -> jax.Array:
    # Before anything is computed from them: 0 · NaN is NaN, in a gradient too ("double where").
    return jnp.where(real[..., None], values.astype(jnp.float32), 0.0)


def _weighted_sum(values: jax.Array, weights: jax.Array) -> WeightedSum:
    return WeightedSum(jnp.sum(values * weights), jnp.sum(weights))


def _log_softmax(scores: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities (-inf where the score is), and where they are legal.

    The gradient to an illegal score is exactly zero, and finite to the others.
    """
    legal = scores > -jnp.inf
    # A NaN must not be taken for an illegal tag, or a diverged model would look sound.
    legal |= jnp.isnan(scores)
    inner = jnp.where(legal, scores, 0.0)
    highest = jnp.max(jnp.where(legal, lax.stop_gradient(scores), -jnp.inf), -1, keepdims=True)
    shifted = inner - jnp.where(highest == -jnp.inf, 0.0, highest)
    exponentials = jnp.where(legal, jnp.exp(jnp.where(legal, shifted, 0.0)), 0.0)
    log_z = jnp.log(jnp.sum(exponentials, axis=-1, keepdims=True))
    return jnp.where(legal, shifted - log_z, -jnp.inf), legal


def _log_odds(scores: jax.Array) -> jax.Array:
    """log(p / (1 - p)) of p = softmax(scores), exact at both ends; -inf where the score is."""
    highest = jnp.argmax(scores, axis=-1)
    is_highest = jax.nn.one_hot(highest, scores.shape[-1], dtype=jnp.bool_)
    shifted = scores - jnp.max(scores, axis=-1, keepdims=True)
    exponentials = jnp.exp(shifted)
    # 1 - p of the highest by summing the others: the difference would cancel.
    others = jnp.sum(jnp.where(is_highest, 0.0, exponentials), axis=-1, keepdims=True)
    rest = jnp.where(is_highest, others, others + 1 - exponentials)
    return shifted - jnp.log(rest)


def _xlogx(p: float) -> float:
    return p * math.log(p) if p > 0 else 0.0
