"""`evaluate` and `label` find with an export what they find with the model."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.cli.main import main
from distill_jax.export.directory import export_onnx
from distill_jax.inference.settings import TaggerSettings
from distill_jax.labels.store import TeacherLabels
from tests import tiny

SENTENCES = [words for words in tiny.SENTENCES if words]


@pytest.fixture(scope="module", params=["bilstm", "bert"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model`, its export `onnx`, and tagged sentences `gold.conll`."""
    folder = tmp_path_factory.mktemp(request.param)
    settings = TaggerSettings(format="word_tags", temperature=1.7, thresholds={"city": 0.3})
    model = tiny.save_tiny(folder / "model", request.param, settings=settings)
    export_onnx(model, folder / "onnx")
    tags = ("O", "B-city", "I-city", "B-date_time")
    lines = [
        f"{word} {tags[n % 4 if n else 1]}" for s in SENTENCES for n, word in enumerate([*s, ""])
    ]
    text = "\n".join("" if line.startswith(" ") else line for line in lines)
    (folder / "gold.conll").write_text(text)
    return folder


def figures(folder: Path, name: str, *options: str) -> dict[str, Any]:
    data, out = str(folder / "gold.conll"), folder / f"{name}.json"
    command = ["evaluate", "--model", str(folder / name), "--data", data, "--json", str(out)]
    assert main([*command, *options]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_all_figures_are_the_model_s(folder: Path) -> None:
    expected = figures(folder, "model")
    page = folder / "page.html"
    found = figures(folder, "onnx", "--html", str(page), "--against", str(folder / "onnx"))
    assert page.read_text().count("onnx") > 1
    assert found.pop("decoder") == {"algorithm": "viterbi", "runtime": "onnxruntime"}
    for one in (expected, found):
        one.pop("sentences_per_second")
    assert found.keys() == expected.keys() - {"decoder"}
    assert found["words"] == 19 and found["parameters"] == expected["parameters"] > 100
    for name in ("f1", "perfect", "nll", "ece", "temperature"):
        assert found[name] == pytest.approx(expected[name], abs=1e-4)


def test_labels_are_the_model_s(folder: Path, tmp_path: Path) -> None:
    stores = []
    for name in ("model", "onnx"):
        out = tmp_path / name
        command = ["label", "--model", str(folder / name), "--input", str(folder / "gold.conll")]
        assert main([*command, "--output", str(out)]) == 0
        stores.append(TeacherLabels(out))
    assert len(stores[0]) == len(stores[1]) == len(SENTENCES)
    for one, other in zip(*stores, strict=True):
        assert one.words == other.words
        np.testing.assert_array_equal(one.tag_ids, other.tag_ids)
        # Kept in half precision.
        np.testing.assert_allclose(one.log_posteriors, other.log_posteriors, rtol=2e-3, atol=2e-3)


def test_a_temperature_is_fitted_and_kept(folder: Path, tmp_path: Path) -> None:
    for name in ("model", "onnx"):
        shutil.copytree(folder / name, tmp_path / name)
    shutil.copy(folder / "gold.conll", tmp_path)
    fitted = [figures(tmp_path, name, "--fit_temperature") for name in ("model", "onnx")]
    assert fitted[0]["temperature"] == pytest.approx(fitted[1]["temperature"], rel=1e-3)
    kept = json.loads((tmp_path / "onnx/tagger.json").read_text())
    assert kept["temperature"] == fitted[1]["temperature"] != 1.7
    assert figures(tmp_path, "onnx")["nll"] == pytest.approx(fitted[1]["nll"])


def test_an_older_export_is_to_be_written_anew(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "onnx", tmp_path / "onnx")
    path = tmp_path / "onnx/tagger.json"
    fields = json.loads(path.read_text())
    del fields["onnx"]["parameters"]
    path.write_text(json.dumps(fields))
    data = str(folder / "gold.conll")
    assert main(["evaluate", "--model", str(tmp_path / "onnx"), "--data", data]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "export the model anew" in line
