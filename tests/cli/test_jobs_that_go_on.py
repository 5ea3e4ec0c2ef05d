"""`predict` and `label` go on: from pipes, and past words that are too long."""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_jax.cli import main
from distill_jax.labels.store import TeacherLabels
from distill_jax.tagger import Tagger
from tests.tiny import save_tiny

LONG = "data:image/png;base64," + "x" * 1200


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each kind."""
    folder = tmp_path_factory.mktemp("models")
    for kind in ("bilstm", "t5", "encoder"):
        save_tiny(folder / kind, kind)
    return folder


# ---- pipes -------------------------------------------------------------------------------------


class Piped:
    """A command between two pipes, in a thread of its own."""

    def __init__(self, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        ends = [os.pipe(), os.pipe()]
        monkeypatch.setattr(sys, "stdin", os.fdopen(ends[0][0], "r"))
        monkeypatch.setattr(sys, "stdout", os.fdopen(ends[1][1], "w"))
        self._input = os.fdopen(ends[0][1], "wb", buffering=0)
        self._output = os.fdopen(ends[1][0], "r")
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run, args=(arguments,), daemon=True)
        self._thread.start()

    def _run(self, arguments: list[str]) -> None:
        self.code = main(arguments)
        sys.stdout.close()

    def write(self, text: str) -> None:
        self._input.write(text.encode())

    def answer(self) -> dict[str, Any]:
        """The next line, waited for."""
        line: list[str] = []
        reader = threading.Thread(target=lambda: line.append(self._output.readline()), daemon=True)
        reader.start()
        reader.join(60)
        assert line, "no answer while the next sentence is not there"
        return json.loads(line[0])

    def end(self) -> list[dict[str, Any]]:
        """Closes the input; what was answered besides."""
        self._input.close()
        rest = [json.loads(line) for line in self._output]
        self._thread.join(60)
        self._output.close()
        sys.stdin.close()
        return rest


@pytest.mark.parametrize(
    ("sentences", "options"),
    [
        (["play wow by jon\n", "\n", "call mara\n"], []),
        (["call B-mara\n", "stop\n", "go\n"], ["--format", "text"]),  # may be columns otherwise
        (['{"text": "play wow"}\n', '{"text": "stop"}\n', '{"text": "go on"}\n'], []),
        (["play\tO\nwow\tB-x\n\n", "stop\tO\n\n", "go\tO\n\n"], []),
        (["play\nwow\n\n", "stop\n\n", "go\n\n"], ["--columns", "1", "--format", "conll"]),
        (["play wow\tO B-x\n", "stop now\tO O\n", "go\tO\n"], []),
    ],
    ids=["text", "text, said", "JSON lines", "columns", "columns, said", "tsv"],
)
def test_each_sentence_is_answered_before_the_next_one_comes(
    models: Path, sentences: list[str], options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["predict", "--model", str(models / "bilstm"), "--batch_size", "1", *options]
    piped = Piped([*command, "--input", "-", "--output", "-"], monkeypatch)
    answers = []
    for sentence in sentences:
        piped.write(sentence)
        answers.append(piped.answer())
    assert piped.end() == [] and piped.code == 0
    assert answers[0]["words"][0] in ("play", "call")
    assert answers[1]["words"] in ([], ["stop"], ["stop", "now"])
    assert all(len(answer["tags"]) == len(answer["words"]) for answer in answers)


def test_what_comes_before_a_malformed_line_is_answered(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", "--model", str(models / "bilstm"), "--input", "-", "--output", "-"]
    piped = Piped(command, monkeypatch)
    piped.write('{"text": "to berlin"}\n{"text": "to rome"}\n{"text": \n')
    assert [answer["words"] for answer in piped.end()] == [["to", "berlin"], ["to", "rome"]]
    assert piped.code == 2
    assert "<stdin>:3: not JSON" in capsys.readouterr().err


def test_a_named_pipe_is_read_like_standard_input(models: Path, tmp_path: Path) -> None:
    pipe, output = tmp_path / "pipe", tmp_path / "out.jsonl"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text("to berlin\nto rome\n"))
    writer.start()
    command = ["predict", "--model", str(models / "bilstm"), "--input", str(pipe)]
    assert main([*command, "--output", str(output)]) == 0
    writer.join()
    assert [json.loads(line)["words"][1] for line in output.read_text().splitlines()] == [
        "berlin",
        "rome",
    ]


def test_label_from_standard_input_and_a_file(
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same store as from files alone, and nothing of what was put aside stays."""
    aside = tmp_path / "aside"
    aside.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(aside))
    (tmp_path / "a.txt").write_text("to berlin\n\nto rome\n")
    (tmp_path / "b.txt").write_text("on may 4\nto rome\n")

    def label(store: str, *files: str) -> dict[str, bytes]:
        command = ["label", "--model", str(models / "bilstm"), "--shard_size", "2"]
        assert main([*command, "--output", str(tmp_path / store), "--input", *files]) == 0
        assert "left out 1 without words and 1 that occur before" in capsys.readouterr().err
        assert not list(aside.iterdir())
        return {path.name: path.read_bytes() for path in (tmp_path / store).iterdir()}

    whole = label("files", str(tmp_path / "a.txt"), str(tmp_path / "b.txt"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"to berlin\n\nto rome\n")))
    assert label("piped", "-", str(tmp_path / "b.txt")) == whole


