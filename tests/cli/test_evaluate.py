"""`distill-jax evaluate`: figures, decoders, the temperature, the reliability diagram."""

import json
from pathlib import Path
from typing import Any

import pytest

from distill_jax.cli import main
from distill_jax.inference import evaluate
from distill_jax.inference.settings import TaggerSettings
from distill_jax.model_dir.directory import load_model
from distill_jax.tagger import Tagger
from distill_jax.tagging import Sentence
from tests.html_reader import Page
from tests.tiny import KINDS, LABELS, save_tiny

GOLD = [
    Sentence(("to", "berlin"), ("O", "B-city")),
    Sentence(("on", "may", "4"), ("O", "B-date_time", "I-date_time")),
]
CONLL = "to O\nberlin B-city\n\non O\nmay B-date_time\n4 I-date_time\n\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model directory of each kind."""
    folder = tmp_path_factory.mktemp("models")
    return {kind: save_tiny(folder / kind, kind) for kind in KINDS}


def run(model: Path, folder: Path, *more: str) -> dict[str, Any]:
    """What `evaluate --json` writes."""
    (folder / "gold.conll").write_text(CONLL)
    command = ["evaluate", "--model", str(model), "--data", str(folder / "gold.conll")]
    assert main([*command, "--json", str(folder / "figures.json"), *more]) == 0
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return figures


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate(
    models: dict[str, Path], tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = run(models[kind], tmp_path)
    shown = capsys.readouterr()
    for name in ("f1", "f1_strict", "perfect", "ece", "illegal", "city", "date_time"):
        assert name in shown.out
    assert shown.err == ""
    tagger = Tagger.load(models[kind])
    words = [sentence.words for sentence in GOLD]
    expected = evaluate(LABELS, GOLD, tagger.predict_ids(words))
    for name in ("f1", "precision", "recall", "f1_strict", "perfect", "illegal", "per_label"):
        assert figures[name] == expected[name]
    assert figures["ece"] == pytest.approx(expected["ece"], abs=1e-4)
    assert (figures["sentences"], figures["words"]) == (2, 5)
    assert figures["parameters"] == tagger.parameters
    assert figures["decoder"] == tagger.decoder
    assert figures["sentences_per_second"] > 0
    assert "warmup_seconds" not in figures


CALIBRATION = {"ece", "brier", "nll", "accuracy", "bins"}


@pytest.mark.parametrize(
    ("options", "decoder", "there"),
    [
        (
            ["--beam", "2", "--normaliser", "trie"],
            {"algorithm": "sentscore", "beam": 2, "normaliser": "trie"},
            CALIBRATION,
        ),
        (["--decoder", "greedy"], {"algorithm": "greedy"}, set()),
        (["--decoder", "free"], {"algorithm": "free"}, {"malformed", "malformations"}),
        (
            ["--decoder", "pruned", "--epsilon", "0.01"],
            {"algorithm": "pruned", "normaliser": "vocab", "epsilon": 0.01},
            CALIBRATION | {"unexplored", "gold_unexplored"},
        ),
    ],
    ids=lambda value: value["algorithm"] if isinstance(value, dict) else "",
)
def test_evaluate_with_every_decoder(
    models: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    decoder: dict[str, Any],
    there: set[str],
) -> None:
    figures = run(models["t5"], tmp_path, *options, "--warmup")
    assert figures["decoder"] == decoder
    optional = CALIBRATION | {"malformed", "malformations", "unexplored", "gold_unexplored"}
    assert optional & set(figures) == there
    assert figures["warmup_seconds"] > 0
    shown = capsys.readouterr()
    assert shown.err.startswith("warm-up: 1 programs in ")
    for name in ("ece", "malformed", "unexplored"):
        assert (name in shown.out) == (name in there)
    if "malformed" in there:
        kinds = figures["malformations"].values()
        assert max(kinds, default=0) <= figures["malformed"] <= sum(kinds)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fitted_temperature_is_kept_and_used(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = TaggerSettings(
        format="sent_prime" if kind == "t5" else "word_tags", thresholds={"city": 0.01}
    )
    model = save_tiny(tmp_path / "model", kind, settings=settings)
    plain = run(model, tmp_path)
    fitted = run(model, tmp_path, "--fit_temperature")
    assert "temperature" in capsys.readouterr().out
    before, after = (fitted["temperature_fit"][name] for name in ("before", "after"))
    assert before["temperature"] == plain["temperature"] == 1
    assert after["temperature"] == fitted["temperature"] != 1
    for name in ("nll", "ece", "brier"):
        assert before[name] == pytest.approx(plain[name], rel=1e-3)
        assert after[name] == fitted[name]
    assert after["nll"] < before["nll"]
    stored = load_model(model).settings
    assert stored.temperature == fitted["temperature"]
    assert stored.thresholds == settings.thresholds
    again = run(model, tmp_path)
    assert again["temperature"] == fitted["temperature"]
    assert again["nll"] == pytest.approx(after["nll"], rel=1e-3)
    assert "temperature_fit" not in again


def test_a_reliability_diagram_is_drawn(models: dict[str, Path], tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "r.png"
    run(models["bilstm"], tmp_path, "--reliability", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_page_is_written(models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "pages" / "page.html"
    figures = run(models["bilstm"], tmp_path, "--html", str(path))
    text = Page(path.read_text("utf-8")).text
    assert f"{figures['f1']:.4f}" in text and f"{figures['ece']:.4f}" in text
    assert "this model" not in text
    assert [each.name for each in path.parent.iterdir()] == ["page.html"]


def test_a_page_with_the_fitted_temperature(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", "bilstm")
    path = tmp_path / "page.html"
    figures = run(model, tmp_path, "--fit_temperature", "--html", str(path))
    rows = [row for table in Page(path.read_text("utf-8")).tables for row in table]
    fit = figures["temperature_fit"]
    assert ["nll", *(f"{fit[name]['nll']:.4f}" for name in ("before", "after"))] in rows
    assert f"{figures['temperature']:.4g}" in [row[-1] for row in rows]


def test_two_models_on_a_page(models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    options = ["--against", str(models["bilstm"]), "--html", str(path), "--html_sentences", "1"]
    figures = run(models["t5"], tmp_path, "--decoder", "greedy", *options)
    own = run(models["bilstm"], tmp_path)
    rows = [row for table in Page(path.read_text("utf-8")).tables for row in table]
    assert ["f1", *(f"{each['f1']:.4f}" for each in (figures, own))] in [row[:3] for row in rows]
    # The decoder asked for is that of the first model.
    assert ["t5", str(models["t5"]), "greedy", "1"] in rows
    assert ["bilstm", str(models["bilstm"]), "viterbi", "1"] in rows
    assert "f1_strict" in figures and "against" not in figures


def test_what_cannot_be_compared(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gold.conll").write_text(CONLL)
    command = ["evaluate", "--model", str(models["t5"]), "--data", str(tmp_path / "gold.conll")]
    assert main([*command, "--against", str(models["bilstm"])]) == 2
    assert "add --html FILE" in capsys.readouterr().err
    page = str(tmp_path / "page.html")
    assert main([*command, "--against", str(tmp_path), "--html", page]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert main([*command, "--html", str(tmp_path)]) == 2
    assert "is a directory" in capsys.readouterr().err
    assert not Path(page).exists()


def test_without_matplotlib_nothing_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    gone = str(tmp_path / "gone")  # neither model nor data are looked for
    command = ["evaluate", "--model", gone, "--data", gone]
    assert main([*command, "--reliability", str(tmp_path / "r.png")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "needs matplotlib" in line and "pip install" in line
