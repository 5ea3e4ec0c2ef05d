"""Exported directories: what is in them, and what is refused."""

import json
from pathlib import Path

import pytest

from distill_jax.cli.main import main
from distill_jax.export import size
from distill_jax.export.directory import export_onnx
from tests import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_tiny(tmp_path_factory.mktemp("model") / "bilstm", "bilstm", name="toy")


def test_everything_is_there_and_the_card_says_how_it_is_used(model: Path, tmp_path: Path) -> None:
    assert main(["export", "--to", "onnx", str(model), str(tmp_path / "new" / "export")]) == 0
    written = tmp_path / "new" / "export"
    names = {"model.onnx", "spelling.onnx", "word_vocabulary.json", "tagger.json", "README.md"}
    assert {path.name for path in written.iterdir()} == names
    fields = json.loads((written / "tagger.json").read_text())
    assert set(fields.pop("onnx")["files"]) == names - {"tagger.json", "README.md"}
    assert fields == json.loads((model / "tagger.json").read_text())
    card = (written / "README.md").read_text()
    assert card.startswith("# toy") and "distill_jax_runtime" in card
    assert "from distill_jax import" not in card


def test_what_is_there_is_not_replaced(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in model.iterdir())
    assert main(["export", "--to", "onnx", str(model), str(model)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert sorted(path.name for path in model.iterdir()) == before


def test_a_kind_without_a_graph_is_told_which_have_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    t5 = tiny.save_tiny(tmp_path / "t5", "t5")
    assert main(["export", "--to", "onnx", str(t5), str(tmp_path / "out")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "t5" in line and "bilstm, encoder, bert" in line
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_leaves_nothing(model: Path, tmp_path: Path) -> None:
    damaged = tiny.save_tiny(tmp_path / "damaged", "bilstm")
    (damaged / "model.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(ValueError):
        export_onnx(damaged, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


def test_int8_says_what_it_costs(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "gold.conll"
    data.write_text("to O\nberlin B-city\n\non O\nmay B-date_time\n4 I-date_time\n")
    target = str(tmp_path / "int8")
    assert main(["export", "--to", "onnx", "--int8", "--data", str(data), str(model), target]) == 0
    said = capsys.readouterr().out
    assert "int8: F1 " in said and "without" in said and "bytes" in said
    assert json.loads((tmp_path / "int8/tagger.json").read_text())["onnx"]["int8"] is True


def test_data_without_int8_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "--to", "onnx", "--data", "x", str(model), str(tmp_path / "out")]
    assert main(command) == 2
    assert "--int8" in capsys.readouterr().err


def test_other_commands_name_the_way(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_onnx(model, tmp_path / "onnx")
    target = ["--to", "stablehlo", str(tmp_path / "onnx"), str(tmp_path / "program")]
    assert main(["export", *target]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "ONNX export" in line and "give the model directory" in line


@pytest.mark.parametrize("to", ["onnx", "stablehlo"])
def test_a_model_beyond_what_a_file_holds_is_refused(
    to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size, "_MOST_BYTES", 100)
    tiny.save_tiny(tmp_path / "m", "bilstm")
    assert main(["export", "--to", to, str(tmp_path / "m"), str(tmp_path / "out")]) == 2
    assert "holds less than 2; export it with --to hf" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
