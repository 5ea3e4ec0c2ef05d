"""What t5x.infer labelled becomes a store, which is the one that `label` would have written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.labels.store import TeacherLabels
from distill_jax.tagging import LabelSet

LABELS = LabelSet(("city",))  # O, I, city


def line(words: list[str], tags: list[int], scores: list[list[float]], padding: int = 2) -> str:
    """As t5x writes it: padded to the task's length, no infinities."""
    aux: dict[str, Any] = {
        "tags": tags + [0] * padding,
        "num_words": len(words),
        "log_likelihoods": scores + [[0.0] * 3] * padding,
        "posteriors": scores + [[0.0] * 3] * padding,
    }
    return json.dumps({"inputs": {"words": [*words, "", ""]}, "prediction": "…", "aux": aux}) + "\n"


FIRST = line(["to", "são"], [0, 2], [[-0.1, -1e30, -2.0], [-3.0, -1e30, -0.2]])
SECOND = line(["here"], [0], [[-0.1, -1e30, -9.0]])
EMPTY = line([], [], [])


def label(folder: Path, *options: str) -> int:
    LABELS.save(folder / "labels.txt")
    command = ["label", "--from", "t5x_infer", "--labels", str(folder / "labels.txt")]
    return main([*command, "--output", str(folder / "store"), *options])


def test_a_store_of_what_was_inferred(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(FIRST + EMPTY + "\n", "utf-8")
    (tmp_path / "b.jsonl").write_text(FIRST + SECOND, "utf-8")
    files = ("--input", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"))
    assert label(tmp_path, *files, "--shard_size", "1") == 0
    store = TeacherLabels(tmp_path / "store")
    store.verify()
    assert [found.words for found in store] == [("to", "são"), ("here",)]
    assert store[0].tag_ids.tolist() == [0, 2]
    posteriors = np.exp(store[0].log_posteriors)
    expected = np.exp([[-0.1, -np.inf, -2.0], [-3.0, -np.inf, -0.2]])
    np.testing.assert_allclose(posteriors, expected / expected.sum(-1, keepdims=True), rtol=2e-3)
    # A job that was interrupted goes on.
    for file in (tmp_path / "store").glob("part-00001-*"):
        file.unlink()
    (tmp_path / "store/manifest.json").unlink()
    assert label(tmp_path, *files, "--shard_size", "1") == 0
    again = TeacherLabels(tmp_path / "store")
    again.verify()
    assert again.content_hash() == store.content_hash()


@pytest.mark.parametrize(
    ("content", "options", "fault"),
    [
        ("{", (), "in.jsonl:1: not what t5x.infer writes"),
        (FIRST + '{"inputs": {}, "aux": {}}\n', (), "in.jsonl:2: not what t5x.infer writes"),
        (FIRST.replace('"words": ["to", ', '"words": ["to", "x", '), (), "5 words, of which 2"),
        (FIRST.replace("[0, 2, ", "[0, 7, "), (), "tag 7 of 3"),
        (FIRST.replace("-0.2]", "-0.2, 0.0]"), (), "in.jsonl:1: not what"),
        (line(["a"], [0], [[0.0] * 4]), (), "in.jsonl:1: 4 tags, and the labels have 3"),
        (EMPTY, (), "there are no sentences"),
        (FIRST, ("--model", "x"), "leave out --model"),
        (None, (), "in.jsonl: cannot be read"),
    ],
)
def test_what_is_refused(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    content: str | None,
    options: tuple[str, ...],
    fault: str,
) -> None:
    if content is not None:
        (tmp_path / "in.jsonl").write_text(content, "utf-8")
    assert label(tmp_path, "--input", str(tmp_path / "in.jsonl"), *options) == 2
    [message] = capfd.readouterr().err.splitlines()
    assert fault in message
    assert not (tmp_path / "store").exists()


def test_labels_are_of_other_models(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "--labels", "l.txt", "--model", "m", "--output", "o"]) == 2
    assert "--labels is for --from" in capfd.readouterr().err
