"""Checkpoints for t5x: the way there and back changes no bit, and others read what is written."""

from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
from flax.serialization import msgpack_restore
from safetensors.numpy import load_file

from distill_jax.cli import main
from distill_jax.errors import UserError
from distill_jax.interop.hf.checkpoint import flatten, write_hf
from distill_jax.interop.t5x import zarr
from distill_jax.model_dir.directory import load_model, model_hash, open_checkpoint
from distill_jax.model_dir.export_t5x import export_t5x
from distill_jax.vocab import ByteVocabulary
from tests.tiny import LABELS, save_tiny, t5_params
from tests.tiny_t5x import CONFIGS, V1_1, target_of


def run(*command: object) -> None:
    assert main([str(part) for part in command]) == 0


@pytest.mark.parametrize("kind", CONFIGS)
def test_there_and_back(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Hugging Face → a model directory, itself one of Hugging Face → t5x → a model directory."""
    config = CONFIGS[kind].replace(activation="silu" if CONFIGS[kind].gated else "relu")
    write_hf(tmp_path / "hf", config, t5_params(config))
    LABELS.save(tmp_path / "labels.txt")
    labels = ("--labels", tmp_path / "labels.txt")
    run(
        "import", "--from", "hf", *labels, "--vocabulary", "byte", tmp_path / "hf", tmp_path / "one"
    )
    run("export", "--to", "t5x", "--step", 12, tmp_path / "one", tmp_path / "t5x")
    capfd.readouterr()
    beside = ("--labels", tmp_path / "t5x/labels.txt")
    run("import", "--from", "t5x", *beside, tmp_path / "t5x", tmp_path / "two")
    said = capfd.readouterr()
    assert (
        said.err == f"{tmp_path / 't5x'}: tensor state/step is not used: the number of the step\n"
    )
    first, *others = (
        load_file(tmp_path / name / "model.safetensors") for name in ("hf", "one", "two")
    )
    for tensors in others:
        assert set(tensors) == set(first)
        assert all(array.tobytes() == first[name].tobytes() for name, array in tensors.items())
    one, two = load_model(tmp_path / "one"), load_model(tmp_path / "two")
    assert one.config == two.config == config
    assert one.labels == two.labels
    assert one.vocabulary.content_hash() == two.vocabulary.content_hash()


@pytest.mark.parametrize("kind", CONFIGS)
def test_flax_and_tensorstore_read_it(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As t5x does: specifications with paths below the folder, and what they say is what is there."""
    monkeypatch.setattr(zarr, "_CHUNK", 50)  # several chunks an array
    config, params = CONFIGS[kind], t5_params(CONFIGS[kind])
    model = save_tiny(tmp_path / "model", "t5", config=config, params=params)
    export_t5x(model, tmp_path / "t5x", step=3)
    folder = tmp_path / "t5x/checkpoint_3"
    content = msgpack_restore((folder / "checkpoint").read_bytes())
    assert content["version"] == 3
    assert content["optimizer"]["state"] == {"step": 3, "param_states": {}}
    specs = {}
    for path, value in flatten(content["optimizer"]["target"]):
        *names, key = path
        if key == "path":
            specs[tuple(names[:-1])] = value
    expected = dict(flatten(target_of(config, load_model(model).params)))
    assert set(specs) == set(expected)
    for names, place in specs.items():
        assert place == ".".join(("target", *names)) + "/"
        store = {"driver": "file", "path": f"{folder}/{place}"}
        array = ts.open({"driver": "zarr", "kvstore": store}).result().read().result()
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, expected[names])
    assert sorted(path.name for path in (tmp_path / "t5x").iterdir()) == [
        "checkpoint_3",
        "config.gin",
        "labels.txt",
        "vocabulary.json",
    ]


def test_training_starts_from_it(tmp_path: Path) -> None:
    """`INITIAL_CHECKPOINT_PATH` takes the folder, and a study notices another checkpoint in it."""
    model = save_tiny(tmp_path / "model", "t5", config=V1_1, params=t5_params(V1_1))
    export_t5x(model, tmp_path / "t5x")
    for folder in (tmp_path / "t5x", tmp_path / "t5x/checkpoint_0"):
        found = open_checkpoint(folder)
        assert found.config == V1_1
        np.testing.assert_array_equal(
            found.read()["encoder"]["layers_0"]["mlp"]["wo"]["kernel"],
            t5_params(V1_1)["encoder"]["layers_0"]["mlp"]["wo"]["kernel"],
        )
        np.testing.assert_array_equal(
            found.embedding(), t5_params(V1_1)["token_embedder"]["embedding"]
        )
        assert isinstance(found.vocabulary(), ByteVocabulary)
    before = model_hash(tmp_path / "t5x")
    assert before == model_hash(tmp_path / "t5x")
    other = save_tiny(tmp_path / "other", "t5", config=V1_1, params=t5_params(V1_1, seed=1))
    export_t5x(other, tmp_path / "later", step=1)
    (tmp_path / "later/checkpoint_1").rename(tmp_path / "t5x/checkpoint_1")
    assert model_hash(tmp_path / "t5x") != before


def test_what_is_not_exported(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", "t5")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/checkpoint_0").write_text("precious")
    with pytest.raises(UserError, match="full: exists and is not an empty folder"):
        export_t5x(model, tmp_path / "full")
    with pytest.raises(UserError, match="bilstm: is no T5"):
        export_t5x(save_tiny(tmp_path / "bilstm", "bilstm"), tmp_path / "out")
    buckets = V1_1.replace(relative_buckets=8, relative_max_distance=64)
    small = save_tiny(tmp_path / "small", "t5", config=buckets, params=t5_params(buckets))
    with pytest.raises(UserError, match="small: has 8 relative buckets up to a distance of 64"):
        export_t5x(small, tmp_path / "out")
    slow = V1_1.replace(layer_norm_epsilon=1e-5)
    other = save_tiny(tmp_path / "other", "t5", config=slow, params=t5_params(V1_1))
    with pytest.raises(UserError, match="layer_norm_epsilon 1e-05"):
        export_t5x(other, tmp_path / "out")
    with (model / "model.safetensors").open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(UserError, match="truncated"):
        export_t5x(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_tiny(tmp_path / "model", "t5")

    def full(folder: Path, array: np.ndarray) -> dict[str, object]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("distill_jax.interop.t5x.writing.write_zarr", full)
    with pytest.raises(OSError, match="No space left"):
        export_t5x(model, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
