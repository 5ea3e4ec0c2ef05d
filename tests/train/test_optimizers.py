"""Learning rates in closed form, and what the optimizers do to one parameter."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from distill_jax.distill.language_model import LanguageModel
from distill_jax.errors import UserError
from distill_jax.models.stacking import stack_layers, unstack_layers
from distill_jax.models.t5 import T5
from distill_jax.parallel.mesh import make_mesh
from distill_jax.train.optimizers import (
    Adafactor,
    AdamW,
    Constant,
    Optimizer,
    WarmupCosine,
    adafactor,
    adamw,
    constant,
    warmup_cosine,
)
from distill_jax.train.state import abstract_state, create_state, shardings_of
from tests.tiny import T5_CONFIG


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


@pytest.mark.parametrize("make", [AdamW, Adafactor])
def test_a_configured_optimizer_knows_its_learning_rate_at_any_step(make: Any) -> None:
    """Step 1 is taken at the rate of a schedule that has counted no update yet."""
    assert make(0.5).learning_rate_at(1) == make(0.5).learning_rate_at(7) == 0.5
    warm = make(Constant(0.5, warmup_steps=4))
    assert [warm.learning_rate_at(step) for step in (1, 2, 5, 9)] == [0.0, 0.125, 0.5, 0.5]
    cosine, schedule = make(WarmupCosine(2.0, 100, 10, 0.1)), warmup_cosine(2.0, 100, 10, 0.1)
    for step in (1, 11, 60, 101):
        assert cosine.learning_rate_at(step) == pytest.approx(float(schedule(step - 1)))


@pytest.mark.parametrize(
    ("configured", "made"),
    [
        (
            AdamW(Constant(0.1, 2), weight_decay=0.5, b1=0.8, b2=0.9, clip_norm=0.5),
            adamw(constant(0.1, 2), 0.5, 0.8, 0.9, 0.5),
        ),
        (AdamW(WarmupCosine(0.1, 8, 2, 0.5)), adamw(warmup_cosine(0.1, 8, 2, 0.5))),
        (AdamW(0.1), adamw(0.1)),
        (
            Adafactor(0.1, 0.5, 0.5, False, 8),
            adafactor(0.1, 0.5, 0.5, False, 8),
        ),
        (Adafactor(Constant(0.1)), adafactor(constant(0.1))),
    ],
)
def test_a_configured_optimizer_makes_the_one_it_describes(
    configured: Optimizer, made: optax.GradientTransformation
) -> None:
    gradients = [0.3, -2.0, 0.9]
    assert updates_of(configured.make(), gradients) == updates_of(made, gradients)
    matrix = {"w": jnp.ones((8, 16))}
    assert jax.tree.map(jnp.shape, configured.make().init(matrix)) == jax.tree.map(
        jnp.shape, made.init(matrix)
    )


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


@pytest.mark.parametrize("make", [adafactor, adamw])
def test_stacked_layers_are_updated_as_layers_of_their_own(make: Any) -> None:
    """Adafactor looks at whole arrays: root mean squares, rows and columns."""
    rng = np.random.default_rng(0)

    def tree(scale: float) -> dict[str, Any]:
        def draw(*shape: int) -> np.ndarray:
            return (scale * rng.normal(size=shape)).astype(np.float32)

        layers = {
            f"layers_{i}": {"kernel": 10.0**i * draw(6, 4), "scale": draw(4)} for i in range(3)
        }
        return {
            "encoder": {**layers, "norm": draw(4)},
            "decoder": {"layers_0": {"kernel": draw(6, 4)}},
            "embedding": draw(9, 4),
        }

    options = {"min_dim_size_to_factor": 4} if make is adafactor else {}
    optimizer = make(optax.constant_schedule(0.1), **options)
    params, gradients = tree(1.0), [tree(0.1), tree(3.0)]
    results = []
    for convert in (dict, stack_layers):
        current = convert(params)
        state, update = optimizer.init(current), jax.jit(optimizer.update)
        for gradient in gradients:
            updates, state = update(convert(gradient), state, current)
            current = optax.apply_updates(current, updates)
        results.append(unstack_layers(current))
    assert jax.tree.structure(results[0]) == jax.tree.structure(results[1])
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_state_of_stacked_layers_lies_where_they_do() -> None:
    config = T5_CONFIG.replace(d_model=16, d_ff=24, scan_layers=True, num_decoder_layers=2)
    optimizer = adafactor(1e-3, min_dim_size_to_factor=8)
    mesh = make_mesh(data=2, fsdp=2, model=2)
    objective = LanguageModel(T5(config))
    places = abstract_state(objective, optimizer, mesh)
    found = {
        jax.tree_util.keystr(path, simple=True, separator="/"): (leaf.shape, leaf.sharding.spec)
        for path, leaf in jax.tree_util.tree_leaves_with_path(places)
    }
    name = "decoder/layers/mlp/wi_0/kernel"
    assert found[f"params/{name}"] == ((2, 16, 24), P(None, "fsdp", "model"))
    statistics = {path: place for path, place in found.items() if path.endswith(name)}
    assert ((2, 16), P()) in statistics.values()  # of rows, each layer its own
    assert ((2, 24), P()) in statistics.values()
    state = create_state(objective, optimizer, mesh, 0)
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == shardings_of(places)
    given = jax.tree.map(np.asarray, state.params)
    again = create_state(objective, optimizer, mesh, 0, given)
    assert jax.tree.structure(again) == jax.tree.structure(state)
