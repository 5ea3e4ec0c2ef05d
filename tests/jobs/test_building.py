"""Gin files and bindings as runs: what is bound where, what is checked before anything runs."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from distill_jax.configuration import setting
from distill_jax.distill.tags import DistillationWeights
from distill_jax.errors import UserError
from distill_jax.jobs.building import build_run
from distill_jax.jobs.gin_files import with_quotes
from distill_jax.jobs.launch import JOBS, configured
from distill_jax.jobs.sources import Sources
from distill_jax.jobs.student import StudentData, StudentRun
from distill_jax.kinds.bilstm import BiLSTMStudent
from distill_jax.models.bilstm import BiLSTMConfig
from distill_jax.train.optimizers import AdamW, Constant, WarmupCosine
from distill_jax.train.training import Schedule, Training

DISTIL, FINETUNE = "gin/runs/distil_gold.gin", "gin/runs/finetune.gin"
GIVEN = ["MODEL_DIR = 'm'", "MIXTURE_OR_TASK_NAME = 'demo'"]


@dataclasses.dataclass(frozen=True)
class Part:
    size: int = setting(1, macro="SIZE")
    other: str = setting("x")


@dataclasses.dataclass(frozen=True)
class Whole:
    part: Part = setting(Part())
    taught: Part = setting(Part(), scope="teacher")
    perhaps: Part | None = setting(None)
    several: tuple[Part, ...] = setting(())
    count: int = setting(0, macro="COUNT")


def built(tmp_path: Path, text: str, *bindings: str) -> Any:
    file = tmp_path / "run.gin"
    file.write_text(text + "\nrun.job = @Whole()\n")
    return build_run([str(file)], bindings, (Whole,))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Whole()),
        ("SIZE = 3", Whole(Part(3), Part(3))),
        ("SIZE = 3\nTEACHER_SIZE = 4", Whole(Part(3), Part(4))),
        ("SIZE = 3\nPart.size = 5", Whole(Part(5), Part(5), Part(5))),
        (
            "Part.size = 5\nteacher/Part.size = 6\nTEACHER_SIZE = 7",
            Whole(Part(5), Part(6), Part(5)),
        ),
        ("A = %B\nB = 2\nPart.size = %A", Whole(Part(2), Part(2), Part(2))),
        # A part that may be none is made where something of it is bound, in that very scope.
        ("teacher/Part.other = 'y'", Whole(Part(), Part(other="y"))),
        ("Part.other = 'y'", Whole(Part(other="y"), Part(other="y"), Part(other="y"))),
        (
            "Whole.perhaps = @teacher/Part()\nTEACHER_SIZE = 2",
            Whole(taught=Part(2), perhaps=Part(2)),
        ),
        (
            "Whole.several = (@a/Part(), @b/Part())\nA_SIZE = 2\nb/Part.other = 'z'",
            Whole(several=(Part(2), Part(other="z"))),
        ),
        ("COUNT = 1\nCOUNT = 2", Whole(count=2)),
    ],
)
def test_what_a_file_says(tmp_path: Path, text: str, expected: Whole) -> None:
    assert built(tmp_path, text) == expected


def test_the_command_line_wins_over_files_and_files_over_those_they_include(tmp_path: Path) -> None:
    (tmp_path / "base.gin").write_text("SIZE = 1\nCOUNT = 1\n")
    text = f"include '{tmp_path}/base.gin'\nCOUNT = 2\nSIZE = 2"
    assert built(tmp_path, text, "SIZE = 3") == Whole(Part(3), Part(3), count=2)


@pytest.mark.parametrize(
    ("text", "bindings", "message"),
    [
        ("", ["SIZZ = 3"], "--gin.SIZZ: this run uses no macro of this name; did you mean SIZE"),
        (
            "Part.sise = 3",
            [],
            "run.gin: line 1: Part.sise: Part has no parameter 'sise'; it has size, other",
        ),
        ("Pert.size = 3", [], "No configurable is named 'Pert'"),
        (
            "Whole.part = @Pert()",
            [],
            "line 1: @Pert: No configurable is named 'Pert', of this package or a dataclass of",
        ),
        ("Part.size = %NOPE", [], "run.gin: line 1: the macro %NOPE is used but defined nowhere"),
        (
            "SIZE = %gin.REQUIRED",
            [],
            "SIZE is required by .*run.gin and not given; add --gin.SIZE=",
        ),
        ("SIZE = = 2", [], "run.gin: line 1"),
        ("include 'gone.gin'", [], "line 1: include 'gone.gin': there is no such file"),
        ("import no_such_module_at_all", [], "no_such_module_at_all"),
        ("SIZE = 'gs://bucket/x'", [], "SIZE gs://bucket/x: a bucket"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, bindings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        built(tmp_path, text, *bindings)


@pytest.mark.parametrize(
    ("file", "binding", "message"),
    [
        (
            DISTIL,
            "TRAIN_STEPS = 'a'",
            r"TRAIN_STEPS is 'a' and must be int for (Schedule.train_steps|WarmupCosine.steps)",
        ),
        (DISTIL, "TRAIN_STEPS = 1e3", "TRAIN_STEPS is 1000.0 and must be int"),
        (DISTIL, "TRAIN_STEPS = True", "TRAIN_STEPS is True and must be int"),
        (DISTIL, "LEARNING_RATE = 'x'", "LEARNING_RATE is 'x' and must be float"),
        (DISTIL, "MESH_FSDP = None", "MESH_FSDP is None and must be int for Placement.fsdp"),
        (DISTIL, "PATIENCE = 'x'", r"must be int \| None"),
        (DISTIL, "MIXTURE_OR_TASK_MODULES = 'my_tasks'", r"must be Sequence\[str\]"),
        (DISTIL, "Schedule.profile_steps = (1, 'a')", r"must be tuple\[int, int\] \| None"),
        (DISTIL, "Training.schedule = 3", "must be Schedule"),
        (DISTIL, "AdamW.learning_rate = 'x'", "must be WarmupCosine .* float"),
        (DISTIL, "BiLSTMConfig.hidden = 'x'", "BiLSTMConfig.hidden is 'x' and must be int"),
        (FINETUNE, "DTYPE = 16", "DTYPE is 16 and must be .* for T5Execution.dtype"),
        (FINETUNE, "TASK_FEATURE_LENGTHS = {'inputs': 'a'}", r"must be Mapping\[str, int\]"),
    ],
)
def test_a_value_of_another_type_is_named(file: str, binding: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        configured([file], [*GIVEN, binding])


@pytest.mark.parametrize(
    "binding",
    [
        "LEARNING_RATE = 1",
        "AdamW.learning_rate = @Constant()",
        "AdamW.learning_rate = 0.5",
        "Training.optimizer = @Adafactor()",
        "PATIENCE = None",
        "LOGICAL_AXIS_RULES = {'embed': None, 'batch': ['data', 'fsdp']}",
        "Schedule.profile_steps = [1, 2]",
        "SEED = %TRAIN_STEPS",
    ],
)
def test_what_is_as_good_passes(binding: str) -> None:
    configured([DISTIL], [*GIVEN, binding])


def test_a_run_is_as_easily_written_in_python() -> None:
    run = StudentRun(
        data=StudentData(task="demo", sources=Sources("m")),
        student=BiLSTMStudent(BiLSTMConfig(hidden=64)),
        loss=DistillationWeights(temperature=2.0),
        training=Training(
            model_dir="m",
            batch_size=16,
            optimizer=AdamW(learning_rate=WarmupCosine(1e-3, 100), weight_decay=0.01),
            schedule=Schedule(100, patience=25),
        ),
    )
    bindings = ["TRAIN_STEPS = 100", "BiLSTMConfig.hidden = 64", "TEMPERATURE = 2.0"]
    assert configured([DISTIL], [*GIVEN, *bindings]) == run


def test_the_rate_may_be_constant() -> None:
    run = configured([DISTIL], [*GIVEN, "AdamW.learning_rate = @Constant()", "WARMUP_STEPS = 0"])
    assert run.training.optimizer.learning_rate == Constant(1e-3, 0)
    assert run.training.optimizer.learning_rate_at(7) == pytest.approx(1e-3)


def test_every_recipe_makes_a_run() -> None:
    given = {"TEACHER_LABELS": "l", "TEACHER": "t", "TEACHER_EMBEDDING": "e"}
    start = {"INITIAL_CHECKPOINT_PATH": "i", "ENCODER_LAYERS": (0,), "DECODER_LAYERS": (0,)}
    stand_ins = {"MODEL_DIR": "m", "MIXTURE_OR_TASK_NAME": "t", **given, **start}
    made = 0
    for file in sorted(Path("gin/runs").glob("*.gin")):
        if "study" not in file.name and file.name not in ("common.gin", "t5.gin", "gpu.gin"):
            trains = "@LabelRun()" not in file.read_text()
            verbose = ["VERBOSE=True"] if trains else []
            run = build_run([str(file)], verbose, JOBS, stand_ins=stand_ins)
            assert type(run) in JOBS and "verbose=False" not in str(run)
            made += 1
    assert made >= 18


def test_few_lines_only_forward_a_macro() -> None:
    files = Path("gin/runs").rglob("*.gin")
    lines = [line for file in files for line in file.read_text().splitlines()]
    forwards = [line for line in lines if not line.startswith("#") and " = %" in line]
    assert len([line for line in forwards if "%gin.REQUIRED" not in line]) <= 30


@pytest.mark.parametrize(
    ("binding", "expected"),
    [
        ("MODEL_DIR=runs/x", "MODEL_DIR='runs/x'"),
        ("MODEL_DIR = it's here", 'MODEL_DIR ="it\'s here"'),
        ("MIXTURE_OR_TASK_NAME=snips", "MIXTURE_OR_TASK_NAME='snips'"),
        *(
            (same, same)
            for same in (
                "A='x'",
                "A=1e-4",
                "A=None",
                "A=(0, 2",
                "A=%B",
                "A=@C()",
                "A=",
                "A=-3",
                "A",
            )
        ),
    ],
)
def test_a_string_needs_no_quotes_on_the_command_line(binding: str, expected: str) -> None:
    assert with_quotes(binding) == expected


def test_a_bare_string_reaches_the_run() -> None:
    bindings = ["MODEL_DIR=runs/x", "MIXTURE_OR_TASK_NAME=snips", "TRAIN_STEPS=3"]
    run = configured(["gin/runs/distil_gold.gin"], bindings)
    assert (run.training.model_dir, run.data.task) == ("runs/x", "snips")
