"""A kind of tagger that one file registers is trained, saved, used, studied and planned."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.data import demo as demo_data
from distill_jax.data import locations
from distill_jax.data.readers import write_conll
from distill_jax.kinds import registry
from distill_jax.labels.store import TeacherLabels
from distill_jax.tagger import Tagger
from tests.tiny import write_t5_start

TASK = "toy_task"
SHORT = {"TRAIN_STEPS": 2, "EVAL_PERIOD": 1, "BATCH_SIZE": 8, "WARMUP_STEPS": 1}
GIN = """
import tests.kinds.toy_kind
include 'gin/runs/common.gin'

run.job = @StudentRun()
StudentRun.student = @ToyStudent()
LEARNING_RATE = 0.1
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    work = tmp_path_factory.mktemp("toy")
    for split, size in (("train", 24), ("valid", 4), ("test", 4)):
        sentences = [s for s in demo_data.generate(split, 8 * size) if 5 <= len(s.words) <= 8]
        write_conll(work / "data" / TASK / f"{split}.conll", sentences[:size])
    (work / "toy.gin").write_text(GIN)
    registry.all_kinds()  # a module that is first imported later registers its kind once alone
    before = dict(registry._KINDS)
    with pytest.MonkeyPatch.context() as patch:
        # As if it had never been imported: importing it is what registers the kind.
        patch.delitem(sys.modules, "tests.kinds.toy_kind", raising=False)
        yield work
    registry._KINDS.clear()
    registry._KINDS.update(before)
    locations.set_data_dir(None)


def run(command: str, gin_file: str, values: dict[str, Any], *more: str) -> int:
    bindings = [f"--gin.{name}={value!r}" for name, value in values.items()]
    return main([command, f"--gin_file={gin_file}", *bindings, *more])


def data(work: Path) -> dict[str, Any]:
    return {"DATA_DIR": str(work / "data"), "PREPARED_DATA_DIR": str(work / "prepared")}


@pytest.fixture(scope="module")
def model(work: Path) -> Path:
    values = {**SHORT, **data(work), "MODEL_DIR": str(work / "run"), "TOY_WIDTH": 3}
    splits = {"TRAIN_SPLIT": "train", "EVAL_SPLIT": "valid", "MIXTURE_OR_TASK_NAME": TASK}
    assert run("train", str(work / "toy.gin"), {**values, **splits}) == 0
    return work / "run" / "model"


def test_it_is_saved_and_loaded(model: Path) -> None:
    assert json.loads((model / "config.json").read_text())["width"] == 3
    assert "of the kind toy," in (model / "README.md").read_text()
    [tagged] = Tagger.load(model).predict(["play wow by jon theodore"])
    assert len(tagged.tags) == 5 and tagged.posteriors is not None
    np.testing.assert_allclose(tagged.posteriors.sum(-1), 1, rtol=1e-5)


def test_it_predicts_evaluates_and_labels(work: Path, model: Path, tmp_path: Path) -> None:
    text = tmp_path / "in.txt"
    text.write_text("play wow by jon theodore\n")
    out = tmp_path / "out.jsonl"
    options = ["--model", str(model), "--input", str(text), "--output"]
    assert main(["predict", *options, str(out)]) == 0
    assert len(json.loads(out.read_text())["tags"]) == 5
    test = str(work / "data" / TASK / "test.conll")
    assert main(["evaluate", "--model", str(model), "--data", test]) == 0
    assert main(["label", *options, str(tmp_path / "labels")]) == 0
    assert len(TeacherLabels(tmp_path / "labels")) == 1
    # Of what it does not have it says so.
    assert main(["predict", *options, "-", "--decoder", "greedy"]) == 2


def test_a_command_that_reads_no_gin_file_is_told_of_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As in a process of its own, which knows nothing of the one that trained.
    monkeypatch.delitem(registry._KINDS, "toy")
    monkeypatch.delitem(sys.modules, "tests.kinds.toy_kind")
    text = tmp_path / "in.txt"
    text.write_text("play wow by jon theodore\n")
    command = ["predict", "--model", str(model), "--input", str(text), "--output", "-"]
    assert main(command) == 2
    assert "model_type is 'toy', not one of" in (error := capsys.readouterr().err)
    assert "--kind_modules" in error
    assert main([*command, "--kind_modules", "tests.kinds.no_such_kind"]) == 2
    assert "'tests.kinds.no_such_kind' cannot be imported" in capsys.readouterr().err
    assert main([*command, "--kind_modules", "tests.kinds.toy_kind"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tags"]) == 5


def test_it_learns_by_a_loss_of_its_own_file(work: Path) -> None:
    values = {**SHORT, **data(work), "MODEL_DIR": str(work / "loss"), "TOY_SHARE": 0.9}
    splits = {"TRAIN_SPLIT": "train", "EVAL_SPLIT": "valid", "MIXTURE_OR_TASK_NAME": TASK}
    gin = work / "loss.gin"
    gin.write_text(GIN + "StudentRun.loss = @ToyLoss()\n")
    assert run("train", str(gin), {**values, **splits}) == 0
    own, other = (work / name / "model" / "model.safetensors" for name in ("loss", "run"))
    assert own.read_bytes() != other.read_bytes()


def test_it_is_planned(work: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    shapes = {"CompileShapes.words": 8, "CompileShapes.num_words": 50, "CompileShapes.labels": 4}
    more = ["--topology", "cpu", "--json", str(report)]
    values = {"BATCH_SIZE": 8, "TRAIN_STEPS": 2, "CompileShapes.input_tokens": 18, **shapes}
    assert run("compile", str(work / "toy.gin"), values, *more) == 0
    found = json.loads(report.read_text())
    assert found["name"] == "distil" and found["parameters"]["parameters"] == 50 * 4 + 4 * 6 + 6


@pytest.mark.slow
def test_it_is_studied(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module("tests.kinds.toy_kind")
    write_t5_start(work / "start")
    gin = work / "study.gin"
    gin.write_text(
        "include 'gin/runs/fewshot_study.gin'\n"
        "StudyRun.others = (@toy_student/StudentRun(),)\n"
        "toy_student/StudentRun.student = @ToyStudent()\n"
        "TOY_STUDENT_TRAIN_STEPS = 2\nTOY_STUDENT_EVAL_PERIOD = 1\nTOY_STUDENT_BATCH_SIZE = 8\n"
        "TOY_STUDENT_LEARNING_RATE = 0.1\n"
    )
    steps = {
        f"{who}_{what}": 1 for who in ("TEACHER", "STUDENT") for what in ("STEPS", "EVAL_PERIOD")
    }
    sizes = {
        f"BiLSTMConfig.{name}": 4 for name in ("word_dim", "char_dim", "char_hidden", "hidden")
    }
    values = {
        **data(work),
        **steps,
        **sizes,
        "STUDY_DIR": str(work / "study"),
        "INITIAL_CHECKPOINT_PATH": str(work / "start"),
        "DATASETS": (TASK,),
        "SIZES": ("8/4",),
        "SILVER": (8,),
        "SEEDS": (0,),
        "LAMBDAS": (1.0,),
        "TEACHER_MENTION_COPIES": 0,
        "TASK_FEATURE_LENGTHS": {"inputs": 96, "targets": 96},
    }
    assert run("study", str(gin), values) == 0
    lines = (work / "study" / "results.csv").read_text().splitlines()
    assert any(",toy-student," in line for line in lines)
