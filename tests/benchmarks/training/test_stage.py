"""The benchmark of a stage's step, of tiny models: what it counts, and that it runs."""

import json
from pathlib import Path

import pytest

from benchmarks.training import stage


def test_it_times_a_step_and_counts_its_operations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "stage",
        "--quick",
        "--rounds=1",
        "--batch=2",
        "--json",
        str(tmp_path / "found.json"),
    ]
    monkeypatch.setattr("sys.argv", arguments)
    assert stage.main() in (0, 1)
    assert "share of the matrix rate" in capsys.readouterr().out
    step, teacher = json.loads((tmp_path / "found.json").read_text())["rows"]
    # The student is computed forwards and backwards beside the teacher.
    assert step["gflop"] > teacher["gflop"] > 0
    assert step["seconds"] > 0
