"""`distill-jax fit` from the outside: with a teacher that knows the labels, stopped, and gone on with."""

import contextlib
import io
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from distill_jax.cli import main
from distill_jax.configuration import to_json
from distill_jax.data.readers import read_sentences, write_conll
from distill_jax.jobs import fit_training
from distill_jax.jobs.fit_teacher import teacher_source
from distill_jax.jobs.launch import configured
from distill_jax.labels.store import TeacherLabels
from distill_jax.model_dir.directory import load_model, model_hash
from distill_jax.tagger import Tagger
from distill_jax.tagging import LabelSet, Sentence
from tests.compiled_once import cache_environment, compiled_once
from tests.killing import KILLS
from tests.tiny import save_tiny
from tests.tiny_bert import write_encoder, write_wordpieces

CITIES = ("rome", "oslo", "lima", "bonn")
TINY = ("word_dim=6", "char_dim=4", "char_hidden=4", "hidden=8")
OUTPUT = ("data", "labels", "model", "fit", "prepared")


def sentence(number: int) -> Sentence:
    tags = ("O", "B-city", "O", "B-date_time")
    return Sentence(("to", CITIES[number % 4], "on", f"may{number}"), tags)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of data, unlabelled text, and a teacher; programs are compiled once."""
    work = tmp_path_factory.mktemp("fit")
    write_conll(work / "own" / "train.conll", [sentence(n) for n in range(30)])
    write_conll(work / "own" / "test.conll", [sentence(n) for n in range(30, 34)])
    pool = "".join(" ".join(sentence(n).words) + "\n" for n in range(40, 60))
    (work / "pool.txt").write_text(pool)
    save_tiny(work / "teacher", "bilstm")
    with compiled_once(str(work / "xla")):
        yield work


def written(out: Path) -> set[tuple[Path, int]]:
    """Files with their sizes, but for what a start writes before it goes on."""
    found = set()
    for path in out.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and path.name not in ("log.txt", ".lock"):
                found.add((path, path.stat().st_size))
    return found


def arguments(work: Path, *more: str, out: str = "out") -> list[str]:
    student = [f"--gin.BiLSTMConfig.{size}" for size in TINY]
    own = ["--unlabelled", str(work / "pool.txt"), "--teacher", str(work / "teacher"), "--steps=4"]
    return ["fit", str(work / "own"), *own, "--out", out, *student, *more]


@pytest.fixture(scope="module")
def fitted(work: Path) -> tuple[Path, str]:
    """The folder of an undisturbed `fit`, and what it printed."""
    (work / "a").mkdir()
    before = Path.cwd()
    os.chdir(work / "a")
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert main(arguments(work)) == 0
    finally:
        os.chdir(before)
    return work / "a" / "out", printed.getvalue()


def test_it_leaves_a_calibrated_exported_student_and_says_how_to_use_it(
    fitted: tuple[Path, str],
) -> None:
    out, printed = fitted
    lines = printed.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert "6 of the 30 sentences are held out as one" in printed
    assert "24 gold and 20 silver sentences" in printed
    assert lines[-1] == "use it: distill-jax predict --model out/onnx --input FILE --output -"
    assert Tagger.load(out / "model").settings.temperature != 1.0
    assert (out / "onnx" / "model.onnx").is_file()
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == {"student", "teacher"}
    assert metrics["student"]["test"]["sentences"] == 4
    assert "How it was made" in (out / "report.html").read_text()
    assert len(TeacherLabels(out / "labels")) == 44
    valid = list(read_sentences(out / "data" / "own_data" / "valid.jsonl"))
    assert len(valid) == 6


def test_its_gin_file_is_the_run(fitted: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = fitted
    monkeypatch.chdir(out.parent)
    run = configured(["out/fit/student.gin"])
    assert run.student.model.hidden == 8
    posteriors, gold = (stage.training.schedule for stage in run.stages)
    assert (posteriors.train_steps, gold.train_steps, gold.eval_period) == (4, 20, 1)
    assert run.data.teacher_labels == "out/labels"
    assert to_json(run) == to_json(configured(["out/fit/student.gin"], ["SEED=0"]))


def test_the_first_steps_of_a_run_are_timed_and_leave_nothing(
    fitted: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = fitted
    monkeypatch.chdir(out.parent)
    ran: list[Any] = []

    def kept(*given: Any) -> Any:
        ran.append(configured(*given))
        return ran[-1]

    monkeypatch.setattr(fit_training, "configured", kept)
    rate = fit_training.measured_rate((out / "fit" / "student.gin").read_text(), 8, tmp_path)
    assert rate.step > 0 and rate.evaluation > 0 and rate.start >= 0
    assert not list(tmp_path.iterdir())
    [run] = ran
    for stage, wanted in zip(run.stages, (4, 20), strict=True):
        assert stage.training.schedule.train_steps == 8
        # The rate's schedule is a constant of the program, which the run itself can then take over.
        assert stage.training.optimizer.learning_rate.steps == wanted


def test_run_again_it_does_nothing_and_other_settings_are_refused(
    work: Path,
    fitted: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, printed = fitted
    monkeypatch.chdir(out.parent)
    before = (out / "model" / "model.safetensors").stat().st_mtime_ns
    assert main(arguments(work)) == 0
    again = capsys.readouterr().out
    assert again.splitlines()[:-2] == printed.splitlines()[:-2]  # but for the minutes
    assert (out / "model" / "model.safetensors").stat().st_mtime_ns == before
    for given, said in (
        ("--seed=1", "another --seed"),
        ("--steps=5", "other --steps"),
        ("--gin.LEARNING_RATE=0.1", "other --gin options"),
    ):
        assert main(arguments(work, given)) == 2
        wanted = f"out: was made with {said}; give another --out, or delete the folder"
        assert wanted in capsys.readouterr().err
    (out.parent / "full").mkdir()
    (out.parent / "full" / "mine.txt").write_text("keep")
    assert main(arguments(work, out="full")) == 2
    assert "was not made by distill-jax fit" in capsys.readouterr().err
    assert main(arguments(work, "--gin.DROPUOT=0.1", out="typo")) == 2
    assert "--gin.DROPUOT: this run uses no macro of this name" in capsys.readouterr().err


def test_without_text_the_teacher_labels_variants_of_the_labelled_sentences(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [
        each for each in arguments(work) if each not in ("--unlabelled", str(work / "pool.txt"))
    ]
    assert main(given) == 0
    printed = capsys.readouterr().out
    variants = list(read_sentences(tmp_path / "out" / "data" / "unlabelled.jsonl"))
    assert f"the teacher labels {len(variants):,} variants of train" in printed
    assert f"24 gold and {len(variants):,} silver sentences" in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert len(TeacherLabels(tmp_path / "out" / "labels")) == 24 + len(variants)
    assert "their variants, mentions swapped" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_files(
    work: Path, fitted: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed a moment after it has written something, again and again."""
    undisturbed, _ = fitted
    (work / "b").mkdir()
    monkeypatch.chdir(work / "b")
    dice, kills = random.Random(0), 0
    while kills < KILLS:
        process = subprocess.Popen(
            [sys.executable, "-m", "distill_jax", *arguments(work)],
            env=os.environ | cache_environment(str(work / "xla")) | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        before = written(Path("out"))
        try:
            while process.poll() is None and written(Path("out")) == before:
                time.sleep(0.01)
            time.sleep(dice.uniform(0, 0.5))
            if process.poll() is not None:
                break
            kills += 1
        finally:
            process.kill()
            process.wait()
    assert kills >= min(KILLS, 5)
    half = Path("out/.model.tmp-half")
    half.mkdir()
    assert main(arguments(work)) == 0
    assert not half.exists()
    assert model_hash("out/model") == model_hash(undisturbed / "model")
    for name in ("data/own_data/train.jsonl", "data/unlabelled.jsonl", "fit/student.gin"):
        assert Path("out", name).read_bytes() == (undisturbed / name).read_bytes()
    assert Path("out/metrics.json").read_bytes() == (undisturbed / "metrics.json").read_bytes()
    store = TeacherLabels("out/labels").content_hash()
    assert store == TeacherLabels(undisturbed / "labels").content_hash()
    names = {path.relative_to("out") for path in Path("out").rglob("*") if path.suffix == ".json"}
    assert names == {path.relative_to(undisturbed) for path in undisturbed.rglob("*.json")}


def test_without_a_teacher_it_says_what_would_help(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = [f"--gin.BiLSTMConfig.{size}" for size in TINY]
    out = str(tmp_path / "out")
    data = str(work / "own" / "train.conll")
    assert main(["fit", data, "--out", out, "--steps=2", *student]) == 0
    assert "what would help: --teacher DIR" in capsys.readouterr().out
    assert load_model(f"{out}/model").metadata["training"]["recipe"] == "gold"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--minutes=0.2"], "--minutes 0.2 is too little"),
        (["--teacher=nowhere/at/all"], "no such directory"),
        (["--student=bert"], "takes layers of a BERT"),
        (["--gin.TRAIN_STEPS=3"], "--gin.TRAIN_STEPS: is said by --steps"),
        (["--gin.MODEL_DIR=x"], "--gin.MODEL_DIR: is what fit itself sets"),
        (["--vectors=nowhere.txt"], "nowhere.txt: cannot be read"),
        (["--vectors=PLAIN"], "its first line is neither a word with its numbers nor a header"),
        (["--teacher=EMPTY"], "has no model.safetensors"),
        (["--teacher=MUTE"], "no vocabulary here"),
        (["--teacher=CUT"], "model.safetensors: "),
        (["--teacher=EXPORT"], "an export, of which no teacher is made"),
        (["--teacher=OTHER"], "of which no teacher can be made"),
        (["--unlabelled", "nowhere.txt"], "nowhere.txt: cannot be read"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(
    work: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    types = {"EMPTY": "bert", "OTHER": "gpt2", "MUTE": "bert", "CUT": "t5"}
    for name, model_type in types.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": model_type}))
    weights = (work / "teacher" / "model.safetensors").read_bytes()
    for name, size in (("OTHER", None), ("MUTE", None), ("CUT", -1)):
        (tmp_path / name / "model.safetensors").write_bytes(weights[:size])
    (tmp_path / "PLAIN").write_text("a line of many words\n")
    (tmp_path / "EXPORT").mkdir()
    (tmp_path / "EXPORT" / "model.onnx").write_bytes(b"")
    options = [re.sub("(?<==)[A-Z]+$", lambda m: str(tmp_path / m[0]), each) for each in options]
    out = tmp_path / "out"
    assert main(["fit", str(work / "own"), "--out", str(out), *options]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_berts_ids_of_positions_are_no_fault(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    write_wordpieces(tmp_path, CITIES)
    tensors = load_file(tmp_path / "model.safetensors")
    ids = np.arange(8)[None]  # int64, as older checkpoints have them
    save_file({**tensors, "embeddings.position_ids": ids}, tmp_path / "model.safetensors")
    assert teacher_source(str(tmp_path), LabelSet(("city",))).kind == "bert"


def test_out_that_is_a_file_is_left_alone(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    assert main(["fit", str(work / "own"), "--out", str(out)]) == 2
    assert f"--out {out}: is a file; give a folder" in capsys.readouterr().err
    assert out.read_text() == "mine"


@pytest.mark.slow
def test_a_bert_is_fine_tuned_and_some_of_its_layers_are_the_student(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_encoder(tmp_path / "bert")
    write_wordpieces(
        tmp_path / "bert", ["to", "on", *CITIES, "may", *(f"##{d}" for d in range(10))]
    )
    out = tmp_path / "out"
    own = ["--teacher", str(tmp_path / "bert"), "--student=bert"]
    steps = ["--teacher_steps=2", "--steps=2"]
    assert main(["fit", str(work / "own"), *own, *steps, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "teacher: bert, fine-tuned: 2 steps" in printed
    assert printed.splitlines()[-1] == (
        f"use it: distill-jax predict --model {out}/onnx --input FILE --output -"
    )
    assert load_model(out / "teacher" / "model").config.num_layers == 3
    assert load_model(out / "model").config.num_layers == 2
    assert (out / "onnx" / "model.onnx").is_file()
    assert (
        f"distill-jax train --gin_file={out}/fit/teacher.gin" in (out / "fit/steps.sh").read_text()
    )
