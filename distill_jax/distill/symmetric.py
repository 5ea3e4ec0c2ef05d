"""Symmetric cross-entropy, for tags of which some are wrong: Wang et al. 2019 (arXiv 1908.06112), per word i

    α CE(y*_i, q_i) + β RCE(y*_i, q_i) + λ_KL KL(p*_i ‖ q_i),    RCE(y, q) = −Σ_k q(k) log y(k),

where y is one tag, and log 0 is taken as A < 0: RCE = −A (1 − q(y*)). The reverse term is bounded, so a wrong
tag pulls no harder the surer the student is of another one, and the mean absolute error that it is
proportional to tolerates symmetric noise; plain cross-entropy beside it keeps training from stalling. α 0 is
reverse cross-entropy alone. The KL term is that of `tags`. The paper takes α 0.1 and β 1, or α 6 and β 0.1,
as data sets have few classes or many; the default of both is 1 here, where gold tags are among the targets.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from distill_jax.configuration import setting
from distill_jax.data.features import TagTargets
from distill_jax.distill.tags import DistillationWeights, distillation_loss
from distill_jax.distill.weighted import WeightedSum, at_real_positions, weighted_sum
from distill_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class SymmetricCrossEntropy:
    """A `TagLoss`: see the head of this module.

    Attributes:
        ce_weight, rce_weight: α and β.
        log_zero: A.
        kl_weight, temperature, both_sides, square_scale: those of `DistillationWeights`.

    Raises:
        UserError: α or β is negative or both are 0, or A is not below 0.
    """

    ce_weight: float = setting(1.0, macro="CE_WEIGHT")
    rce_weight: float = setting(1.0, macro="RCE_WEIGHT")
    log_zero: float = setting(-4.0, macro="LOG_ZERO")
    kl_weight: float | jax.Array = setting(1.0, macro="KL_WEIGHT")
    temperature: float | jax.Array = setting(10.0, macro="TEMPERATURE")
    both_sides: bool = setting(True, macro="BOTH_SIDES")
    square_scale: bool = setting(True, macro="SQUARE_SCALE")

    def __post_init__(self) -> None:
        weights = (self.ce_weight, self.rce_weight)
        if not (all(0 <= each < math.inf for each in weights) and any(weights)):
            raise UserError(
                f"CE_WEIGHT and RCE_WEIGHT are {weights[0]} and {weights[1]}; use numbers from 0, one of "
                "them above"
            )
        if not -math.inf < self.log_zero < 0:
            raise UserError(f"LOG_ZERO is {self.log_zero}; it stands for log 0 and must be below 0")

    @property
    def has_kl(self) -> bool:
        """See `TagLoss.has_kl`."""
        return self._distillation.has_kl

    def sums(
        self, logits_BxLxK: Float[Array, "batch length tags"], targets: TagTargets
    ) -> dict[str, WeightedSum]:
        """See `TagLoss.sums`; `reverse_cross_entropy` beside the figures of `distillation_loss`."""
        sums = distillation_loss(logits_BxLxK, targets, self._distillation)
        forward = sums["cross_entropy"]
        reverse = reverse_cross_entropy(
            logits_BxLxK, targets["tags"], targets["tag_weights"], self.log_zero
        )
        total = (
            sums["loss"].total
            + (self.ce_weight - 1) * forward.total
            + self.rce_weight * reverse.total
        )
        return sums | {
            "loss": WeightedSum(total, forward.weight),
            "reverse_cross_entropy": reverse,
        }

    @property
    def _distillation(self) -> DistillationWeights:
        return DistillationWeights(
            self.kl_weight, self.temperature, self.both_sides, self.square_scale
        )


def reverse_cross_entropy(
    logits_BxLxK: Float[Array, "batch length tags"],
    tags_BxL: Int[Array, "batch length"],
    weights_BxL: Shaped[Array, "batch length"],
    log_zero: float,
) -> WeightedSum:
    """RCE(y, q) = −A (1 − q(y)) for each word; q = softmax(logits), whose logits may hold -inf."""
    logits, real, weights = at_real_positions(logits_BxLxK, weights_BxL)
    tags = jnp.where(real, tags_BxL, 0)
    q = jax.nn.softmax(logits, axis=-1)
    of_tag = jnp.take_along_axis(q, tags[..., None], axis=-1)[..., 0]
    return weighted_sum(-log_zero * (1 - of_tag), weights)
