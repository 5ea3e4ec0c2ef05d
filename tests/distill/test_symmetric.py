"""Symmetric cross-entropy against its definition in float64, its limits, its bound, and padding."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from distill_jax.data.features import TagTargets
from distill_jax.distill.symmetric import SymmetricCrossEntropy
from distill_jax.distill.tags import DistillationWeights
from distill_jax.errors import UserError

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 3, 4)).astype(np.float32) * 2
TAGS = RNG.integers(2, 4, (2, 3)).astype(np.int32)
WEIGHTS = np.array([[1, 0.5, 0], [1, 1, 2]], np.float32)
TARGETS: TagTargets = {
    "tags": jnp.asarray(TAGS),
    "tag_weights": jnp.asarray(WEIGHTS),
    "kl_weights": jnp.asarray(WEIGHTS),
    "teacher_scores": jnp.asarray(RNG.normal(size=(2, 3, 4)), jnp.float32),
}


def total(loss: Any, logits: Any = LOGITS) -> float:
    return float(loss.sums(jnp.asarray(logits), TARGETS)["loss"].total)


def test_it_is_what_it_is_defined_as() -> None:
    loss = SymmetricCrossEntropy(ce_weight=0.3, rce_weight=2.0, log_zero=-5.0, kl_weight=0.0)
    logits = LOGITS.astype(np.float64)
    one_hot = np.eye(4)[TAGS]
    forward = -(one_hot * log_softmax(logits, axis=-1)).sum(-1)
    log_y = np.where(one_hot == 1, 0.0, -5.0)  # log 0 = A
    reverse = -(softmax(logits, axis=-1) * log_y).sum(-1)
    expected = (WEIGHTS * (0.3 * forward + 2 * reverse)).sum()
    assert total(loss) == pytest.approx(expected, rel=1e-5)


def test_without_the_reverse_term_it_is_the_papers_loss() -> None:
    fields = {"kl_weight": 0.7, "temperature": 3.0, "both_sides": False, "square_scale": False}
    plain = DistillationWeights(**fields)
    symmetric = SymmetricCrossEntropy(1.0, 0.0, **fields)
    assert total(symmetric) == pytest.approx(total(plain), rel=1e-6)
    with_reverse = dataclasses.replace(symmetric, rce_weight=1.0)
    sums = with_reverse.sums(jnp.asarray(LOGITS), TARGETS)
    reverse = float(sums["reverse_cross_entropy"].total)
    assert reverse > 0.1
    assert total(with_reverse) == pytest.approx(total(plain) + reverse, rel=1e-6)
    assert with_reverse.has_kl and not SymmetricCrossEntropy(kl_weight=0.0).has_kl


def test_a_wrong_tag_pulls_less_the_surer_the_student_is_of_another() -> None:
    reverse_alone = SymmetricCrossEntropy(ce_weight=0.0, kl_weight=0.0)

    def pull(sureness: float) -> float:
        logits = np.zeros((2, 3, 4), np.float32)
        logits[..., 1] = sureness  # of a tag that is never the target
        gradient = jax.grad(lambda z: reverse_alone.sums(z, TARGETS)["loss"].total)(logits)
        assert np.isfinite(gradient).all() and not np.asarray(gradient)[0, 2].any()
        return float(np.abs(gradient).max())

    assert pull(2.0) > 5 * pull(6.0) > 25 * pull(10.0)
    assert total(reverse_alone, LOGITS * 50) <= 4.0 * WEIGHTS.sum() + 1e-4


def test_padding_and_illegal_tags() -> None:
    loss = SymmetricCrossEntropy(kl_weight=0.0)
    odd = LOGITS.copy()
    odd[0, 2] = np.nan
    assert total(loss, odd) == total(loss)
    odd[1, :, 1] = -np.inf
    gradient = jax.grad(lambda z: loss.sums(z, TARGETS)["loss"].total)(jnp.asarray(odd))
    assert np.isfinite(gradient).all() and not np.asarray(gradient)[1, :, 1].any()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ce_weight": -1.0}, "CE_WEIGHT and RCE_WEIGHT are -1.0 and 1.0"),
        ({"ce_weight": 0.0, "rce_weight": 0.0}, "one of them above"),
        ({"log_zero": 0.0}, "LOG_ZERO is 0.0"),
        ({"log_zero": -float("inf")}, "LOG_ZERO is -inf"),
    ],
)
def test_settings_that_make_no_sense(fields: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        SymmetricCrossEntropy(**fields)
