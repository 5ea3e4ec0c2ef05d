"""The loss of students of tags: Farina et al. 2023 (arXiv 2302.05454), per word i

    CE(y*_i, q_i) + λ_KL KL(p*_i ‖ q_i),   p*_i = softmax(u_i / τ),

with `y*_i` the gold tag or the teacher's, `u_i` the teacher's log-likelihoods of the tags (SenTScore) and
`q_i` the student's distribution. Pure functions; everything in float32. Deviations:

- The paper prints `p*` in the first term; with it the student would get no gradient. It must be q.
- The paper does not say whether τ divides the student's logits as well, nor whether the KL is scaled by
  τ². The default of both options is that of Hinton et al. 2015 (arXiv 1503.02531): it does, it is. Then
  the gradients of the two terms are of like size whatever τ is. Only the KL term's q is softened.

Scores of -inf mark what is illegal (the tag `I` after `O`). A teacher's -inf has probability zero and adds
nothing; a student's -inf at the same place is fine, and values and gradients stay finite. A teacher with
mass where the student has -inf makes the loss infinite, as it should. Gradients never flow to the teacher.
"""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from distill_jax.configuration import setting
from distill_jax.data.features import TagTargets
from distill_jax.distill.weighted import WeightedSum, at_real_positions, fill, weighted_sum


class TagLoss(Protocol):
    """A loss of students of tags: a frozen dataclass, whose fields are its settings."""

    @property
    def has_kl(self) -> bool:
        """Whether a teacher's posteriors are looked at; else its tags alone."""

    def sums(
        self, logits_BxLxK: Float[Array, "batch length tags"], targets: TagTargets
    ) -> dict[str, WeightedSum]:
        """`loss`, what to minimise, by the words' weight, and other figures to log."""


@dataclasses.dataclass(frozen=True)
class DistillationWeights:
    """λ, τ and the options of the KL term; of what is here, the choice is recorded with each result.

    `kl_weight` (λ) 0 is training on tags alone (pseudo-labels, or gold). τ is 10 in the paper, for
    a T5 that was pre-trained at scale; teachers that start from random weights have no opinion on
    which of two impossible tags is less likely, and distil better at 2 (docs/results). Both may be
    traced scalars, for students trained together.
    """

    kl_weight: float | jax.Array = setting(1.0, macro="KL_WEIGHT")
    temperature: float | jax.Array = setting(10.0, macro="TEMPERATURE")
    both_sides: bool = setting(True, macro="BOTH_SIDES")
    square_scale: bool = setting(True, macro="SQUARE_SCALE")

    @property
    def has_kl(self) -> bool:
        """Whether there is a KL term to compute: always where λ is known only to the program."""
        return isinstance(self.kl_weight, jax.Array) or self.kl_weight != 0

    def sums(
        self, logits_BxLxK: Float[Array, "batch length tags"], targets: TagTargets
    ) -> dict[str, WeightedSum]:
        """See `TagLoss.sums`, and `distillation_loss`."""
        return distillation_loss(logits_BxLxK, targets, self)

    def kl(
        self, student_BxLxK: jax.Array, teacher_BxLxK: jax.Array, weights_BxL: jax.Array
    ) -> WeightedSum:
        """The KL term without λ: see `kd_loss`."""
        return kd_loss(
            student_BxLxK,
            teacher_BxLxK,
            weights_BxL,
            temperature=self.temperature,
            both_sides=self.both_sides,
            square_scale=self.square_scale,
        )


class TagModel(Protocol):
    """A Flax module that gives each word its tags' logits."""

    def apply(self, variables: Any, *inputs: Any, **options: Any) -> Any:
        """Inputs → logits float32[B, L, K]."""

    def initial(self, key: jax.Array) -> Any:
        """Random parameters, boxed with their logical axis names."""


@dataclasses.dataclass(frozen=True)
class TaggerDistillation:
    """A tagger of words from gold tags, a teacher's tags, and a teacher's posteriors.

    `inputs` are the features of the batch that the model takes, in its order; the others are
    `TagTargets`. Gold only is the case of no `kl_weights` above 0, pseudo-labels that of
    `distillation.kl_weight` 0.
    """

    model: TagModel
    distillation: TagLoss
    inputs: tuple[str, ...] = ("word_ids", "char_ids")

    def init(self, key: jax.Array) -> Any:
        """See `train.objective.Objective`."""
        return self.model.initial(key)

    def init_frozen(self, key: jax.Array) -> None:
        """There is no teacher within the step."""

    def loss(
        self, params: Any, frozen: Any, batch: Any, key: jax.Array | None
    ) -> dict[str, WeightedSum]:
        """See `train.objective.Objective`; `cross_entropy`, `tag_accuracy` and `kl` beside `loss`."""
        logits_BxLxK = self.model.apply(
            {"params": params}, *(batch[name] for name in self.inputs), **dropout(key)
        )
        return self.distillation.sums(logits_BxLxK, batch)


def distillation_loss(
    logits_BxLxK: Float[Array, "batch length tags"],
    targets: TagTargets,
    distillation: DistillationWeights,
) -> dict[str, WeightedSum]:
    """`CE(y*, q) + λ KL(p* ‖ q)`, summed over the words.

    Returns:
        `loss` (what to minimise, by the words' weight), `cross_entropy`, `tag_accuracy` and, where
        λ is not 0, `kl` (λ not applied).
    """
    weights_BxL = targets["tag_weights"]
    cross_entropy = tag_cross_entropy(logits_BxLxK, targets["tags"], weights_BxL)
    correct_BxL = (logits_BxLxK.argmax(-1) == targets["tags"]) * weights_BxL
    sums = {
        "loss": cross_entropy,
        "cross_entropy": cross_entropy,
        "tag_accuracy": WeightedSum(correct_BxL.sum(), weights_BxL.sum()),
    }
    if distillation.has_kl:
        kl = distillation.kl(logits_BxLxK, targets["teacher_scores"], targets["kl_weights"])
        total = cross_entropy.total + distillation.kl_weight * kl.total
        sums |= {"loss": WeightedSum(total, cross_entropy.weight), "kl": kl}
    return sums


def dropout(key: jax.Array | None) -> dict[str, Any]:
    """The arguments of a Flax module that switch dropout on, with this key, or off (None)."""
    if key is None:
        return {"deterministic": True}
    return {"deterministic": False, "rngs": {"dropout": key}}


def tag_cross_entropy(
    logits_BxLxK: Float[Array, "batch length tags"],
    tags_BxL: Int[Array, "batch length"],
    weights_BxL: Shaped[Array, "batch length"],
) -> WeightedSum:
    """CE(y, q) = -log q(y) for each word, in nats; q = softmax(logits), whose logits may hold -inf."""
    logits, real, weights = at_real_positions(logits_BxLxK, weights_BxL)
    log_q, _ = _log_softmax(logits)
    tags = jnp.where(real, tags_BxL, 0)
    nll = -jnp.take_along_axis(log_q, tags[..., None], axis=-1)[..., 0]
    return weighted_sum(nll, weights)


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
    student, real, weights = at_real_positions(student_logits_BxLxK, weights_BxL)
    teacher = fill(lax.stop_gradient(teacher_scores_BxLxK), real)
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
    return weighted_sum(kl, weights)


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
