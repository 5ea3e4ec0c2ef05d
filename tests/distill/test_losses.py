"""Losses against closed forms, float64 NumPy, and finite differences; padding and -inf."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from distill_jax.data.features import TagTargets
from distill_jax.distill.language_model import language_model_loss
from distill_jax.distill.tags import (
    DistillationWeights,
    distillation_loss,
    kd_loss,
    tag_cross_entropy,
)
from distill_jax.distill.weighted import WeightedSum

BATCH, LENGTH, TAGS = 2, 3, 4
INF = float("inf")


class Case:
    """Random inputs, the last word of the first sentence being padding, tag 1 illegal at some words."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        shape = (BATCH, LENGTH, TAGS)
        self.student = jnp.asarray(rng.normal(size=shape) * 2, jnp.float32)
        self.teacher = jnp.asarray(rng.normal(size=shape) * 3 - 5, jnp.float32)
        self.tags = jnp.asarray(rng.integers(2, TAGS, shape[:2]), jnp.int32)
        self.weights = jnp.ones(shape[:2]).at[0, -1].set(0)
        self.illegal = np.zeros(shape, bool)
        self.illegal[:, 0, 1] = True
        self.illegal[1, 2, 1] = True

    @property
    def teacher_with_inf(self) -> jax.Array:
        return jnp.where(self.illegal, -INF, self.teacher)

    @property
    def student_with_inf(self) -> jax.Array:
        return jnp.where(self.illegal, -INF, self.student)


CASE = Case()
WEIGHTS = DistillationWeights()


def targets(
    teacher: jax.Array, weights: jax.Array, kl_weights: jax.Array | None = None
) -> TagTargets:
    """The tags of the case, and a teacher's scores at the same words if no others are given."""
    return {
        "tags": CASE.tags,
        "tag_weights": weights,
        "kl_weights": weights if kl_weights is None else kl_weights,
        "teacher_scores": teacher,
    }


def losses() -> dict[str, Callable[[jax.Array, jax.Array, jax.Array], WeightedSum]]:
    """Every loss as a function of (student logits, teacher scores, weights)."""
    return {
        "language_model": lambda s, t, w: language_model_loss(s, CASE.tags, w, 0.1, 1e-3)["loss"],
        "tag_cross_entropy": lambda s, t, w: tag_cross_entropy(s, CASE.tags, w),
        "kd": kd_loss,
        "kd_one_side": functools.partial(kd_loss, both_sides=False, square_scale=False),
        "distillation": lambda s, t, w: distillation_loss(s, targets(t, w), WEIGHTS)["loss"],
    }


# Compiled as a whole: faster to test than one operation after the other, and what is used.
LOSSES = {name: jax.jit(loss) for name, loss in losses().items()}


@functools.cache
def value_and_grad(name: str) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """The sum of a loss and its gradient to (student logits), given teacher scores and weights."""
    return jax.jit(jax.value_and_grad(lambda s, t, w: losses()[name](s, t, w).total))


def kl_reference(
    student: Any, teacher: Any, temperature: float, both_sides: bool, square_scale: bool
) -> np.ndarray:
    """As torch.nn.functional.kl_div(log q, p, reduction="none").sum(-1) computes it, in float64."""
    student, teacher = np.asarray(student, np.float64), np.asarray(teacher, np.float64)
    log_q = log_softmax(student / temperature if both_sides else student, axis=-1)
    p = softmax(teacher / temperature, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * (np.log(p) - log_q), 0)
    return np.asarray(terms.sum(-1) * (temperature**2 if square_scale else 1))


# --- closed forms -----------------------------------------------------------------------------


def test_language_model_loss_without_options_is_cross_entropy() -> None:
    out = language_model_loss(CASE.student, CASE.tags, CASE.weights)
    log_q = log_softmax(np.asarray(CASE.student, np.float64), -1)
    nll = -np.take_along_axis(log_q, np.asarray(CASE.tags)[..., None], -1)[..., 0]
    want = (nll * np.asarray(CASE.weights)).sum()
    np.testing.assert_allclose(out["loss"].total, want, rtol=1e-6)
    np.testing.assert_allclose(out["nll"].total, want, rtol=1e-6)
    assert out["loss"].weight == 5
    assert out["z_loss"].total == 0
    hits = (log_q.argmax(-1) == np.asarray(CASE.tags)) * np.asarray(CASE.weights)
    assert out["correct"].total == hits.sum()


