"""Accumulated gradients: the step of the whole batch, computed in parts."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn

from distill_jax.distill.language_model import LanguageModel, LanguageModelLoss
from distill_jax.errors import UserError
from distill_jax.models.t5 import T5
from distill_jax.parallel.mesh import make_mesh, place_on
from distill_jax.train.state import TrainState, abstract_state, create_state, shardings_of
from distill_jax.train.step import compile_step, make_step
from tests.tiny import T5_CONFIG
from tests.train.toy import BATCH, Regression, assert_same, make_batch, run, training

LEARNING_RATE = 0.1


def sgd_step(objective: Any, params: Any, batch: Any, accumulate: int = 1) -> Any:
    """The parameters after a step whose update is the gradient itself, and the metrics."""
    optimizer = optax.sgd(LEARNING_RATE)
    state = TrainState(jax.numpy.int32(0), params, optimizer.init(params))
    step = jax.jit(make_step(objective, optimizer, accumulate=accumulate))
    state, metrics = step(state, batch, jax.random.key(1))
    return jax.device_get((state.params, metrics))


def assert_close(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@functools.cache
def toy_params() -> Any:
    return nn.unbox(Regression().init(jax.random.key(0)))


@pytest.mark.parametrize("accumulate", [2, 4, 8])
def test_accumulated_gradients_are_those_of_the_whole_batch(accumulate: int) -> None:
    """Weights vary from row to row, some micro-batches have none: a mean of means would differ."""
    objective, batch = Regression(noise=0.0), make_batch(1)
    batch["weights"] = np.array([0, 6, 1, 0, 0, 3, 0, 1], np.float32)
    # `size` has a weight that is the same for whatever batch: its sums add up all the same.
    expected, metrics = sgd_step(objective, toy_params(), batch)
    found, found_metrics = sgd_step(objective, toy_params(), batch, accumulate)
    assert_close(found, expected)
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose(found_metrics[name], metrics[name], rtol=1e-5)
    np.testing.assert_allclose(found_metrics["size"][0], metrics["size"][0], rtol=1e-5)


def test_accumulated_gradients_of_a_t5() -> None:
    config = T5_CONFIG.replace(dropout_rate=0.0, scan_layers=True, remat="full")
    objective = LanguageModel(T5(config), LanguageModelLoss(0.1, z_loss=1e-3, logit_chunks=2))
    params = nn.unbox(jax.jit(objective.init)(jax.random.key(0)))
    rng = np.random.default_rng(0)
    real = np.arange(6)[None] < np.array([6, 1, 3, 2])[:, None]
    tokens = rng.integers(3, 384, (3, 4, 6)).astype(np.int32) * real
    batch = {
        "encoder_input_tokens": tokens[0],
        "encoder_segment_ids": real.astype(np.int32),
        "decoder_input_tokens": tokens[1],
        "decoder_segment_ids": real.astype(np.int32),
        "decoder_target_tokens": tokens[2],
    }
    expected = sgd_step(objective, params, batch)
    assert_close(sgd_step(objective, params, batch, accumulate=2), expected)


def test_a_batch_without_weight_has_no_gradient() -> None:
    batch = make_batch(1) | {"weights": np.zeros(BATCH, np.float32)}
    found, metrics = sgd_step(Regression(), toy_params(), batch, accumulate=2)
    assert_same(found, jax.device_get(toy_params()))
    assert metrics["loss"] == (0, 0)


class Draw:
    """A loss that is a random number times a parameter."""

    def init(self, key: jax.Array) -> Any:
        return {"factor": jax.numpy.float32(1)}

    def init_frozen(self, key: jax.Array) -> None:
        """There is no teacher."""

    def loss(self, params: Any, frozen: Any, batch: Any, key: jax.Array | None) -> Any:
        assert key is not None
        return {"loss": (params["factor"] * jax.random.uniform(key), jax.numpy.float32(1))}


def test_micro_batches_draw_numbers_of_their_own() -> None:
    objective = Draw()
    found = sgd_step(objective, objective.init(jax.random.key(0)), make_batch(1), 4)
    own = jax.random.fold_in(jax.random.key(1), 0)  # the key of step 0
    expected = [float(jax.random.uniform(jax.random.fold_in(own, i))) for i in range(4)]
    assert len(set(expected)) == 4
    np.testing.assert_allclose(found[1]["loss"], (sum(expected), 4), rtol=1e-6)


def test_accumulation_over_a_mesh_moves_no_examples() -> None:
    """Micro-batches are made of every device's own rows."""
    objective, optimizer = Regression(noise=0.0), optax.sgd(LEARNING_RATE)
    batch = {name: np.concatenate([a, a[::-1]]) for name, a in make_batch(1).items()}
    mesh = make_mesh(data=4, fsdp=2)
    shardings = shardings_of(abstract_state(objective, optimizer, mesh))
    state = create_state(objective, optimizer, mesh, 0, toy_params())
    step = compile_step(objective, optimizer, place_on(mesh), shardings, accumulate=2)
    program = step.lower(state, batch, jax.random.key(1)).compile().as_text()  # type: ignore[attr-defined]
    assert "all-to-all" not in program
    assert "collective-permute" not in program
    found, metrics = step(state, batch, jax.random.key(1))
    expected, expected_metrics = sgd_step(objective, toy_params(), batch)
    assert_close(jax.device_get(found.params), expected)
    np.testing.assert_allclose(metrics["loss"], expected_metrics["loss"], rtol=1e-5)


def test_a_number_of_micro_batches_that_does_not_divide_the_batch_is_refused() -> None:
    with pytest.raises(UserError, match=r"ACCUMULATE is 3.*8 rows.*choose a divisor"):
        sgd_step(Regression(), toy_params(), make_batch(1), accumulate=3)


def test_a_number_of_micro_batches_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ACCUMULATE is 0; it must be at least 1"):
        training(tmp_path, accumulate=0)


def test_a_run_is_computed_in_as_many_micro_batches_as_its_training_says(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"BATCH_SIZE 8 .* in 3 micro-batches"):
        run(tmp_path, accumulate=3)
    whole, parts = (
        run(tmp_path / str(number), objective=Regression(noise=0.0), accumulate=number)
        for number in (1, 4)
    )
    pairs = list(zip(jax.tree.leaves(whole.params), jax.tree.leaves(parts.params), strict=True))
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert not all(np.array_equal(a, b) for a, b in pairs)  # sums in another order