def test_an_error_does_not_wait_for_more(models: Path) -> None:
    """Nor crash Python, which ends while a thread still waits for input."""
    command = [sys.executable, "-m", "distill_jax", "predict", "--model", str(models / "t5")]
    process = subprocess.Popen(
        [*command, "--strict", "--input", "-", "--output", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stderr is not None
    process.stdin.write(f"see {LONG}\n")
    process.stdin.flush()
    assert process.wait(120) == 2
    [said] = process.stderr.read().splitlines()
    assert said.startswith("distill-jax: error: <stdin>:1: word 2")
    process.stdin.close()
    process.stderr.close()


# ---- words that are too long -------------------------------------------------------------------

Predict = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture(params=["t5", "encoder"])
def tagged(
    request: pytest.FixtureRequest,
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Predict:
    """Runs `predict` on a text: exit code, answers, and what was said."""

    def predict(text: str, *options: str) -> tuple[int, list[dict[str, Any]], str]:
        (tmp_path / "in.txt").write_text(text)
        command = ["predict", "--model", str(models / request.param)]
        command += ["--input", str(tmp_path / "in.txt"), "--output", "-", *options]
        code = main(command)
        shown = capsys.readouterr()
        return code, [json.loads(line) for line in shown.out.splitlines()], shown.err

    return predict


def test_predict_goes_on_past_a_word_that_is_too_long(tagged: Predict, tmp_path: Path) -> None:
    lines = ["to rome", f"see {LONG} now", "", "to berlin"]
    code, found, said = tagged("\n".join(lines) + "\n")
    assert code == 0
    assert [record["words"] for record in found] == [line.split() for line in lines]
    assert [record.get("truncated_words") for record in found] == [None, [1], None, None]
    assert len(found[1]["tags"]) == 3
    empty, count, place = said.splitlines()
    assert empty == f"{tmp_path / 'in.txt'}: sentences without words: 1"
    assert count == "words too long for the model, which reads their beginning alone: 1"
    assert place.startswith(f"{tmp_path / 'in.txt'}:2: word 2 ('data:image/png") and "1222" in place
    code, found, said = tagged("\n".join(lines) + "\n", "--strict")
    assert code == 2 and not found
    [error] = said.splitlines()
    assert "in.txt:2: word 2" in error and "--strict" in error
    assert tagged("to rome\n\n", "--strict")[0] == 0  # a blank line is no error


@pytest.mark.parametrize("kind", ["t5", "encoder", "bilstm"])
def test_label_goes_on_past_a_word_that_is_too_long(
    models: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text(f"to rome\n\n\nsee {LONG} now\nto berlin\n")
    command = ["label", "--model", str(models / kind), "--input", str(tmp_path / "in.txt")]
    command += ["--output", str(tmp_path / "store"), "--shard_size", "1"]
    if kind != "bilstm":
        assert main([*command, "--strict"]) == 2
        assert "in.txt:4: word 2 ('data:image" in capsys.readouterr().err
        assert len(list((tmp_path / "store").glob("*.array_record"))) == 1
    assert main(command) == 0
    summary, *places = capsys.readouterr().err.splitlines()
    assert "3 sentences labelled; left out 2 without words" in summary
    assert [label.words for label in TeacherLabels(tmp_path / "store")][1][1] == LONG
    if kind == "bilstm":
        assert places == []
    else:
        assert places[0].endswith(": 1") and places[1].startswith(f"{tmp_path / 'in.txt'}:4: ")


def test_from_python_too(models: Path) -> None:
    tagger = Tagger.load(models / "t5")
    found = tagger.predict([f"{LONG} to {LONG}", "to rome"])
    assert [one.truncated_words for one in found] == [(0, 2), ()]
    assert found[0].to_json()["truncated_words"] == [0, 2]
