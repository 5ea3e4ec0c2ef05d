"""The training run of docs/configuration.md, as it stands there, on a small task."""

import re
from pathlib import Path

import pytest

from distill_jax.data import demo as demo_data
from distill_jax.data import locations
from distill_jax.data.readers import write_conll
from distill_jax.model_dir.directory import load_model

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_run_without_gin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [snippet] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert len(snippet.splitlines()) <= 30
    for split, size in (("train", 24), ("valid", 4)):
        sentences = [s for s in demo_data.generate(split, 8 * size) if 5 <= len(s.words) <= 8]
        write_conll(tmp_path / "data" / "snips" / f"{split}.conll", sentences[:size])
    demo_data.LABELS.save(tmp_path / "data" / "snips" / "labels.txt")
    small = {
        "../shared/data": str(tmp_path / "data"),
        '"runs/snips/labels"': "None",
        "runs/bilstm": str(tmp_path / "run"),
        "gold100_dev50": "gold8_dev4",
        "8000": "1",
        "hidden=200": "hidden=4, word_dim=4, char_dim=2, char_hidden=2",
    }
    for text, value in small.items():
        assert text in snippet
        snippet = snippet.replace(text, value)
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, str(DOCUMENT), "exec"), {})
    locations.set_data_dir(None)
    assert load_model(tmp_path / "run" / "model").config.hidden == 4
