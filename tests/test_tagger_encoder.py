"""An encoder tagger by `Tagger` and by the command line, as every other model."""

import json
from pathlib import Path

import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.errors import UserError
from distill_jax.sentscore import DecoderSettings
from distill_jax.tagger import Tagger
from tests.tiny import LABELS, SENTENCES, save_tiny


def test_tagger(tmp_path: Path) -> None:
    directory = save_tiny(tmp_path / "m", "encoder")
    tagger = Tagger.load(directory)
    found = tagger.predict(SENTENCES)
    for words, one in zip(SENTENCES, found, strict=True):
        assert one.words == words and len(one.tags) == len(words)
        assert one.labels == LABELS.tags
        assert one.posteriors is not None
        np.testing.assert_allclose(one.posteriors.sum(-1), 1, rtol=1e-5)
    assert tagger.decoder == {"algorithm": "viterbi"}
    assert tagger.needs_windows(["x" * 40] * 20) and not tagger.needs_windows(["x"])
    with pytest.raises(UserError, match="word tagger"):
        Tagger.load(directory, decoder=DecoderSettings())


def test_command_line(tmp_path: Path) -> None:
    directory = save_tiny(tmp_path / "m", "encoder")
    data = tmp_path / "data.conll"
    data.write_text("to\tO\nberlin\tB-city\n\non\tO\nmay\tB-date_time\n4\tI-date_time\n\n")
    output = tmp_path / "out.jsonl"
    command = ["--model", str(directory), "--input", str(data), "--output", str(output)]
    assert main(["predict", *command]) == 0
    assert [json.loads(line)["words"] for line in output.read_text().splitlines()] == [
        ["to", "berlin"],
        ["on", "may", "4"],
    ]
    figures = tmp_path / "figures.json"
    assert (
        main(["evaluate", "--model", str(directory), "--data", str(data), "--json", str(figures)])
        == 0
    )
    assert json.loads(figures.read_text())["sentences"] == 2
