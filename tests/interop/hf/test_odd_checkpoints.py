"""Checkpoints in odd states: what is used, what is refused, and in which words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from distill_jax.cli import main
from distill_jax.errors import UserError
from distill_jax.interop.hf import weights
from distill_jax.interop.hf.checkpoint import HfCheckpoint, flatten, read_hf
from distill_jax.interop.hf.config import hf_config_fields
from distill_jax.interop.hf.layout import parameters_of
from distill_jax.model_dir.directory import open_checkpoint
from distill_jax.models.t5_config import T5Config
from distill_jax.safetensors_io import read_entries, same_values
from tests.tiny import t5_params

FLAN = T5Config(
    vocab_size=300,
    d_model=6,
    d_kv=2,
    d_ff=5,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=1,
)
V1_0 = FLAN.replace(tied_embedding=True, activation="relu", gated=False)
ENCODER, DECODER = "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"
BIAS = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 792156\n"


def tensors(config: T5Config, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    flat = dict(flatten(t5_params(config)))
    return {
        p.hf_name: np.ascontiguousarray(flat[p.path].T if p.transposed else flat[p.path], dtype)
        for p in parameters_of(config)
    }


def make(folder: Path, config: T5Config, content: dict[str, Any], **fields: Any) -> Path:
    folder.mkdir(exist_ok=True)
    described = {**hf_config_fields(config), **fields}
    described = {name: value for name, value in described.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(described))
    safetensors.numpy.save_file(content, folder / "model.safetensors")
    return folder


def changed(array: np.ndarray) -> np.ndarray:
    """The last value changed, which only a comparison of all of them notices."""
    other = array.copy()
    other[-1, -1] += np.asarray(1, array.dtype)
    return other


def message_of(read: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as error:
        read()
    return str(error.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("alias", [ENCODER, DECODER])
def test_one_embedding_under_two_names(tmp_path: Path, alias: str, dtype: Any) -> None:
    content = tensors(FLAN, dtype)
    content[alias] = content["shared.weight"].copy()
    read_hf(make(tmp_path / "same", FLAN, content))
    content[alias] = changed(content[alias])
    message = message_of(lambda: read_hf(make(tmp_path / "other", FLAN, content)))
    for part in (f"'{alias}' differs from 'shared.weight'", "model.safetensors", "remove"):
        assert part in message


def test_two_embeddings_without_a_shared_one(tmp_path: Path) -> None:
    content = tensors(FLAN)
    content[ENCODER] = content.pop("shared.weight")
    content[DECODER] = changed(content[ENCODER])
    message = message_of(lambda: read_hf(make(tmp_path, FLAN, content)))
    assert f"'{DECODER}' differs from '{ENCODER}'" in message


@pytest.mark.parametrize("tied", [True, None])
def test_an_output_embedding_beside_tied_ones(tmp_path: Path, tied: bool | None) -> None:
    content = tensors(V1_0)
    content["lm_head.weight"] = content["shared.weight"].copy()
    assert HfCheckpoint(make(tmp_path, V1_0, content, tie_word_embeddings=tied)).config == V1_0
    content["lm_head.weight"] = changed(content["lm_head.weight"])
    folder = make(tmp_path, V1_0, content, tie_word_embeddings=tied)
    message = message_of(lambda: read_hf(folder))
    for part in ("'lm_head.weight' differs", "config.json (tie_word_embeddings)", "false"):
        assert part in message
    # What transformers 5 writes of an untied model, and what was meant, are read.
    for fields in ({"scale_decoder_outputs": True}, {"tie_word_embeddings": False}):
        assert not HfCheckpoint(make(tmp_path, V1_0, content, **fields)).config.tied_embedding


def test_a_tensor_is_compared_a_few_rows_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_jax.safetensors_io._CHUNK", 13)
    array = np.arange(35, dtype=np.float32).reshape(7, 5)
    nan = np.full((7, 5), np.nan, np.float32)
    safetensors.numpy.save_file(
        {
            "a": array,
            "b": array.astype(np.float64),
            "c": changed(array),
            "d": array[:6].copy(),
            "nan": nan,
            "more nan": nan.copy(),
        },
        tmp_path / "x.safetensors",
    )
    entries = read_entries(tmp_path / "x.safetensors")
    pairs = {"ab": True, "ac": False, "ad": False, "aa": True}
    for (first, second), same in pairs.items():
        assert same_values(entries[first], entries[second]) is same
    assert same_values(entries["nan"], entries["more nan"])


def test_an_unused_tensor_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = V1_0.replace(vocab_size=384)
    content = {**tensors(config), BIAS: np.ones((4, 2), np.float32)}
    folder = make(tmp_path / "src", config, content)
    assert list(HfCheckpoint(folder).unused) == [BIAS]
    (tmp_path / "labels.txt").write_text("city\n")
    command = ["import", "--from", "hf", "--labels", str(tmp_path / "labels.txt")]
    assert main([*command, str(folder), str(tmp_path / "model")]) == 0
    assert f"tensor {BIAS} is not used: early versions" in capsys.readouterr().err
    assert HfCheckpoint(tmp_path / "model").unused == {}


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"dense_act_fn": "gelu"}, ["dense_act_fn is 'gelu'", "'gated-gelu'", "'gelu_new'"]),
        ({"dense_act_fn": "relu"}, ["dense_act_fn is 'relu'", "remove dense_act_fn"]),
        ({"is_gated_act": False}, ["is_gated_act is False", "'gated-gelu'"]),
        (
            {"feed_forward_proj": None, "model_type": "mt5", "dense_act_fn": "mish"},
            ["dense_act_fn is 'mish'", "gelu_new"],
        ),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, ["quantised (gptq)"]),
        ({"quantization_config": {"load_in_8bit": True}}, ["quantization_config", "quantised;"]),
    ],
)
def test_fields_that_contradict_or_cannot_be(
    tmp_path: Path, fields: dict[str, Any], parts: list[str]
) -> None:
    make(tmp_path, FLAN, tensors(FLAN), **fields)
    message = message_of(lambda: read_hf(tmp_path))
    for part in [f"{tmp_path}/config.json: ", *parts]:
        assert part in message


@pytest.mark.parametrize(
    ("fields", "activation"),
    [
        ({"dense_act_fn": "gelu_new", "is_gated_act": True}, "gelu"),
        ({"feed_forward_proj": "gated-silu", "dense_act_fn": "swish"}, "silu"),
        ({"feed_forward_proj": None, "dense_act_fn": "silu", "is_gated_act": True}, "silu"),
    ],
)
def test_fields_that_agree(tmp_path: Path, fields: dict[str, Any], activation: str) -> None:
    config = HfCheckpoint(make(tmp_path, FLAN, tensors(FLAN), **fields)).config
    assert (config.activation, config.gated) == (activation, True)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_numbers_that_float32_has_not(tmp_path: Path, dtype: Any) -> None:
    content = tensors(FLAN, dtype)
    content["lm_head.weight"][3, 2] = np.inf if dtype is np.float16 else 1e300
    message = message_of(lambda: read_hf(make(tmp_path, FLAN, content)))
    for part in ("'lm_head.weight'", "F16" if dtype is np.float16 else "F64", "before"):
        assert part in message


def adapter(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter_model.safetensors").write_bytes(b"")


def adapter_beside_config(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def encoder_alone(folder: Path) -> None:
    content = {name: a for name, a in tensors(FLAN).items() if not name.startswith(("dec", "lm"))}
    make(folder, FLAN, content, architectures=["T5EncoderModel"], is_encoder_decoder=None)


def shards_without_an_index(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


def a_tensor_that_the_index_does_not_name(folder: Path) -> None:
    shards_without_an_index(folder)
    names = [name for name in tensors(FLAN) if name != "lm_head.weight"]
    shard = "model-00001-of-00002.safetensors"
    (folder / weights.INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, shard)}))


def pointer(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(POINTER)

    return change


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (adapter, ["adapter_config.json: an adapter", "merge_and_unload"]),
        (adapter_beside_config, ["adapter_model.safetensors: an adapter", "merge_and_unload"]),
        (encoder_alone, ["an encoder alone", "decoder.block", "has the decoder"]),
        (shards_without_an_index, ["model-00001-of-00002", "index", "download that too"]),
        (a_tensor_that_the_index_does_not_name, ["'lm_head.weight' is there", "download both"]),
        (pointer("model.safetensors"), ["model.safetensors: a Git LFS pointer", "git lfs pull"]),
        (pointer("config.json"), ["config.json: a Git LFS pointer", "git lfs pull"]),
    ],
)
def test_what_is_there_instead(
    tmp_path: Path, change: Callable[[Path], None], parts: list[str]
) -> None:
    make(tmp_path, FLAN, tensors(FLAN))
    change(tmp_path)
    for opened in (read_hf, open_checkpoint):
        message = message_of(lambda opened=opened: opened(tmp_path))
        for part in [str(tmp_path), "; ", *parts]:
            assert part in message
        assert "\n" not in message


@pytest.mark.parametrize("name", ["google/flan-t5-small", "t5-small"])
def test_a_name_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("labels.txt").write_text("city\n")
    assert main(["import", "--from", "hf", "--labels", "labels.txt", name, "model"]) == 2
    assert f"hf download {name} --local-dir" in capsys.readouterr().err
    assert f"hf download {name} --local-dir" in message_of(lambda: open_checkpoint(name))
    for path in (tmp_path / name, Path(f"./{name}x/y/z")):  # paths, whatever they look like
        assert "hf download" not in message_of(lambda path=path: open_checkpoint(path))


def test_a_vocabulary_that_is_a_pointer(tmp_path: Path) -> None:
    from distill_jax.vocab import load_vocabulary

    (tmp_path / "spiece.model").write_bytes(POINTER)
    assert "spiece.model: a Git LFS pointer" in message_of(lambda: load_vocabulary(tmp_path))
