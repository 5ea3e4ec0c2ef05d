"""Every shape of mesh computes the step that one device computes, dropout included."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from distill_jax.distill.objectives import (
    Batch,
    DistillationWeights,
    LanguageModel,
    Objective,
    TaggerDistillation,
)
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.train.loop import compile_step
from distill_jax.train.mesh import make_mesh
from distill_jax.train.optimizers import adafactor, adamw
from distill_jax.train.state import TrainState, abstract_state, create_state, shardings_of

BATCH = 8
STEPS = 2
MESHES = [
    (data, fsdp, 8 // data // fsdp)
    for data in (1, 2, 4, 8)
    for fsdp in (1, 2, 4, 8)
    if 8 % (data * fsdp) == 0
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
OPTIMIZERS = {
    "adamw": lambda: adamw(1e-3, weight_decay=0.01),
    "adafactor": lambda: adafactor(1e-2, min_dim_size_to_factor=8),
}


class Recorded(NamedTuple):
    gradients: Any


def recorder() -> optax.GradientTransformation:
    """Changes nothing; its state is the last gradient, which can so be compared itself."""
    return optax.GradientTransformation(
        lambda params: Recorded(jax.tree.map(jnp.zeros_like, params)),
        lambda updates, state, params=None: (updates, Recorded(updates)),
    )


def make_case(name: str) -> tuple[Objective, Batch]:
    """An objective and a batch in which every row has another number of words."""
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


def run_steps(
    name: str, optimizer_name: str, shape: tuple[int, int, int]
) -> tuple[TrainState, list[dict[str, Any]]]:
    objective, batch = make_case(name)
    devices = jax.devices()[: int(np.prod(shape))]
    mesh = make_mesh(*shape, devices=devices)
    optimizer = optax.chain(recorder(), OPTIMIZERS[optimizer_name]())
    state = create_state(objective, optimizer, mesh, 0, host_params(name))
    shardings = shardings_of(abstract_state(objective, optimizer, mesh))
    step = compile_step(objective, optimizer, mesh, shardings)
    history = []
    for _ in range(STEPS):
        state, metrics = step(state, batch, jax.random.key(7))
        history.append(jax.device_get(metrics))
    jax.tree.map(lambda leaf, place: leaf.sharding == place or pytest.fail(), state, shardings)
    return state, history


unsharded = functools.cache(functools.partial(run_steps, shape=(1, 1, 1)))


def close(found: Any, expected: Any, *, rtol: float, atol: float) -> None:
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(
            np.asarray(a), np.asarray(b), rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path)
        )


CASES = [("t5", "adamw", shape) for shape in MESHES]
CASES += [("bilstm", "adamw", shape) for shape in MESHES]
CASES += [("t5", "adafactor", shape) for shape in ((2, 2, 2), (1, 4, 2), (1, 1, 8))]
CASES += [("bilstm", "adafactor", shape) for shape in ((2, 2, 2), (1, 8, 1))]


@pytest.mark.parametrize(("name", "optimizer", "shape"), CASES)
def test_a_mesh_computes_the_unsharded_step(
    name: str, optimizer: str, shape: tuple[int, int, int]
) -> None:
    state, history = run_steps(name, optimizer, shape)
    expected, expected_history = unsharded(name, optimizer)
    close(history, expected_history, rtol=2e-6, atol=0)
    close(state.opt_state[0], expected.opt_state[0], rtol=1e-5, atol=1e-7)
    close(state.params, expected.params, rtol=1e-5, atol=1e-6)
    assert int(state.step) == STEPS
