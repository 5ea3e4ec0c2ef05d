"""Checkpoints of t5x of every layout, and what their configuration is read from."""

from pathlib import Path
from typing import Any

import flax.serialization
import jax
import ml_dtypes
import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.interop.hf.checkpoint import flatten
from distill_jax.interop.t5x.checkpoint import T5xCheckpoint
from distill_jax.interop.t5x.config import Unsaid
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from tests.tiny import t5_params
from tests.tiny_t5x import (
    CONFIGS,
    LAYOUTS,
    V1_0,
    V1_1,
    map_tree,
    target_of,
    train_state,
    write_orbax,
    write_partitioned,
    write_unpartitioned,
)

GOLDEN = ("t5_v1_0", "t5_v1_1", "scalable_t5_v1_1")


def assert_same(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    flat, wanted = dict(flatten(actual)), dict(flatten(expected))
    assert set(flat) == set(wanted)
    for path, array in wanted.items():
        assert flat[path].dtype == np.float32
        np.testing.assert_array_equal(flat[path], array, err_msg=str(path))


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(tmp_path: Path, layout: str, kind: str) -> None:
    config, params = CONFIGS[kind], t5_params(CONFIGS[kind])
    LAYOUTS[layout](tmp_path / "checkpoint_7", train_state(target_of(config)))
    found = T5xCheckpoint(tmp_path)
    assert found.config == config
    assert_same(found.read(), params)
    np.testing.assert_array_equal(found.embedding(), params["token_embedder"]["embedding"])
    assert found.unused["state/step"] == "the number of the step"
    assert [name for name in found.unused if "param_states" in name]
    for parameter, load in found.parameters():
        assert load().shape == parameter.hf_shape


def bfloat16(tree: dict[str, Any]) -> dict[str, Any]:
    return map_tree(lambda _, array: array.astype(ml_dtypes.bfloat16), tree)


@pytest.mark.parametrize("write", [write_partitioned, write_unpartitioned, write_orbax])
def test_bfloat16_becomes_float32(tmp_path: Path, write: Any) -> None:
    stored = bfloat16(target_of(V1_1))
    write(tmp_path / "checkpoint_0", train_state(stored))
    expected = map_tree(lambda _, array: array.astype(np.float32), stored)
    assert_same(T5xCheckpoint(tmp_path).read(), expected)


def test_version_2_kept_bfloat16_as_uint16(tmp_path: Path) -> None:
    stored = bfloat16(target_of(V1_1))
    halves = map_tree(lambda _, array: array.view(np.uint16), stored)
    write_partitioned(tmp_path / "checkpoint_2", train_state(halves), version=2)
    expected = map_tree(lambda _, array: array.astype(np.float32), stored)
    assert_same(T5xCheckpoint(tmp_path).read(), expected)
    write_partitioned(tmp_path / "checkpoint_3", train_state(halves), version=3)
    with pytest.raises(UserError, match=r"'target/[a-z/_0]+' is stored as uint16"):
        T5xCheckpoint(tmp_path)


def test_arrays_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 1000)
    write_unpartitioned(tmp_path / "checkpoint_0", train_state(target_of(V1_1)))
    assert b"__msgpack_chunked_array__" in (tmp_path / "checkpoint_0/checkpoint").read_bytes()
    assert_same(T5xCheckpoint(tmp_path).read(), t5_params(V1_1))


def test_a_checkpoint_that_is_a_file(tmp_path: Path) -> None:
    write_unpartitioned(tmp_path / "made", train_state(target_of(V1_1)))
    (tmp_path / "made/checkpoint").rename(tmp_path / "checkpoint_5")
    for src in (tmp_path, tmp_path / "checkpoint_5"):
        assert_same(T5xCheckpoint(src).read(), t5_params(V1_1))


