"""Recipes with the teacher in the training step, by their Gin files, with tiny models."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.configuration import differences, to_json
from distill_jax.interop.hf.checkpoint import read_hf
from distill_jax.jobs.launch import configured
from distill_jax.jobs.student import load_step_teacher
from distill_jax.kinds.base import Model
from distill_jax.model_dir.directory import save_model
from distill_jax.models.stacking import unstack_layers
from distill_jax.vocab import load_vocabulary
from tests.jobs.test_recipes import LABELS, TINY, facts, options, train, work  # noqa: F401

LENGTHS = {"TASK_FEATURE_LENGTHS": {"inputs": 96, "targets": 96}}


@pytest.fixture(scope="module")
def teacher(work: Path) -> str:  # noqa: F811
    config, params = read_hf(work / "start")
    vocabulary = load_vocabulary(work / "start")
    save_model(work / "teacher", Model(config, params, vocabulary, LABELS))
    return str(work / "teacher")


def test_a_bilstm(work: Path, teacher: str) -> None:  # noqa: F811
    execution = {
        "teacher/T5Execution.scan_layers": True,
        "TEACHER_LOGICAL_AXIS_RULES": {"embed": None, "mlp": ("model", "fsdp")},
    }
    student = train(work, "distil_online", "online", {**TINY, "TEACHER": teacher, **execution})
    assert facts(student)["online_teacher"] and facts(student)["recipe"] == "kd"
    assert facts(student)["silver_sentences"] == 8
    saved = b"".join(
        path.read_bytes()
        for path in (work / "online" / "checkpoints").rglob("_METADATA")
        if path.is_file()
    )
    # Checkpoints hold the student's parameters and none of the teacher's.
    assert b"word_embedding" in saved and b"token_embedder" not in saved
    assert "token_embedder" not in student.params


def test_a_t5_by_posteriors_and_by_tokens(work: Path, teacher: str) -> None:  # noqa: F811
    start = {
        **LENGTHS,
        "TEACHER": teacher,
        "INITIAL_CHECKPOINT_PATH": str(work / "start"),
        "ENCODER_LAYERS": (0,),
        "DECODER_LAYERS": (1,),
    }
    online = train(work, "distil_t5_online", "t5-online", {**start, "KL_WEIGHT": 0.0})
    assert facts(online)["recipe"] == "pseudo"
    tokens = train(
        work, "distil_t5_tokens", "t5-tokens", {**start, "TEACHER_LABELS": str(work / "labels0")}
    )
    assert facts(tokens)["recipe"] == "kd" and facts(tokens)["online_teacher"]
    for model in (online, tokens):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model.params))


def test_a_teacher_is_computed_as_its_own_scope_says(teacher: str) -> None:
    given = [f"TEACHER = {teacher!r}", "MODEL_DIR = 'm'", "MIXTURE_OR_TASK_NAME = 't'"]
    student = [*given, "T5Execution.dtype = 'bfloat16'"]

    def data(*bindings: str) -> Any:
        return configured(["gin/runs/distil_t5_online.gin"], [*student, *bindings]).data

    plain = load_step_teacher(data().teacher, LABELS, "the test")
    assert (plain.model.config.dtype, plain.model.config.scan_layers) == ("float32", False)
    assert "layers_0" in plain.params()["encoder"]
    with_scan = data("teacher/T5Execution.scan_layers = True")
    scanned = load_step_teacher(with_scan.teacher, LABELS, "the test")
    assert scanned.model.config == plain.model.config.replace(scan_layers=True, dtype="bfloat16")
    for one, two in zip(
        jax.tree.leaves(unstack_layers(scanned.params())),
        jax.tree.leaves(plain.params()),
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)
    # A run that goes on with another execution of its teacher is told so.
    before, now = (to_json(each, identity=True) for each in (data(), with_scan))
    assert [difference.name for difference in differences(before, now)] == ["teacher.execution"]


@pytest.mark.parametrize(
    ("gin_file", "values", "message"),
    [
        ("distil_online", {}, "TEACHER is required"),
        ("distil_online", {"TEACHER_LABELS": "x"}, "goes with neither TEACHER_LABELS"),
        (
            "distil_t5_tokens",
            {"TEACHER_LABELS": None, "VOCABULARY": "byte"},
            "one vocabulary for teacher and student",
        ),
        ("distil_t5", {"TEACHER_LABELS": None, "TOKEN_LEVEL": True}, "needs the teacher itself"),
        (
            "distil_t5",
            {"TEACHER_LABELS": None, "TOKEN_LEVEL": True, "TEACHER": "teacher", "LOGIT_CHUNKS": 2},
            "LOGIT_CHUNKS is 2, but token-level",
        ),
    ],
)
def test_bad_recipes(
    work: Path,  # noqa: F811
    teacher: str,
    capfd: pytest.CaptureFixture[str],
    gin_file: str,
    values: dict[str, Any],
    message: str,
) -> None:
    if "required" not in message and gin_file != "distil_t5":
        values = {"TEACHER": teacher, **values}
    command = ["train", f"--gin_file=gin/runs/{gin_file}.gin"]
    assert main([*command, *options(work, "bad", values)]) == 2
    assert message in capfd.readouterr().err
