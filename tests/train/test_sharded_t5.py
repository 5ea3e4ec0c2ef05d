"""A T5's loss and gradients on every shape of mesh, however they are computed, are one device's."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from distill_jax.distill.language_model import LanguageModel, LanguageModelLoss
from distill_jax.models.stacking import stack_layers, unstack_layers
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.parallel.mesh import (
    LOGICAL_AXIS_RULES,
    logical_axis_rules,
    make_mesh,
    place_on,
)
from distill_jax.train.state import abstract_state, create_state, shardings_of
from distill_jax.train.step import compile_step

BATCH = 16
# Heads and a vocabulary that some axes divide and others do not.
CONFIG = T5Config(
    vocab_size=36,
    d_model=16,
    d_kv=4,
    d_ff=24,
    num_heads=4,
    num_encoder_layers=1,
    num_decoder_layers=1,
    dropout_rate=0.0,
)
SHAPES = [
    (slices, data, fsdp, 8 // slices // data // fsdp)
    for slices in (1, 2, 4, 8)
    for data in (1, 2, 4, 8)
    for fsdp in (1, 2, 4, 8)
    if 8 % (slices * data * fsdp) == 0
]


def batch_of_rows() -> dict[str, np.ndarray]:
    """Every row has another number of words."""
    rng = np.random.default_rng(0)
    real = np.arange(8)[None] < (1 + np.arange(BATCH) % 8)[:, None]
    tokens = rng.integers(3, 36, (3, BATCH, 8)).astype(np.int32) * real
    return {
        "encoder_input_tokens": tokens[0],
        "encoder_segment_ids": real.astype(np.int32),
        "decoder_input_tokens": tokens[1],
        "decoder_segment_ids": real.astype(np.int32),
        "decoder_target_tokens": tokens[2],
    }


def keep_gradients() -> optax.GradientTransformation:
    """Changes nothing; its state is the last gradient."""

    def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(jnp.zeros_like, gradients), gradients

    return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)


@functools.cache
def host_params(config: T5Config) -> Any:
    shapes = nn.unbox(jax.eval_shape(LanguageModel(T5(config)).init, jax.random.key(0)))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: rng.normal(scale=0.3, size=x.shape).astype(np.float32), shapes)


def loss_and_gradients(
    shape: tuple[int, int, int, int],
    config: T5Config = CONFIG,
    *,
    logit_chunks: int = 1,
    accumulate: int = 1,
    rules: Any = LOGICAL_AXIS_RULES,
) -> tuple[Any, Any]:
    """Loss sums and unstacked gradients of a step on a mesh; the state must lie where it did."""
    params = host_params(config.replace(scan_layers=False))
    objective = LanguageModel(T5(config), LanguageModelLoss(logit_chunks=logit_chunks))
    slices, *inner = shape
    mesh = make_mesh(*inner, devices=jax.devices()[: math.prod(shape)], num_slices=slices)
    optimizer = keep_gradients()
    shardings = shardings_of(abstract_state(objective, optimizer, mesh, rules))
    given = stack_layers(params) if config.scan_layers else params
    state = create_state(objective, optimizer, mesh, 0, given, rules)
    place = place_on(mesh, rules)
    step = compile_step(objective, optimizer, place, shardings, accumulate=accumulate)
    state, metrics = step(state, batch_of_rows(), jax.random.key(0))
    assert shardings_of(state) == shardings
    return jax.device_get((metrics["loss"], unstack_layers(state.opt_state)))


unsharded = functools.cache(functools.partial(loss_and_gradients, (1, 1, 1, 1)))


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found[0], expected[0], rtol=3e-6)
    assert jax.tree.structure(found[1]) == jax.tree.structure(expected[1])
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(found[1]), jax.tree.leaves(expected[1]), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_mesh_gives_the_unsharded_loss_and_gradients(
    shape: tuple[int, int, int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert_close(loss_and_gradients(shape), unsharded())
    # What XLA says where it has to copy an array to every device to place it anew.
    assert "rematerialization" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 2, 2, 2), (2, 1, 2, 2)])
def test_all_options_together_give_the_unsharded_loss_and_gradients(
    shape: tuple[int, int, int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    config = CONFIG.replace(tied_embedding=True, num_encoder_layers=2, num_decoder_layers=2)
    found = loss_and_gradients(
        shape,
        config.replace(scan_layers=True, remat="full", attention_implementation="xla"),
        logit_chunks=2,
        accumulate=2,
    )
    assert_close(found, unsharded(config))
    assert "rematerialization" not in capfd.readouterr().err


def test_other_rules_give_the_same_loss_and_gradients() -> None:
    """Parameters in one piece for each row of `model`, and examples split over `data` alone."""
    rules = logical_axis_rules({"embed": None, "batch": ("data",), "mlp": ("model", "fsdp")})
    assert_close(loss_and_gradients((1, 2, 2, 2), rules=rules), unsharded())
    mesh = make_mesh(data=2, fsdp=2, model=2)
    places = abstract_state(LanguageModel(T5(CONFIG)), keep_gradients(), mesh, rules).params
    assert places["decoder"]["layers_0"]["mlp"]["wi_0"]["kernel"].sharding.spec == P(
        None, ("model", "fsdp")
    )
