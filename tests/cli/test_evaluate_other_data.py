"""`distill-jax evaluate` on data of others: labels that the model lacks, schemes, tokenisations."""

import json
from pathlib import Path
from typing import Any

import pytest

from distill_jax.cli import main
from distill_jax.model_dir.settings import read_tagger_file
from tests.html_reader import Page
from tests.tiny import save_tiny

KNOWN = "to O\nberlin B-city\n\n"
UNKNOWN = "may B-date_time\nin O\nbig B-ORG\ncorp I-ORG\n\nacme B-shop\n\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It has the labels `city` and `date_time`."""
    return save_tiny(tmp_path_factory.mktemp("models") / "bilstm", "bilstm")


def run(model: Path, folder: Path, data: str, *more: str) -> dict[str, Any]:
    (folder / "gold.conll").write_text(data)
    command = ["evaluate", "--model", str(model), "--data", str(folder / "gold.conll")]
    assert main([*command, "--json", str(folder / "figures.json"), *more]) == 0
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return figures


def test_labels_that_the_model_lacks_are_missed(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = run(model, tmp_path, KNOWN + UNKNOWN)
    assert figures["unknown_labels"] == {"ORG": 1, "shop": 1}
    assert figures["words_left_out"] == 3
    assert (figures["sentences"], figures["words"]) == (3, 7)
    missed = {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert figures["per_label"]["ORG"] == figures["per_label"]["shop"] == missed
    assert sum(one["count"] for one in figures["bins"]) == 4
    said = " ".join(capsys.readouterr().out.split())
    assert "labels that the model does not have (ORG 1, shop 1) count as missed" in said
    assert "their words (3) are left out of ece, brier and nll" in said


def test_a_blank_line_before_the_first_record_is_a_sentence_without_words(
    model: Path, tmp_path: Path
) -> None:
    (tmp_path / "gold.jsonl").write_text('\n{"tokens": ["berlin"], "tags": ["B-city"]}\n')
    command = ["evaluate", "--model", str(model), "--data", str(tmp_path / "gold.jsonl")]
    assert main([*command, "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["sentences"], figures["words"]) == (2, 1)


def test_calibration_is_that_of_the_other_words(model: Path, tmp_path: Path) -> None:
    """The same words with O for what is unknown: its words alone make the difference."""
    with_unknown = run(model, tmp_path, KNOWN + "berlin B-ORG\n\n")
    without = run(model, tmp_path, KNOWN)
    for name in ("ece", "nll", "brier", "accuracy"):
        assert with_unknown[name] == pytest.approx(without[name])
    bins = [[one["count"] for one in each["bins"]] for each in (with_unknown, without)]
    assert bins[0] == bins[1]
    assert "unknown_labels" not in without


def test_a_page_says_it(model: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    more = ["--against", str(model), "--html", str(page)]
    run(model, tmp_path, UNKNOWN, *more)
    text = Page(page.read_text("utf-8")).text
    for who in (f"{model.name} (1)", f"{model.name} (2)"):
        assert f"Of {who}: gold spans of labels that the model does not have" in text


def test_a_temperature_is_fitted_on_what_is_known(model: Path, tmp_path: Path) -> None:
    fitted = []
    for number, data in enumerate((KNOWN + "may B-date_time\n\n", KNOWN + UNKNOWN)):
        own = save_tiny(tmp_path / str(number), "bilstm")
        run(own, tmp_path, data, "--fit_temperature")
        fitted.append(read_tagger_file(own).settings.temperature)
    assert all(temperature != 1 for temperature in fitted)


SCHEMES = {
    "iob2": ("B-city", "I-city", "B-city"),
    "bilou": ("B-city", "L-city", "U-city"),
    "bioes": ("B-city", "E-city", "S-city"),
    "bmes": ("B-city", "E-city", "S-city"),
    "bare": ("city", "city", "city"),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_other_schemes_are_read_as_what_they_are(model: Path, tmp_path: Path, scheme: str) -> None:
    first, second, single = SCHEMES[scheme]
    middle = {"bmes": "M-city", "bare": "city"}.get(scheme, "I-city")
    figures = []
    for tags in ((first, middle, second, single), ("B-city", "I-city", "I-city", "B-city")):
        data = "".join(
            f"{word} {tag}\n"
            for word, tag in zip(["on", "to", "may", "4"], [*tags[:3], "O"], strict=True)
        )
        figures.append(run(model, tmp_path, f"{data}\nto O\nberlin {tags[3]}\n\n"))
    for one in figures:
        del one["sentences_per_second"]
    assert figures[0] == figures[1]


def test_sentences_without_a_label_of_the_model(model: Path, tmp_path: Path) -> None:
    figures = run(model, tmp_path, "acme B-ORG\n\nbig B-ORG\n\n")
    assert figures["f1"] == figures["recall"] == 0 and figures["unknown_labels"] == {"ORG": 2}
    assert figures["nll"] == 0  # of no words


GOLD = "to O\nnew B-city\nyork I-city\n\non O\nmay B-date_time\n\n"


def predictions(folder: Path, text: str) -> list[str]:
    (folder / "gold.conll").write_text(GOLD)
    (folder / "found.conll").write_text(text)
    files = ["--data", str(folder / "gold.conll"), "--predictions", str(folder / "found.conll")]
    return ["evaluate", *files, "--json", str(folder / "figures.json")]


def test_predictions_of_a_model_have_its_figures(model: Path, tmp_path: Path) -> None:
    figures = run(model, tmp_path, GOLD)
    written = str(tmp_path / "found.jsonl")
    command = ["--model", str(model), "--input", str(tmp_path / "gold.conll"), "--output", written]
    assert main(["predict", *command]) == 0
    command = ["--data", str(tmp_path / "gold.conll"), "--json", str(tmp_path / "again.json")]
    assert main(["evaluate", *command, "--predictions", written]) == 0
    again = json.loads((tmp_path / "again.json").read_text())
    assert "parameters" not in again and "ece" not in again
    assert again == {name: figures[name] for name in again}


@pytest.mark.parametrize(
    ("found", "parts"),
    [
        (
            "to O\nnew-york B-city\n\non O\nmay B-date_time\n\n",
            ["found.conll:1", "has 2 words", "gold.conll:1 3", "word 2 is the first to differ"],
        ),
        (
            GOLD.replace("may", "May"),
            ["found.conll:5", "gold.conll:5 2", "word 2 is the first to differ"],
        ),
        (GOLD + "x O\n\n", ["found.conll:8", "more sentences than in", "gold.conll"]),
        (GOLD[: GOLD.index("on O")], ["gold.conll:5", "more sentences than in", "found.conll"]),
    ],
)
def test_other_tokenisations_are_refused(
    tmp_path: Path, found: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(predictions(tmp_path, found)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for part in parts:
        assert part in error
    assert not (tmp_path / "figures.json").exists()


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--model", "m"], "--predictions FILE in its place"),
        (["--html", "page.html"], "--html needs a model"),
        (["--decoder", "greedy"], "--decoder needs a model"),
    ],
)
def test_predictions_in_place_of_a_model(
    tmp_path: Path, more: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*predictions(tmp_path, GOLD), *more]) == 2
    assert part in capsys.readouterr().err


def test_predictions_without_tags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = predictions(tmp_path, "")
    (tmp_path / "found.txt").write_text("to new york\non may\n")
    command[command.index("--predictions") + 1] = str(tmp_path / "found.txt")
    assert main(command) == 2
    assert "found.txt:1: the sentence has no tags" in capsys.readouterr().err
