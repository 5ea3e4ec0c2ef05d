"""Recipes with the teacher in the training step, by their Gin files, with tiny models."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.configuration import differences, to_json
from distill_jax.errors import UserError
from distill_jax.interop.hf.checkpoint import read_hf
from distill_jax.jobs.launch import configured
from distill_jax.jobs.student import TeacherInStep, load_step_teacher
from distill_jax.kinds.base import Model
from distill_jax.model_dir.directory import save_model
from distill_jax.models.stacking import unstack_layers
from distill_jax.models.t5_config import T5Execution
from distill_jax.tagging import LabelSet
from distill_jax.vocab import load_vocabulary
from tests.jobs.test_recipes import LABELS, TINY, facts, options, train, work  # noqa: F401
from tests.tiny import LABELS as TINY_LABELS
from tests.tiny import bert_params, save_tiny
from tests.tiny_bert import BERT

LENGTHS = {"TASK_FEATURE_LENGTHS": {"inputs": 96, "targets": 96}}


@pytest.fixture(scope="module")
def teacher(work: Path) -> str:  # noqa: F811
    config, params = read_hf(work / "start")
    vocabulary = load_vocabulary(work / "start")
    save_model(work / "teacher", Model(config, params, vocabulary, LABELS))
    return str(work / "teacher")


@pytest.fixture(scope="module")
def bert_teacher(work: Path) -> str:  # noqa: F811
    config = BERT.replace(num_tags=LABELS.num_tags, num_layers=1)
    vocabulary = load_vocabulary(work / "bert")
    save_model(work / "bert-teacher", Model(config, bert_params(config), vocabulary, LABELS))
    return str(work / "bert-teacher")


@pytest.mark.slow
def test_a_bert_taught_by_a_bert(work: Path, bert_teacher: str) -> None:  # noqa: F811
    """Another kind of student than `distil_online` has, which `tests/planning` runs to its first step."""
    values = {
        "TEACHER": bert_teacher,
        "TEACHER_LABELS": None,
        "INITIAL_CHECKPOINT_PATH": str(work / "bert"),
        "ENCODER_LAYERS": (0,),
        "teacher/T5Execution.dtype": "bfloat16",
    }
    bert = train(work, "bert_distil", "bert-by-bert", values)
    assert facts(bert)["online_teacher"] and facts(bert)["recipe"] == "kd"
    assert facts(bert)["silver_sentences"] == 8 and bert.config.dtype == "float32"


def test_of_a_t5s_execution_others_have_a_part(bert_teacher: str, tmp_path: Path) -> None:
    def teacher_of(path: str, labels: LabelSet, **execution: Any) -> Any:
        settings = T5Execution(**execution) if execution else None
        return load_step_teacher(TeacherInStep(path, settings), labels, "the test")

    plain = teacher_of(bert_teacher, LABELS)
    assert plain.model.config.dtype == "float32"
    changed = teacher_of(bert_teacher, LABELS, dtype="bfloat16", attention_implementation="xla")
    assert changed.model.config == plain.model.config.replace(
        dtype="bfloat16", attention_implementation="xla"
    )
    with pytest.raises(UserError, match=r"scan_layers is True, a setting of a T5.* a bert tagger"):
        teacher_of(bert_teacher, LABELS, scan_layers=True)
    encoder, bilstm = (str(save_tiny(tmp_path / kind, kind)) for kind in ("encoder", "bilstm"))
    assert teacher_of(encoder, TINY_LABELS, dtype="bfloat16").model.config.dtype == "bfloat16"
    with pytest.raises(UserError, match=r"T5Execution.attention_implementation is 'xla'"):
        teacher_of(encoder, TINY_LABELS, attention_implementation="xla")
    with pytest.raises(UserError, match="this model is a BiLSTM, which computes in float32"):
        teacher_of(bilstm, TINY_LABELS, dtype="bfloat16")
    with pytest.raises(UserError, match="the teacher has other labels than the test"):
        teacher_of(bilstm, LABELS)


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


@pytest.mark.slow
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
        ("distil_online", {"TEACHER_LABELS": "labels"}, "goes with none of TEACHER_LABELS"),
        (
            "distil_t5_tokens",
            {"TEACHER_LABELS": None, "VOCABULARY": "byte"},
            "one vocabulary for teacher and student",
        ),
        (
            "distil_t5_tokens",
            {"TEACHER_LABELS": None, "VOCABULARY": "byte", "TEACHER": "bert"},
            "needs a teacher that writes tags as the student does, a T5",
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
    bert_teacher: str,
    capfd: pytest.CaptureFixture[str],
    gin_file: str,
    values: dict[str, Any],
    message: str,
) -> None:
    if "required" not in message and gin_file != "distil_t5":
        values = {"TEACHER": teacher, **values}
    places = {"teacher": teacher, "bert": bert_teacher, "labels": str(work / "labels0")}
    values = {name: places.get(value, value) for name, value in values.items()}
    command = ["train", f"--gin_file=gin/runs/{gin_file}.gin"]
    assert main([*command, *options(work, "bad", values)]) == 2
    assert message in capfd.readouterr().err
