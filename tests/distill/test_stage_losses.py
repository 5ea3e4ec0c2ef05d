"""The losses of stages: against NumPy, padding without influence, gradients where they belong."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.distill.logits import LogitRegression, log_odds_loss
from distill_jax.distill.states import Projections, StateMatching, state_loss
from distill_jax.errors import UserError

BATCH, LENGTH, TAGS, WIDTH = 2, 3, 4, 5
WEIGHTS = np.array([[1.0, 2.0, 0.0], [0.5, 0.0, 0.0]], np.float32)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(BATCH, LENGTH, TAGS)).astype(np.float32)
SCORES = RNG.normal(size=(BATCH, LENGTH, TAGS)).astype(np.float32) * 3
SCORES[0, 1, 1] = -np.inf  # illegal
OWN = RNG.normal(size=(BATCH, LENGTH, WIDTH)).astype(np.float32)
THEIRS = RNG.normal(size=(BATCH, LENGTH, WIDTH)).astype(np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def spoilt(values: np.ndarray) -> np.ndarray:
    """With nonsense where the weight is zero."""
    return np.where(WEIGHTS[..., None] > 0, values, np.nan)


def test_log_odds_are_regressed_on() -> None:
    p = np.clip(softmax(SCORES.astype(np.float64)), 1e-3, 1 - 1e-3)
    expected = (0.5 * ((LOGITS - np.log(p / (1 - p))) ** 2).sum(-1) * WEIGHTS).sum()
    found = log_odds_loss(jnp.asarray(spoilt(LOGITS)), jnp.asarray(spoilt(SCORES)), WEIGHTS, 1e-3)
    np.testing.assert_allclose(found.total, expected, rtol=1e-5)
    assert found.weight == WEIGHTS.sum()
    # The minimum is where the student's log-odds are the teacher's, the illegal tag's those of the clip.
    best = log_odds_loss(jnp.asarray(np.log(p / (1 - p))), jnp.asarray(SCORES), WEIGHTS, 1e-3)
    np.testing.assert_allclose(best.total, 0, atol=1e-6)


def test_words_without_a_teacher_have_no_log_odds() -> None:
    targets: Any = {
        "tags": np.zeros((BATCH, LENGTH), np.int32),
        "tag_weights": np.ones((BATCH, LENGTH), np.float32),
        "kl_weights": WEIGHTS,
        "teacher_scores": SCORES,
    }
    loss = LogitRegression()
    assert loss.has_kl
    gradient = jax.grad(lambda z: loss.sums(z, targets)["loss"].total)(jnp.asarray(LOGITS))
    assert (np.abs(gradient).sum(-1) > 0).tolist() == (WEIGHTS > 0).tolist()
    with pytest.raises(UserError, match="LOGIT_CLIP is"):
        LogitRegression(0.5)


def distance(measure: str) -> np.ndarray:
    if measure == "mse":
        return np.asarray(((OWN - THEIRS) ** 2).mean(-1))
    if measure == "kl":
        p, q = softmax(THEIRS), softmax(OWN)
        return np.asarray((p * np.log(p / q)).sum(-1))
    norms = np.linalg.norm(OWN, axis=-1) * np.linalg.norm(THEIRS, axis=-1)
    return np.asarray(1 - (OWN * THEIRS).sum(-1) / norms)


@pytest.mark.parametrize("measure", ["mse", "kl", "cosine"])
def test_states_are_compared(measure: Any) -> None:
    found = state_loss(jnp.asarray(spoilt(OWN)), jnp.asarray(spoilt(THEIRS)), WEIGHTS, measure)
    np.testing.assert_allclose(found.total, (distance(measure) * WEIGHTS).sum(), rtol=1e-5)
    assert found.weight == WEIGHTS.sum()
    np.testing.assert_allclose(
        state_loss(jnp.asarray(THEIRS), jnp.asarray(THEIRS), WEIGHTS, measure).total, 0, atol=1e-6
    )

    def total(own: jax.Array, theirs: jax.Array) -> jax.Array:
        return state_loss(own, theirs, WEIGHTS, measure).total

    own, theirs = jax.grad(total, argnums=(0, 1))(jnp.asarray(spoilt(OWN)), jnp.asarray(THEIRS))
    assert (np.abs(own).sum(-1) > 0).tolist() == (WEIGHTS > 0).tolist()
    assert not np.any(theirs)
    zero = jax.grad(total)(jnp.zeros_like(OWN), jnp.asarray(THEIRS))
    assert np.isfinite(zero).all()


def test_each_pair_has_a_projection_of_its_own() -> None:
    states = [jnp.asarray(OWN), jnp.asarray(OWN[..., :2])]
    projections = Projections((3, 4))
    variables = projections.init(jax.random.key(0), states)
    params = nn.unbox(variables["params"])
    assert params["pair_0"]["kernel"].shape == (WIDTH, 3)
    assert params["pair_1"]["kernel"].shape == (2, 4)
    assert [each.shape for each in projections.apply(variables, states)] == [
        (BATCH, LENGTH, 3),
        (BATCH, LENGTH, 4),
    ]


def test_pairs_of_layers() -> None:
    # All of the student's with the teacher's last (2021).
    assert StateMatching().pairs(3, 7) == ((0, 4), (1, 5), (2, 6))
    assert StateMatching(((1, 6),)).pairs(2, 7) == ((1, 6),)
    for layers, line in (
        (((2, 6),), "layer 2 of the student, whose states are 0 .embeddings. to 1"),
        (((1, 7),), "layer 7 of the teacher, whose states are 0 .embeddings. to 6"),
    ):
        with pytest.raises(UserError, match=line):
            StateMatching(layers).pairs(2, 7)
    with pytest.raises(UserError, match="too few to match all"):
        StateMatching().pairs(8, 7)
    for layers in ((), ((1,),), ((1, -1),)):
        with pytest.raises(UserError, match="give pairs"):
            StateMatching(layers)
    with pytest.raises(UserError, match="one of mse, kl, cosine"):
        StateMatching(measure="l1")  # type: ignore[arg-type]