def test_uniform_logits_cost_log_of_the_vocabulary() -> None:
    out = language_model_loss(jnp.zeros((1, 2, 7)), jnp.array([[3, 6]]), jnp.ones((1, 2)))
    np.testing.assert_allclose(out["loss"].mean(), np.log(7), rtol=1e-6)


def test_label_smoothing_and_z_loss_equal_their_definition() -> None:
    epsilon, factor = 0.2, 0.01
    out = language_model_loss(CASE.student, CASE.tags, CASE.weights, epsilon, factor)
    logits = np.asarray(CASE.student, np.float64)
    target = np.full(logits.shape, epsilon / (TAGS - 1))
    np.put_along_axis(target, np.asarray(CASE.tags)[..., None], 1 - epsilon, -1)
    kl = (target * (np.log(target) - log_softmax(logits, -1))).sum(-1)
    log_z = np.log(np.exp(logits).sum(-1))
    weights = np.asarray(CASE.weights)
    np.testing.assert_allclose(
        out["loss"].total, ((kl + factor * log_z**2) * weights).sum(), rtol=1e-5
    )
    np.testing.assert_allclose(out["z_loss"].total, (factor * log_z**2 * weights).sum(), rtol=1e-5)
    assert abs(float(out["nll"].total) - float(out["loss"].total)) > 0.01


def test_a_perfect_smoothed_prediction_costs_nothing() -> None:
    smoothed = jnp.log(jnp.array([[[0.7, 0.1, 0.1, 0.1]]]))
    out = language_model_loss(smoothed, jnp.array([[0]]), jnp.ones((1, 1)), label_smoothing=0.3)
    np.testing.assert_allclose(out["loss"].total, 0, atol=1e-6)


def test_tag_cross_entropy_leaves_illegal_tags_out_of_the_softmax() -> None:
    logits = jnp.array([[[1.0, -INF, 2.0]]])
    out = tag_cross_entropy(logits, jnp.array([[2]]), jnp.ones((1, 1)))
    np.testing.assert_allclose(out.total, np.log1p(np.exp(-1.0)), rtol=1e-6)


def test_kd_of_two_tags_in_closed_form() -> None:
    # p = (3/4, 1/4), q = (1/2, 1/2), τ = 1: KL = 3/4 log 3/2 + 1/4 log 1/2.
    out = kd_loss(
        jnp.zeros((1, 1, 2)), jnp.log(jnp.array([[[3.0, 1.0]]])), jnp.ones((1, 1)), temperature=1.0
    )
    np.testing.assert_allclose(out.total, 0.75 * np.log(1.5) + 0.25 * np.log(0.5), rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 10.0])
@pytest.mark.parametrize("both_sides", [True, False])
@pytest.mark.parametrize("square_scale", [True, False])
def test_kd_equals_torch_kl_div(temperature: float, both_sides: bool, square_scale: bool) -> None:
    out = kd_loss(
        CASE.student,
        CASE.teacher_with_inf,
        CASE.weights,
        temperature=temperature,
        both_sides=both_sides,
        square_scale=square_scale,
    )
    want = kl_reference(CASE.student, CASE.teacher_with_inf, temperature, both_sides, square_scale)
    np.testing.assert_allclose(out.total, (want * np.asarray(CASE.weights)).sum(), rtol=1e-4)
    assert out.weight == 5


def test_kd_defaults_are_temperature_10_both_sides_scaled() -> None:
    want = kl_reference(CASE.student, CASE.teacher, 10.0, True, True)
    out = kd_loss(CASE.student, CASE.teacher, jnp.ones((BATCH, LENGTH)))
    np.testing.assert_allclose(out.total, want.sum(), rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 10.0])
def test_equal_distributions_have_zero_kl_and_gradient(temperature: float) -> None:
    shifted = CASE.teacher_with_inf + 4.0
    function = jax.jit(functools.partial(kd_loss, temperature=temperature))
    value, gradient = jax.jit(
        jax.value_and_grad(lambda s: function(s, CASE.teacher_with_inf, CASE.weights).total)
    )(shifted)
    np.testing.assert_allclose(value, 0, atol=1e-4)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    same = function(CASE.teacher_with_inf, CASE.teacher_with_inf, CASE.weights)
    assert same.total == 0


def test_gradient_of_the_scaled_kd_is_that_of_matching_logits_at_high_temperature() -> None:
    """Hinton et al. 2015, section 2.1: for τ → ∞ it tends to (z - v) / N for centred logits."""
    student = CASE.student - CASE.student.mean(-1, keepdims=True)
    teacher = CASE.teacher - CASE.teacher.mean(-1, keepdims=True)
    gradient = jax.jit(
        jax.grad(lambda s: kd_loss(s, teacher, jnp.ones((BATCH, LENGTH)), temperature=300.0).total)
    )(student)
    np.testing.assert_allclose(gradient, (student - teacher) / TAGS, atol=0.05)


