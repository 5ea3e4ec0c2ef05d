"""The tables and pictures of an evaluation."""

import importlib.util
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from distill_jax.errors import UserError
from distill_jax.report import plots
from distill_jax.report.summary import print_evaluation, print_f1
from distill_jax.tagging import CalibrationCounts


def calibration(words: int = 500) -> dict[str, Any]:
    """Figures of a model that is too sure."""
    rng = np.random.default_rng(0)
    posteriors = rng.dirichlet(np.full(4, 0.3), words)
    gold = np.array(
        [
            rng.choice(4, p=row)
            for row in np.sqrt(posteriors) / np.sqrt(posteriors).sum(-1, keepdims=True)
        ]
    )
    counts = CalibrationCounts()
    counts.update(posteriors, gold)
    return counts.result()


SPANS = {name: 0.5 for name in ("f1", "precision", "recall", "f1_strict", "perfect", "illegal")} | {
    "sentences": 7,
    "words": 31,
    "parameters": 12_345,
    "sentences_per_second": 100.0,
    "per_label": {"city": {"precision": 1.0, "recall": 0.25, "f1": 0.4, "support": 4}},
}


def shown(result: dict[str, Any]) -> str:
    text = io.StringIO()
    print_evaluation(result, Console(file=text, width=100))
    return text.getvalue()


def test_bars_are_as_long_as_f1() -> None:
    text = io.StringIO()
    models = [{"name": name, "f1": f1} for name, f1 in (("a", 1.0), ("longer", 0.25), ("c", 0.0))]
    print_f1(models, Console(file=text, width=80), width=20)
    head, *bars = [line.rstrip() for line in text.getvalue().splitlines()][:4]
    assert head == f"F1      0{'1':>19}"
    assert [line[8:] for line in bars] == [
        f"{'█' * 20} 1.000",
        f"{'█' * 5}{'·' * 15} 0.250",
        f"{'·' * 20} 0.000",
    ]


def test_only_figures_that_there_are_are_shown() -> None:
    bare = shown(SPANS)
    assert "ece" not in bare and "malformed" not in bare and "temperature" not in bare
    assert "12,345" in bare and "0.2500" in bare
    full = shown(SPANS | {"ece": 0.0123, "brier": 0.2, "nll": 0.3, "unexplored": 3.2e-6})
    for text in ("0.0123", "brier", "unexplored", "3.2e-06"):
        assert text in full


def test_kinds_of_malformed_outputs_and_a_fit_have_tables() -> None:
    free = shown(SPANS | {"malformed": 0.75, "malformations": {"no_end": 0.5, "empty_tag": 0.25}})
    for text in ("0.7500", "no_end", "0.5000", "counted as all O"):
        assert text in free
    one = {"temperature": 1.0, "nll": 0.9, "ece": 0.4, "brier": 0.3}
    fit = shown(SPANS | {"temperature_fit": {"before": one, "after": one | {"temperature": 2.5}}})
    for text in ("before", "after", "1.0000", "2.5000", "0.9000"):
        assert text in fit


def test_labels_in_brackets_are_text() -> None:
    figures = SPANS["per_label"]["city"]
    text = shown(SPANS | {"per_label": {"[red]": figures, "[/red]": figures}})
    assert "[red]" in text and "[/red]" in text


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)[..., :3]


def test_a_reliability_diagram(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "reliability.png"
    plots.draw_reliability(calibration(), path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width >= 600 and height >= 700
    assert [file.name for file in path.parent.iterdir()] == ["reliability.png"]
    # Bars of accuracy are there, and change with the data.
    blue = np.array([0x3B, 0x6E, 0xA8]) / 255
    there = (abs(pixels(path) - blue).max(-1) < 0.02).sum()
    assert there > 10_000
    right = CalibrationCounts()
    right.update(np.tile([0.95, 0.05], (20, 1)), np.ones(20, int))
    plots.draw_reliability(right.result(), tmp_path / "wrong.png")
    assert (abs(pixels(tmp_path / "wrong.png") - blue).max(-1) < 0.02).sum() < there / 4


def test_nothing_counted_can_be_drawn(tmp_path: Path) -> None:
    plots.draw_reliability(CalibrationCounts().result(), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 1000


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    with pytest.raises(UserError, match=r"matplotlib, which is not installed; pip install .*plot"):
        plots.draw_reliability(calibration(), tmp_path / "no.png")
    assert not list(tmp_path.iterdir())