def test_the_step(tmp_path: Path) -> None:
    for step in (9, 10):
        target = target_of(V1_1, t5_params(V1_1, seed=step))
        write_unpartitioned(tmp_path / f"checkpoint_{step}", train_state(target))
    (tmp_path / "checkpoint_11.tmp-1700000000").mkdir()
    assert_same(T5xCheckpoint(tmp_path).read(), t5_params(V1_1, seed=10))
    assert_same(T5xCheckpoint(tmp_path, 9).read(), t5_params(V1_1, seed=9))
    assert_same(T5xCheckpoint(tmp_path / "checkpoint_9", 9).read(), t5_params(V1_1, seed=9))


GIN = """
ACTIVATIONS = ('silu', 'linear')
DROPOUT_RATE = 0.25
# network.T5Config.dropout_rate = 0.5
network.T5Config.dropout_rate = %DROPOUT_RATE
network.T5Config.mlp_activations = %ACTIVATIONS
"""
BLOCK = """
network.T5Config:
    dropout_rate = 0.0
    mlp_activations = \\
        ('gelu',
         'linear')
"""


@pytest.mark.parametrize(
    ("text", "said", "activation", "dropout"),
    [
        (GIN, Unsaid(), "silu", 0.25),
        (GIN, Unsaid("relu", 0.0), "relu", 0.0),
        (BLOCK, Unsaid(), "gelu", 0.0),
        ("MODEL = @models.EncoderDecoderModel()", Unsaid("silu"), "silu", 0.1),
    ],
)
def test_what_shapes_cannot_say(
    tmp_path: Path, text: str, said: Unsaid, activation: Any, dropout: float
) -> None:
    write_unpartitioned(tmp_path / "run/checkpoint_0", train_state(target_of(V1_1)))
    (tmp_path / "run/config.gin").write_text(text)
    found = T5xCheckpoint(tmp_path / "run/checkpoint_0", said=said)
    assert found.config == V1_1.replace(activation=activation, dropout_rate=dropout)
    assumed = ["dropout is taken to be 0.1"] if "MODEL" in text else []
    assert [note.partition(",")[0] for note in found.assumed] == assumed


@pytest.mark.parametrize(
    ("config", "text", "fault"),
    [
        (V1_0, "T5Config.mlp_activations = ('gelu', 'linear')", "has wi alone"),
        (V1_1, "T5Config.mlp_activations = ('gelu',)", "has wi_0 and wi_1"),
        (V1_1, "T5Config.mlp_activations = ('linear', 'gelu')", "is not supported"),
        (V1_1, "T5Config.mlp_activations = ('tanh', 'linear')", "is not supported"),
        (V1_1, "T5Config.dropout_rate = 1.5", "dropout_rate is 1.5"),
    ],
)
def test_a_gin_file_of_another_model(
    tmp_path: Path, config: T5Config, text: str, fault: str
) -> None:
    write_unpartitioned(tmp_path / "checkpoint_0", train_state(target_of(config)))
    (tmp_path / "config.gin").write_text(text)
    with pytest.raises(UserError, match=fault) as raised:
        T5xCheckpoint(tmp_path)
    assert str(raised.value).startswith(str(tmp_path / "config.gin"))


@pytest.mark.parametrize("layout", ["legacy", "orbax"])
@pytest.mark.parametrize("name", GOLDEN)
def test_logits_are_those_of_t5x(shared_dir: Path, name: str, layout: str) -> None:
    """Against what t5x computed, at the positions that have a target (it masks the others in its own way)."""
    folder = shared_dir / "t5x_checkpoints" / name
    if not folder.is_dir():
        pytest.skip("needs the optional folder ../shared/t5x_checkpoints")
    with np.load(folder / "outputs.npz") as stored:
        golden = dict(stored)
    found = T5xCheckpoint(folder / layout)
    source, target = golden["encoder_input_tokens"], golden["decoder_target_tokens"]
    logits = jax.jit(T5(found.config).apply)(
        {"params": found.read()},
        source,
        (source > 0).astype(np.int32),
        golden["decoder_input_tokens"],
        (target > 0).astype(np.int32),
    )
    difference = np.abs(np.asarray(logits) - golden["logits"])[target > 0]
    assert difference.max() <= 1e-5
