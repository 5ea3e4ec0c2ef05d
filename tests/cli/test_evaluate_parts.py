"""`distill-jax evaluate` of several files or tasks: figures for each, and their mean."""

import json
from pathlib import Path
from typing import Any

import pytest

from distill_jax.cli import main
from distill_jax.data.locations import set_data_dir
from tests.tiny import save_tiny

ONE = "to O\nberlin B-city\n\nmay B-date_time\n\nberlin O\n\n"
OTHER = "on O\nmay B-date_time\n4 I-date_time\n\nnow O\n\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "bilstm", "bilstm")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for language, text in (("hau", ONE), ("yor", OTHER)):
        (root / "ner" / language).mkdir(parents=True)
        for split in ("train", "test"):
            (root / "ner" / language / f"{split}.txt").write_text(text)
    return root


def figures(model: Path, folder: Path, *options: str) -> dict[str, Any]:
    out = str(folder / "figures.json")
    assert main(["evaluate", "--model", str(model), *options, "--json", out]) == 0
    read: dict[str, Any] = json.loads(Path(out).read_text())
    return read


def test_each_file_and_the_mean(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(data / "ner" / language / "test.txt") for language in ("hau", "yor")]
    alone = [figures(model, tmp_path, "--data", file) for file in files]
    assert all("parts" not in each for each in alone)
    (tmp_path / "both.txt").write_text(ONE + OTHER)
    together = figures(model, tmp_path, "--data", str(tmp_path / "both.txt"))
    capsys.readouterr()
    page = tmp_path / "page.html"
    both = figures(model, tmp_path, "--data", *files, "--html", str(page))
    for name in ("f1", "precision", "recall", "nll", "ece", "sentences", "per_label"):
        assert both[name] == together[name]
    assert [part["name"] for part in both["parts"]] == files
    for part, own in zip(both["parts"], alone, strict=True):
        assert {name: own[name] for name in part if name != "name"} == {
            name: value for name, value in part.items() if name != "name"
        }
    assert both["f1_mean"] == pytest.approx(sum(own["f1"] for own in alone) / 2)
    shown = capsys.readouterr().out
    assert "each file or task" in shown and "mean" in shown
    assert "5 sentences of" in page.read_text() and files[1] in page.read_text()


def test_each_task(model: Path, data: Path, tmp_path: Path) -> None:
    where = ("--data_dir", str(data))
    tasks = figures(model, tmp_path, "--task", "ner_hau", "ner_yor", *where)
    assert [(part["name"], part["sentences"]) for part in tasks["parts"]] == [
        ("ner_hau", 3),
        ("ner_yor", 2),
    ]
    whole = figures(model, tmp_path, "--task", "ner", "--split", "test", *where)
    assert "parts" not in whole and whole["f1"] == tasks["f1"]
    set_data_dir(None)


def test_bad_input(model: Path, data: Path, tmp_path: Path, capsys: Any) -> None:
    one = str(data / "ner" / "hau" / "test.txt")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "plain.txt").write_text("to berlin\n")
    for options, line in (
        ([], "evaluate needs either --data FILE… or --task NAME…"),
        (["--data", one, "--task", "ner"], "either --data FILE… or --task"),
        (["--data", one, one], "is given twice"),
        (["--data", one, str(tmp_path / "empty.txt")], "empty.txt"),
        (["--data", one, str(tmp_path / "gone.txt")], "gone.txt"),
        (["--data", one, "--split", "test"], "--split and --data_dir are of --task"),
        (["--task", "ner_xx", "--data_dir", str(data)], "no task or mixture 'ner_xx'"),
        (["--task", "ner_yor", "--split", "valid", "--data_dir", str(data)], "no split 'valid'"),
        (["--data", one, "--json", one], "is the file of --data"),
    ):
        capsys.readouterr()
        assert main(["evaluate", "--model", str(model), *options]) == 2, options
        assert line in capsys.readouterr().err
    two = ["--data", one, str(data / "ner" / "yor" / "test.txt")]
    assert main(["evaluate", "--predictions", str(tmp_path / "plain.txt"), *two]) == 2
    assert "give one --data FILE" in capsys.readouterr().err
    set_data_dir(None)
