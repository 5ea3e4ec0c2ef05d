"""Every shape of mesh computes the step that one device computes, dropout included."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from distill_jax.distill.language_model import LanguageModel
from distill_jax.distill.tags import DistillationWeights, TaggerDistillation
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.parallel.mesh import make_mesh, place_on
from distill_jax.train.objective import Batch, Objective
from distill_jax.train.optimizers import adafactor, adamw
from distill_jax.train.state import TrainState, abstract_state, create_state, shardings_of
from distill_jax.train.step import compile_step
from tests.train.toy import BATCH, Regression, make_batch

STEPS = 2
Shape = tuple[int, int, int, int]
"""Of a mesh: slice, data, fsdp, model."""
MESHES: list[Shape] = [
    (slices, data, fsdp, 8 // slices // data // fsdp)
    for slices in (1, 2, 4, 8)
    for data in (1, 2, 4, 8)
    for fsdp in (1, 2, 4, 8)
    if 8 % (slices * data * fsdp) == 0
]
# Vocabulary and heads that some axes do not divide, so that what stays whole is tested too.
T5_CONFIG = T5Config(
    vocab_size=36,
    d_model=16,
    d_kv=4,
    d_ff=24,
    num_heads=4,
    num_encoder_layers=1,
    num_decoder_layers=1,
)
BILSTM_CONFIG = BiLSTMConfig(
    num_words=20,
    num_chars=12,
    num_tags=5,
    word_dim=8,
    char_dim=4,
    char_hidden=4,
    hidden=8,
)
LEARNING_RATE = 1e-3


class Seen(NamedTuple):
    """What a step computed, kept where the test can compare it: in the optimizer's state."""

    gradients: Any
    adamw: Any
    adafactor: Any
    adafactor_updates: Any


def both_optimizers() -> optax.GradientTransformation:
    """Takes AdamW's steps, and notes the gradients and the steps Adafactor would have taken."""
    first = adamw(LEARNING_RATE, weight_decay=0.01)
    second = adafactor(LEARNING_RATE, min_dim_size_to_factor=8)

    def init(params: Any) -> Seen:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return Seen(zeros, first.init(params), second.init(params), zeros)

    def update(gradients: Any, seen: Seen, params: Any = None) -> tuple[Any, Seen]:
        updates, adamw_state = first.update(gradients, seen.adamw, params)
        others, adafactor_state = second.update(gradients, seen.adafactor, params)
        return updates, Seen(gradients, adamw_state, adafactor_state, others)

    return optax.GradientTransformation(init, update)


def make_case(name: str) -> tuple[Objective, Batch]:
    """An objective and a batch in which every row has another number of words."""
    if name == "toy":
        return Regression(), make_batch(1)
    rng = np.random.default_rng(0)
    lengths = np.arange(1, BATCH + 1)
    real = np.arange(BATCH)[None] < lengths[:, None]
    if name == "t5":
        tokens = rng.integers(3, 36, (3, BATCH, BATCH)).astype(np.int32) * real
        segments = real.astype(np.int32)
        return LanguageModel(T5(T5_CONFIG)), {
            "encoder_input_tokens": tokens[0],
            "encoder_segment_ids": segments,
            "decoder_input_tokens": tokens[1],
            "decoder_segment_ids": segments,
            "decoder_target_tokens": tokens[2],
        }
    weights = real.astype(np.float32)
    return TaggerDistillation(BiLSTMTagger(BILSTM_CONFIG), DistillationWeights()), {
        "word_ids": rng.integers(1, 20, (BATCH, BATCH)).astype(np.int32) * real,
        "char_ids": rng.integers(1, 12, (BATCH, BATCH, 3)).astype(np.int32) * real[..., None],
        "tags": rng.integers(0, 5, (BATCH, BATCH)).astype(np.int32),
        "tag_weights": weights,
        "kl_weights": weights * (lengths % 2)[:, None],
        "teacher_scores": rng.normal(size=(BATCH, BATCH, 5)).astype(np.float32),
    }


@functools.cache
def host_params(name: str) -> Any:
    objective, _ = make_case(name)
    return jax.tree.map(np.asarray, nn.unbox(jax.jit(objective.init)(jax.random.key(3))))


def run_steps(name: str, shape: Shape) -> tuple[TrainState, list[dict[str, Any]]]:
    """The state after a few steps on a mesh, and the metrics of each."""
    objective, batch = make_case(name)
    slices, *inner = shape
    mesh = make_mesh(*inner, devices=jax.devices()[: math.prod(shape)], num_slices=slices)
    optimizer = both_optimizers()
    state = create_state(objective, optimizer, mesh, 0, host_params(name))
    shardings = shardings_of(abstract_state(objective, optimizer, mesh))
    step = compile_step(objective, optimizer, place_on(mesh), shardings)
    history = []
    for _ in range(STEPS):
        state, metrics = step(state, batch, jax.random.key(7))
        history.append(jax.device_get(metrics))
    assert shardings_of(state) == shardings
    return state, history


unsharded = functools.cache(functools.partial(run_steps, shape=(1, 1, 1, 1)))


def assert_close(found: Any, expected: Any, *, rtol: float, atol: float) -> None:
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(
            np.asarray(a), np.asarray(b), rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path)
        )


# The toy on every shape. The real models, whose steps take seconds to compile, on one that splits all
# axes; `test_sharded_t5.py` has T5's gradients on every shape.
CASES = [*(("toy", shape) for shape in MESHES), ("t5", (1, 2, 2, 2)), ("bilstm", (1, 2, 2, 2))]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_mesh_computes_the_unsharded_step(name: str, shape: Shape) -> None:
    state, history = run_steps(name, shape)
    expected, expected_history = unsharded(name)
    assert int(state.step) == STEPS
    assert_close(history, expected_history, rtol=3e-6, atol=0)
    found, wanted = state.opt_state, expected.opt_state
    assert_close(found.gradients, wanted.gradients, rtol=1e-5, atol=1e-6)
    # Both optimizers divide by the gradient's own size: where it is all rounding, so is the step.
    hundredth = LEARNING_RATE / 100
    assert_close(found.adafactor_updates, wanted.adafactor_updates, rtol=1e-4, atol=hundredth)
    assert_close(state.params, expected.params, rtol=1e-6, atol=hundredth)
