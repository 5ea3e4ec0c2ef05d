"""Learning rates in closed form, and what the optimizers do to one parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from distill_jax.errors import UserError
from distill_jax.train.optimizers import adafactor, adamw, constant, warmup_cosine


def test_warmup_cosine_in_closed_form() -> None:
    schedule = warmup_cosine(2.0, 100, warmup_steps=10, final_fraction=0.1)
    for step in (0, 1, 5, 10):
        assert float(schedule(step)) == pytest.approx(2.0 * step / 10)
    for step in (10, 40, 55, 99, 100):
        share = (1 + np.cos(np.pi * (step - 10) / 90)) / 2
        assert float(schedule(step)) == pytest.approx(0.2 + 1.8 * share, rel=1e-5)
    assert float(schedule(1000)) == pytest.approx(0.2)


def test_a_warm_up_takes_at_most_half_of_a_short_run() -> None:
    schedule = warmup_cosine(1.0, 10, warmup_steps=200)
    assert max(range(11), key=lambda step: float(schedule(step))) == 5
    assert float(warmup_cosine(1.0, 1)(0)) == 1.0


@pytest.mark.parametrize(("steps", "warmup_steps"), [(0, 0), (-1, 0), (10, -1)])
def test_a_schedule_without_steps_is_refused(steps: int, warmup_steps: int) -> None:
    with pytest.raises(UserError, match=r"^warmup_cosine: "):
        warmup_cosine(1.0, steps, warmup_steps=warmup_steps)


def test_constant_in_closed_form() -> None:
    assert [float(constant(0.5)(step)) for step in (0, 1, 100)] == [0.5, 0.5, 0.5]
    warm = constant(0.5, warmup_steps=4)
    assert [float(warm(step)) for step in (0, 1, 2, 4, 9)] == [0.0, 0.125, 0.25, 0.5, 0.5]


def updates_of(
    optimizer: optax.GradientTransformation, gradients: list[float], start: float = 1.0
) -> list[float]:
    """The updates of one parameter by a sequence of its gradients."""
    params = {"w": jnp.full((1,), start)}
    state, found = optimizer.init(params), []
    for gradient in gradients:
        updates, state = optimizer.update({"w": jnp.full((1,), gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        found.append(float(updates["w"][0]))
    return found


def test_adamw_follows_its_equations() -> None:
    gradients = [0.3, -0.2, 0.9]
    found = updates_of(adamw(0.1, weight_decay=0.5, b1=0.8, b2=0.9), gradients)
    weight, mean, square = 1.0, 0.0, 0.0
    for step, gradient in enumerate(gradients, 1):
        mean = 0.8 * mean + 0.2 * gradient
        square = 0.9 * square + 0.1 * gradient**2
        direction = mean / (1 - 0.8**step) / (np.sqrt(square / (1 - 0.9**step)) + 1e-8)
        update = -0.1 * (direction + 0.5 * weight)
        weight += update
        assert found[step - 1] == pytest.approx(update, rel=1e-5)


def test_gradients_are_clipped_by_their_global_norm() -> None:
    # With b1 = 0 the second update depends on the sizes of both gradients: 10 counts as 1.
    clipped = updates_of(adamw(0.1, b1=0.0), [10.0, 1.0])
    assert clipped == pytest.approx(updates_of(adamw(0.1, b1=0.0, clip_norm=None), [1.0, 1.0]))
    free = updates_of(adamw(0.1, b1=0.0, clip_norm=None), [10.0, 1.0])
    assert abs(free[1]) < 0.2 * abs(clipped[1])


def test_adafactor_steps_relative_to_the_parameter() -> None:
    small, large = (updates_of(adafactor(0.1), [1.0], start)[0] for start in (1.0, 10.0))
    assert large == pytest.approx(10 * small)
    assert updates_of(adafactor(0.1, multiply_by_parameter_scale=False), [1.0], 10.0) == [
        pytest.approx(-0.1)
    ]


def test_adafactor_keeps_rows_and_columns_instead_of_a_matrix() -> None:
    params = {"w": jnp.ones((8, 16))}
    sizes = [
        sum(leaf.size for leaf in jax.tree.leaves(adafactor(0.1, **options).init(params)))
        for options in ({}, {"min_dim_size_to_factor": 8})
    ]
    assert sizes[0] > 8 * 16 > sizes[1] > 8 + 16
