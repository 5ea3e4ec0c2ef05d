"""Parity with PyTorch transformers: stored outputs of random checkpoints, and round trips."""

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.interop.hf.checkpoint import read_hf, write_hf
from distill_jax.models.t5 import T5

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
NAMES = ("t5_v1_0", "t5_v1_1", "t5_umt5")
TOLERANCE = 1e-4  # absolute, of logits of the order of 1 to 10


def outputs_of(directory: Path, golden: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What our T5 makes of a checkpoint on the golden inputs."""
    config, params = read_hf(directory)
    model = T5(config)

    @jax.jit
    def run(params: Any) -> dict[str, jax.Array]:
        source = golden["encoder_ids"], golden["encoder_mask"]
        target = golden["decoder_ids"], golden["decoder_mask"]
        hidden = model.apply({"params": params}, *source, *target, method="hidden")
        return {
            "encoder_hidden": model.apply({"params": params}, *source, method="encode"),
            "decoder_hidden": hidden,
            "logits": model.apply({"params": params}, hidden, method="logits"),
        }

    return {name: np.asarray(value) for name, value in run(params).items()}


def load_golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / name / "outputs.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_those_of_transformers(name: str) -> None:
    """At every position that is not padding; there transformers goes on computing, we do not care."""
    golden = load_golden(name)
    actual = outputs_of(GOLDEN / name, golden)
    assert np.abs(golden["logits"]).mean() > 1
    for output, mask in (
        ("encoder_hidden", "encoder_mask"),
        ("decoder_hidden", "decoder_mask"),
        ("logits", "decoder_mask"),
    ):
        real = golden[mask] == 1
        difference = np.abs(actual[output] - golden[output])[real]
        assert difference.max() <= TOLERANCE, output
        assert np.isfinite(actual[output]).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_files_are_those_that_were_made(name: str) -> None:
    provenance = json.loads((GOLDEN / name / "provenance.json").read_text())
    for file, digest in provenance["sha256"].items():
        assert hashlib.sha256((GOLDEN / name / file).read_bytes()).hexdigest() == digest


def test_a_published_umt5_is_read_without_the_scale(tmp_path: Path) -> None:
    """Google's say that the embeddings are not tied, and were trained without scaling logits."""
    shutil.copytree(GOLDEN / "t5_umt5", tmp_path, dirs_exist_ok=True)
    fields = json.loads((tmp_path / "config.json").read_text())
    fields |= {"tie_word_embeddings": False, "transformers_version": "4.31.0"}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    golden = load_golden("t5_umt5")
    logits = outputs_of(tmp_path, golden)["logits"]
    expected = golden["logits"] * fields["d_model"] ** 0.5
    real = golden["decoder_mask"] == 1
    np.testing.assert_allclose(logits[real], expected[real], rtol=1e-5, atol=TOLERANCE)


def transformers_logits(directory: Path, golden: dict[str, np.ndarray]) -> np.ndarray:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    model, info = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        directory, output_loading_info=True
    )
    assert not any(info.values()), info
    with torch.no_grad():
        return model.eval()(
            input_ids=torch.tensor(golden["encoder_ids"]).long(),
            attention_mask=torch.tensor(golden["encoder_mask"]),
            decoder_input_ids=torch.tensor(golden["decoder_ids"]).long(),
            decoder_attention_mask=torch.tensor(golden["decoder_mask"]),
        ).logits.numpy()


@pytest.mark.parametrize("name", NAMES)
def test_what_we_write_gives_the_same_logits_in_transformers(tmp_path: Path, name: str) -> None:
    golden = load_golden(name)
    config, params = read_hf(GOLDEN / name)
    write_hf(tmp_path / "model", config, params)
    logits = transformers_logits(tmp_path / "model", golden)
    real = golden["decoder_mask"] == 1
    np.testing.assert_allclose(logits[real], golden["logits"][real], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("model_class", "fields"),
    [
        ("T5", {}),
        ("T5", {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}),
        ("T5", {"feed_forward_proj": "gated-silu"}),
        ("MT5", {"tie_word_embeddings": False}),
        ("UMT5", {}),
    ],
)
def test_a_new_model_of_transformers_is_read_as_it_computes(
    tmp_path: Path, model_class: str, fields: dict[str, Any]
) -> None:
    """transformers 5 ties all embeddings, whatever is asked for, but does not scale all logits."""
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    torch.manual_seed(0)
    sizes = {"vocab_size": 96, "d_model": 32, "d_kv": 6, "d_ff": 40, "num_heads": 4}
    config = getattr(transformers, f"{model_class}Config")(**sizes, num_layers=2, **fields)
    model = getattr(transformers, f"{model_class}ForConditionalGeneration")(config).eval()
    model.save_pretrained(tmp_path / "theirs")
    golden = load_golden("t5_v1_0")
    expected = transformers_logits(tmp_path / "theirs", golden)
    real = golden["decoder_mask"] == 1
    actual = outputs_of(tmp_path / "theirs", golden)["logits"]
    np.testing.assert_allclose(actual[real], expected[real], rtol=0, atol=TOLERANCE)

    write_hf(tmp_path / "ours", *read_hf(tmp_path / "theirs"))
    again = transformers_logits(tmp_path / "ours", golden)
    np.testing.assert_allclose(again[real], expected[real], rtol=0, atol=TOLERANCE)