def test_distillation_is_the_sum_of_its_terms() -> None:
    for kl_weight in (1.0, 0.3):
        out = distillation_loss(
            CASE.student,
            targets(CASE.teacher, CASE.weights),
            DistillationWeights(kl_weight=kl_weight),
        )
        cross_entropy = tag_cross_entropy(CASE.student, CASE.tags, CASE.weights).total
        kl = kd_loss(CASE.student, CASE.teacher, CASE.weights).total
        np.testing.assert_allclose(out["loss"].total, cross_entropy + kl_weight * kl, rtol=1e-6)
        assert out["kl"].total == kl and out["cross_entropy"].total == cross_entropy
        assert out["loss"].weight == 5
        right = (CASE.student.argmax(-1) == CASE.tags) * CASE.weights
        assert out["tag_accuracy"] == (right.sum(), 5)


def test_distillation_with_lambda_zero_ignores_the_teacher() -> None:
    out = distillation_loss(
        CASE.student,
        targets(CASE.teacher * jnp.nan, CASE.weights),
        DistillationWeights(kl_weight=0.0),
    )
    assert set(out) == {"loss", "cross_entropy", "tag_accuracy"}
    assert out["loss"] == tag_cross_entropy(CASE.student, CASE.tags, CASE.weights)


def test_words_without_teacher_add_cross_entropy_only() -> None:
    has_teacher = jnp.zeros((BATCH, LENGTH), bool).at[1, 0].set(True)
    teacher = jnp.where(has_teacher[..., None], CASE.teacher, jnp.nan)
    out = distillation_loss(CASE.student, targets(teacher, CASE.weights, has_teacher), WEIGHTS)
    kl = kl_reference(CASE.student, CASE.teacher, 10.0, True, True)[1, 0]
    np.testing.assert_allclose(out["kl"].total, kl, rtol=1e-4)
    assert out["kl"].weight == 1 and out["loss"].weight == 5
    np.testing.assert_allclose(out["loss"].total - out["cross_entropy"].total, kl, rtol=1e-4)


# --- gradients, padding, infinities ------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_finite_differences(name: str) -> None:
    loss = LOSSES[name]

    def total(student: jax.Array) -> jax.Array:
        return loss(student, CASE.teacher_with_inf, CASE.weights).total

    gradient = np.asarray(
        value_and_grad(name)(CASE.student, CASE.teacher_with_inf, CASE.weights)[1]
    )
    assert np.abs(gradient).max() > 1e-3
    rng = np.random.default_rng(1)
    step = 1e-2
    for _ in range(4):
        direction = jnp.asarray(rng.normal(size=CASE.student.shape), jnp.float32)
        slope = (
            float(total(CASE.student + step * direction))
            - float(total(CASE.student - step * direction))
        ) / (2 * step)
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("junk", [0.0, 1e4, INF, -INF, float("nan")])
def test_padding_changes_nothing_and_gets_exactly_no_gradient(name: str, junk: float) -> None:
    padding = (CASE.weights == 0)[..., None]
    clean = value_and_grad(name)(CASE.student, CASE.teacher, CASE.weights)
    dirty = value_and_grad(name)(
        jnp.where(padding, junk, CASE.student),
        jnp.where(padding, junk, CASE.teacher),
        CASE.weights,
    )
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)
    assert not np.asarray(clean[1])[0, -1].any()
    assert np.asarray(clean[1])[0, 0].any()


def test_tags_at_padding_may_be_out_of_range() -> None:
    tags = CASE.tags.at[0, -1].set(-100)
    for function in (
        lambda t: tag_cross_entropy(CASE.student, t, CASE.weights),
        lambda t: language_model_loss(CASE.student, t, CASE.weights)["loss"],
    ):
        assert function(tags) == function(CASE.tags)


@pytest.mark.parametrize("name", ["tag_cross_entropy", "kd", "kd_one_side", "distillation"])
@pytest.mark.parametrize("student_too", [False, True])
def test_values_and_gradients_are_finite_with_illegal_tags(name: str, student_too: bool) -> None:
    student = CASE.student_with_inf if student_too else CASE.student
    value, gradient = value_and_grad(name)(student, CASE.teacher_with_inf, CASE.weights)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    if student_too:
        assert not np.asarray(gradient)[CASE.illegal].any()


