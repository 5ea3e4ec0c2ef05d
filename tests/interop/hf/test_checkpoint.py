"""Reading and writing Hugging Face directories: layouts, dtypes, shards, and everything wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax import linen as nn

from distill_jax.errors import UserError
from distill_jax.interop.hf.checkpoint import flatten, read_hf, write_hf
from distill_jax.interop.hf.config import hf_config_fields, scales_logits, t5_config_from_hf
from distill_jax.interop.hf.layout import parameters_of
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from tests.tiny import t5_params

TINY = T5Config(
    vocab_size=11,
    d_model=6,
    d_kv=2,
    d_ff=5,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=2,
    relative_buckets=4,
    relative_max_distance=9,
)
VARIANTS = {
    "v1.0": TINY.replace(tied_embedding=True, activation="relu", gated=False),
    "v1.1": TINY,
    "silu": TINY.replace(activation="silu", decoder_start_id=3, dropout_rate=0.0),
    "umT5": TINY.replace(relative_bias_per_layer=True, layer_norm_epsilon=1e-5),
    "tied umT5": TINY.replace(relative_bias_per_layer=True, tied_embedding=True),
}
variants = pytest.mark.parametrize("variant", list(VARIANTS))


def assert_same(actual: dict[str, Any], expected: dict[str, Any], **tolerance: float) -> None:
    flat, wanted = dict(flatten(actual)), dict(flatten(expected))
    assert set(flat) == set(wanted)
    for path, array in wanted.items():
        assert flat[path].dtype == np.float32
        np.testing.assert_allclose(flat[path], array, err_msg=str(path), **tolerance)


@variants
def test_the_layout_has_every_parameter_of_the_model(variant: str) -> None:
    config = VARIANTS[variant]
    ids = jnp.ones((1, 2), jnp.int32)
    boxed = jax.eval_shape(T5(config).init, jax.random.key(0), ids, ids, ids, ids)
    expected = {path: leaf.shape for path, leaf in flatten(nn.meta.unbox(boxed)["params"])}
    actual = {path: leaf.shape for path, leaf in flatten(t5_params(config))}
    assert actual == expected


@variants
def test_what_is_written_is_read_back(tmp_path: Path, variant: str) -> None:
    config, params = VARIANTS[variant], t5_params(VARIANTS[variant])
    write_hf(tmp_path / "model", config, jax.tree.map(jnp.asarray, params))
    read_config, read = read_hf(tmp_path / "model")
    assert read_config == config
    # The factor in an untied umT5's output embedding costs a rounding.
    assert_same(read, params, rtol=1e-6 if variant == "umT5" else 0)
    stored = safetensors.numpy.load_file(tmp_path / "model" / "model.safetensors")
    assert {name: array.shape for name, array in stored.items()} == {
        parameter.hf_name: parameter.hf_shape for parameter in parameters_of(config)
    }


def test_boxed_parameters_are_written(tmp_path: Path) -> None:
    ids = jnp.ones((1, 2), jnp.int32)
    boxed = jax.jit(T5(TINY).init)(jax.random.key(0), ids, ids, ids, ids)["params"]
    write_hf(tmp_path / "model", TINY, boxed)
    assert_same(read_hf(tmp_path / "model")[1], nn.meta.unbox(boxed), rtol=0)


def test_parameters_of_another_model_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="decoder/logits_dense/kernel"):
        write_hf(tmp_path / "model", TINY, t5_params(VARIANTS["v1.0"]))
    assert list(tmp_path.iterdir()) == []


def test_only_a_model_is_replaced(tmp_path: Path) -> None:
    write_hf(tmp_path / "model", TINY, t5_params(TINY))
    write_hf(tmp_path / "model", TINY, t5_params(TINY, seed=1))
    assert_same(read_hf(tmp_path / "model")[1], t5_params(TINY, seed=1), rtol=0)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("…")
    with pytest.raises(UserError, match="precious: exists"):
        write_hf(tmp_path / "precious", TINY, t5_params(TINY))
    assert (tmp_path / "precious" / "thesis.txt").exists()


# --- checkpoints made with the safetensors library


def hf_tensors(config: T5Config, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    flat = dict(flatten(t5_params(config)))
    return {
        p.hf_name: np.ascontiguousarray(flat[p.path].T if p.transposed else flat[p.path], dtype)
        for p in parameters_of(config)
    }


def make_checkpoint(
    directory: Path,
    config: T5Config = TINY,
    tensors: dict[str, np.ndarray] | None = None,
    **fields: Any,
) -> Path:
    directory.mkdir(exist_ok=True)
    content = {**hf_config_fields(config), **fields}
    (directory / "config.json").write_text(json.dumps(content))
    safetensors.numpy.save_file(
        hf_tensors(config) if tensors is None else tensors, directory / "model.safetensors"
    )
    return directory


def make_sharded(directory: Path, dtype: Any = np.float32) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(hf_config_fields(TINY)))
    tensors = hf_tensors(TINY, dtype)
    weight_map = {
        name: f"model-{1 + i % 3:05}-of-00003.safetensors" for i, name in enumerate(tensors)
    }
    for shard in sorted(set(weight_map.values())):
        part = {name: tensors[name] for name in tensors if weight_map[name] == shard}
        safetensors.numpy.save_file(part, directory / shard)
    index = {"metadata": {}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_become_float32(tmp_path: Path, dtype: Any) -> None:
    make_checkpoint(tmp_path, tensors=hf_tensors(TINY, dtype))
    expected = jax.tree.map(lambda a: a.astype(dtype).astype(np.float32), t5_params(TINY))
    assert_same(read_hf(tmp_path)[1], expected, rtol=0)


def test_shards_are_read(tmp_path: Path) -> None:
    config, params = read_hf(make_sharded(tmp_path))
    assert config == TINY
    assert_same(params, t5_params(TINY), rtol=0)


def test_names_of_old_checkpoints(tmp_path: Path) -> None:
    tensors = hf_tensors(VARIANTS["v1.0"])
    copies = {
        "encoder.embed_tokens.weight": tensors["shared.weight"],
        "decoder.embed_tokens.weight": tensors["shared.weight"],
        "lm_head.weight": tensors["shared.weight"],
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": np.ones((4, 2)),
    }
    make_checkpoint(tmp_path, VARIANTS["v1.0"], {**tensors, **copies})
    config, params = read_hf(tmp_path)
    assert config.tied_embedding
    assert_same(params, t5_params(VARIANTS["v1.0"]), rtol=0)

    tensors["encoder.embed_tokens.weight"] = tensors.pop("shared.weight")
    make_checkpoint(tmp_path, VARIANTS["v1.0"], tensors)
    assert_same(read_hf(tmp_path)[1], t5_params(VARIANTS["v1.0"]), rtol=0)


def test_a_tied_embedding_without_scale_is_not_copied(tmp_path: Path) -> None:
    tensors = hf_tensors(TINY)
    del tensors["lm_head.weight"]
    fields = {"tie_word_embeddings": True, "scale_decoder_outputs": False}
    config, params = read_hf(make_checkpoint(tmp_path, TINY, tensors, **fields))
    assert not config.tied_embedding
    kernel = params["decoder"]["logits_dense"]["kernel"]
    embedding = params["token_embedder"]["embedding"]
    np.testing.assert_array_equal(kernel, embedding.T)
    assert np.shares_memory(kernel, embedding)


@pytest.mark.parametrize(
    ("fields", "has_lm_head", "expected"),
    [
        ({"model_type": "t5"}, False, True),
        ({"model_type": "t5", "tie_word_embeddings": False}, True, False),
        ({"model_type": "t5", "scale_decoder_outputs": False}, True, False),
        ({"model_type": "t5", "scale_decoder_outputs": True}, True, True),
        ({"model_type": "mt5", "tie_word_embeddings": False}, True, False),
        ({"model_type": "mt5", "tie_word_embeddings": True}, True, False),
        ({"model_type": "mt5", "transformers_version": "5.23.0"}, False, False),
        ({"model_type": "mt5", "transformers_version": "4.51.0"}, False, True),
        ({"model_type": "umt5", "tie_word_embeddings": False}, True, False),
        ({"model_type": "umt5", "tie_word_embeddings": True}, True, True),
    ],
)
def test_which_models_scale_their_logits(
    fields: dict[str, Any], has_lm_head: bool, expected: bool
) -> None:
    assert scales_logits(fields, has_lm_head=has_lm_head) is expected


def test_published_configurations(shared_dir: Path) -> None:
    def read(name: str, tied: bool) -> T5Config:
        path = shared_dir / "vocab" / "t5" / f"config.{name}.json"
        return t5_config_from_hf(json.loads(path.read_text()), tied=tied, where=str(path))

    base = read("t5-base", True)
    assert (base.activation, base.gated, base.d_model, base.num_decoder_layers) == (
        "relu",
        False,
        768,
        12,
    )
    flan = read("flan-t5-large", False)
    assert (flan.activation, flan.gated, flan.d_ff, flan.relative_max_distance) == (
        "gelu",
        True,
        2816,
        128,
    )


# --- what can be wrong


def changed(name: str, **changes: Any) -> Callable[[Path], None]:
    """Changes fields of config.json; None removes one."""

    def change(directory: Path) -> None:
        path = directory / name
        fields = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({k: v for k, v in fields.items() if v is not None}))

    return change


def replaced(**tensors: np.ndarray | None) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        content = hf_tensors(TINY)
        for name, tensor in tensors.items():
            name = name.replace("__", ".")
            if tensor is None:
                del content[name]
            else:
                content[name] = tensor
        safetensors.numpy.save_file(content, directory / "model.safetensors")

    return change


def written(name: str, content: bytes) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        (directory / name).write_bytes(content)

    return change


def truncated(name: str, size: int) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        with open(directory / name, "r+b") as file:
            file.truncate(size if size >= 0 else (directory / name).stat().st_size + size)

    return change


def removed(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def converted_to_bin(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


WEIGHTS, CONFIG = "model.safetensors", "config.json"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (removed(CONFIG), ["config.json", "cannot be read"]),
        (written(CONFIG, b'{\n"d_model": 6,,'), ["config.json:2", "not valid JSON"]),
        (written(CONFIG, b"[]"), ["config.json", "JSON object"]),
        (written(CONFIG, b"\xff\xfe"), ["config.json", "UTF-8"]),
        (changed(CONFIG, model_type="longt5"), ["longt5", "not supported"]),
        (changed(CONFIG, model_type="bert"), ["'bert'", "use a T5"]),
        (changed(CONFIG, model_type=None), ["config.json", "None"]),
        (changed(CONFIG, is_encoder_decoder=False), ["encoder alone"]),
        (changed(CONFIG, d_model=None), ["d_model is missing"]),
        (changed(CONFIG, d_ff="5"), ["d_ff is '5'"]),
        (changed(CONFIG, dropout_rate=1.5), ["config.json", "dropout_rate"]),
        (changed(CONFIG, dropout_rate="high"), ["config.json", "dropout_rate"]),
        (changed(CONFIG, feed_forward_proj="gelu"), ["feed_forward_proj", "'gelu'"]),
        (changed(CONFIG, feed_forward_proj="gated-mish"), ["gated-mish"]),
        (changed(CONFIG, eos_token_id=2), ["eos_token_id is 2"]),
        (changed(CONFIG, vocab_size=12), ["'shared.weight'", "[11, 6]", "[12, 6]"]),
        (changed(CONFIG, num_layers=2), ["encoder.block.1", "missing", "more"]),
        (changed(CONFIG, num_decoder_layers=1), ["decoder.block.1", "no place"]),
        (removed(WEIGHTS), ["model.safetensors", "no such file"]),
        (converted_to_bin, ["pytorch_model.bin", "only safetensors", "save_pretrained"]),
        (truncated(WEIGHTS, -5), ["model.safetensors", "truncated", "again"]),
        (truncated(WEIGHTS, 50), ["model.safetensors", "truncated"]),
        (truncated(WEIGHTS, 3), ["model.safetensors", "damaged"]),
        (
            written(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
            ["model.safetensors", "Git LFS pointer", "git lfs pull"],
        ),
        (written(WEIGHTS, (4).to_bytes(8, "little") + b"{,,}"), ["model.safetensors", "damaged"]),
        (replaced(lm_head__weight=None), ["'lm_head.weight' is missing"]),
        (replaced(classifier=np.ones(2, np.float32)), ["'classifier' has no place"]),
        (replaced(shared__weight=np.ones((11, 6), np.int8)), ["'shared.weight'", "I8", "quant"]),
        (
            replaced(encoder__final_layer_norm__weight=np.ones(7, np.float32)),
            ["'encoder.final_layer_norm.weight'", "[7]", "[6]"],
        ),
    ],
)
def test_a_wrong_checkpoint_is_named_in_one_line(
    tmp_path: Path, change: Callable[[Path], None], parts: list[str]
) -> None:
    make_checkpoint(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError) as error:
        read_hf(tmp_path)
    message = str(error.value)
    assert str(tmp_path) in message and "\n" not in message and "; " in message
    for part in parts:
        assert part in message


SHARD = "model-00002-of-00003.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (removed(SHARD), [SHARD, "shard is missing"]),
        (truncated(SHARD, -1), [SHARD, "truncated"]),
        (written(INDEX, b"{"), [INDEX, "not valid JSON"]),
        (written(INDEX, b"{}"), [INDEX, "weight_map"]),
        (changed(INDEX, weight_map={"a": "../a.safetensors"}), [INDEX, "weight_map"]),
        (changed(INDEX, weight_map={"nothing": SHARD}), [SHARD, "'nothing' is missing"]),
    ],
)
def test_wrong_shards_are_named_in_one_line(
    tmp_path: Path, change: Callable[[Path], None], parts: list[str]
) -> None:
    make_sharded(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError) as error:
        read_hf(tmp_path)
    for part in [str(tmp_path), *parts]:
        assert part in str(error.value)


def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such directory"):
        read_hf(tmp_path / "nowhere")
