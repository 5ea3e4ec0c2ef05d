"""Regression on log-odds, stage 2 of XtremeDistil (Mukherjee & Awadallah 2020, arXiv 2004.05686), per word i

    ½ ‖z_i − logit(p_i)‖²,   logit(p) = log(p / (1 − p)) for each tag by itself,

with z_i the student's logits and p_i the teacher's distribution. Chosen here, where the paper says nothing:

- p is clipped to [ε, 1 − ε] first (ε 1e-4, at most ±9.2 then): the log-odds of a sure teacher would have no
  bound, and those of an illegal tag (I after O, probability 0) are. So that tag is learnt as one of ε.
- Words without a teacher add nothing, and the mean is over the words that have one.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Shaped

from distill_jax.configuration import setting
from distill_jax.data.features import TagTargets
from distill_jax.distill.weighted import WeightedSum, at_real_positions, fill, weighted_sum
from distill_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class LogitRegression:
    """A `TagLoss`: see the head of this module. `clip` is ε; `UserError` unless it is within 0 and ½."""

    clip: float = setting(1e-4, macro="LOGIT_CLIP")
    has_kl: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.clip < 0.5:
            raise UserError(f"LOGIT_CLIP is {self.clip}; it must be above 0 and below 0.5")

    def sums(
        self, logits_BxLxK: Float[Array, "batch length tags"], targets: TagTargets
    ) -> dict[str, WeightedSum]:
        """`loss`, and how often the student's best tag is the gold one or the teacher's."""
        weights_BxL = targets["kl_weights"]
        loss = log_odds_loss(logits_BxLxK, targets["teacher_scores"], weights_BxL, self.clip)
        agree_BxL = (logits_BxLxK.argmax(-1) == targets["tags"]) * weights_BxL
        return {"loss": loss, "tag_accuracy": WeightedSum(agree_BxL.sum(), weights_BxL.sum())}


def log_odds_loss(
    logits_BxLxK: Float[Array, "batch length tags"],
    teacher_scores_BxLxK: Float[Array, "batch length tags"],
    weights_BxL: Shaped[Array, "batch length"],
    clip: float = 1e-4,
) -> WeightedSum:
    """½ ‖z − logit(p)‖² for each word, with p = softmax(scores), clipped.

    Args:
        logits_BxLxK: the student's, z.
        teacher_scores_BxLxK: log-likelihoods or log-posteriors, -inf for illegal tags.
        weights_BxL: 0 at padding and at words without a teacher.
    """
    student, real, weights = at_real_positions(logits_BxLxK, weights_BxL)
    scores = fill(lax.stop_gradient(teacher_scores_BxLxK), real)
    p = jnp.clip(jax.nn.softmax(scores, axis=-1), clip, 1 - clip)
    difference = student - (jnp.log(p) - jnp.log1p(-p))
    return weighted_sum(0.5 * jnp.square(difference).sum(-1), weights)