def test_illegal_on_both_sides_equals_a_smaller_tag_set() -> None:
    student, teacher = CASE.student.at[..., 1].set(-INF), CASE.teacher.at[..., 1].set(-INF)
    keep = np.array([0, 2, 3])

    def total(s: jax.Array, t: jax.Array) -> jax.Array:
        return kd_loss(s, t, CASE.weights).total

    both = jax.jit(jax.value_and_grad(total))
    value, gradient = both(student, teacher)
    small_value, small_gradient = both(student[..., keep], teacher[..., keep])
    np.testing.assert_allclose(value, small_value, rtol=1e-6)
    np.testing.assert_allclose(gradient[..., keep], small_gradient, rtol=1e-5, atol=1e-7)


def test_mass_where_the_student_has_none_is_infinitely_bad() -> None:
    student = CASE.student.at[1, 1, 2].set(-INF)
    assert kd_loss(student, CASE.teacher, CASE.weights).total == INF


def test_a_teacher_without_any_legal_tag_gives_nan() -> None:
    teacher = CASE.teacher.at[1, 1].set(-INF)
    assert np.isnan(kd_loss(CASE.student, teacher, CASE.weights).total)


@pytest.mark.parametrize("name", LOSSES)
def test_a_nan_at_a_real_word_shows(name: str) -> None:
    student = CASE.student.at[1, 1, 0].set(jnp.nan)
    assert np.isnan(LOSSES[name](student, CASE.teacher, CASE.weights).total)


@pytest.mark.parametrize("name", ["kd", "kd_one_side", "distillation"])
def test_extreme_scores_stay_finite(name: str) -> None:
    teacher = CASE.teacher * 1e4
    value, gradient = value_and_grad(name)(CASE.student * 100, teacher, CASE.weights)
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["kd", "distillation"])
def test_no_gradient_reaches_the_teacher(name: str) -> None:
    gradient = jax.grad(lambda t: LOSSES[name](CASE.student, t, CASE.weights).total)(CASE.teacher)
    assert not np.asarray(gradient).any()


# --- sums, types, transformations ---------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_sums_of_parts_equal_the_whole_under_vmap_and_jit(name: str) -> None:
    loss = LOSSES[name]
    weights = CASE.weights * jnp.array([[0.5], [2.0]])
    whole = losses()[name](CASE.student, CASE.teacher, weights)
    jitted = loss(CASE.student, CASE.teacher, weights)
    np.testing.assert_allclose(jitted.total, whole.total, rtol=1e-6)

    # A student per seed, against one teacher.
    stacked = jnp.stack([CASE.student, CASE.student + jnp.arange(TAGS)])
    many = jax.jit(jax.vmap(loss, in_axes=(0, None, None)))(stacked, CASE.teacher, weights)
    assert many.total.shape == many.weight.shape == (2,)
    np.testing.assert_allclose(many.total[0], whole.total, rtol=1e-6)
    np.testing.assert_allclose(
        many.total[1], loss(stacked[1], CASE.teacher, weights).total, rtol=1e-6
    )


def test_batches_merge() -> None:
    loss = LOSSES["kd"]
    whole = loss(CASE.student, CASE.teacher, CASE.weights)
    parts = [
        loss(CASE.student[i : i + 1], CASE.teacher[i : i + 1], CASE.weights[i : i + 1])
        for i in range(BATCH)
    ]
    merged = parts[0].merge(parts[1])
    np.testing.assert_allclose(merged.total, whole.total, rtol=1e-6)
    assert merged.weight == whole.weight == 5
    np.testing.assert_allclose(whole.mean(), whole.total / 5, rtol=1e-6)


def test_mean_of_nothing_is_zero_with_zero_gradient() -> None:
    def mean(student: jax.Array) -> jax.Array:
        return kd_loss(student, CASE.teacher, jnp.zeros((BATCH, LENGTH))).mean()

    value, gradient = jax.value_and_grad(mean)(CASE.student)
    assert value == 0 and not np.asarray(gradient).any()


@pytest.mark.parametrize("name", LOSSES)
def test_everything_is_float32(name: str) -> None:
    out = LOSSES[name](
        CASE.student.astype(jnp.bfloat16), CASE.teacher.astype(jnp.bfloat16), CASE.weights > 0
    )
    assert out.total.dtype == out.weight.dtype == jnp.float32
    same = LOSSES[name](
        CASE.student.astype(jnp.bfloat16).astype(jnp.float32),
        CASE.teacher.astype(jnp.bfloat16).astype(jnp.float32),
        CASE.weights,
    )
    np.testing.assert_array_equal(out.total, same.total)
