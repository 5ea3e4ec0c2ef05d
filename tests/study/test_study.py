"""A study end to end with tiny models: cells, going on, refusal, and what is made of results."""

import csv
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.data import demo as demo_data
from distill_jax.data import locations
from distill_jax.data.readers import write_conll
from distill_jax.errors import UserError
from distill_jax.files import only_one
from distill_jax.jobs.building import build_run
from distill_jax.labels.record import TeacherLabel
from distill_jax.labels.store import TeacherLabels
from distill_jax.study.cell_data import CellData
from distill_jax.study.grid import Cell, Size
from distill_jax.study.run import StudyRun
from distill_jax.study.settings import SETTINGS as SETTINGS_FILE
from distill_jax.study.settings import check_folder, check_teachers, claim, settings_of
from distill_jax.study.students import assignments
from distill_jax.tagger import Tagger, model_hash
from distill_jax.tagging import LabelSet, Sentence
from tests.compiled_once import compiled_once
from tests.html_reader import Page
from tests.tiny import save_tiny

TASK = "tiny_study"
SETTINGS: dict[str, Any] = {
    "DATASETS": (TASK,),
    "SIZES": ("8/4", "full"),
    "SILVER": (0, 6, "all"),
    "SEEDS": (0,),
    "TEACHER_STEPS": 1,
    "TEACHER_EVAL_PERIOD": 1,
    "STUDENT_STEPS": 2,
    "STUDENT_EVAL_PERIOD": 1,
    "STUDENT_BATCH_SIZE": 4,
    "TASK_FEATURE_LENGTHS": {"inputs": 96, "targets": 96},
    "VOCABULARY_SIZE": 120,
    "VOCABULARY_TASKS": TASK,
    "T5Config.d_model": 8,
    "T5Config.d_kv": 4,
    "T5Config.d_ff": 8,
    "T5Config.num_heads": 2,
    "T5Config.num_encoder_layers": 1,
    "T5Config.num_decoder_layers": 1,
    "BiLSTMConfig.word_dim": 8,
    "BiLSTMConfig.char_dim": 4,
    "BiLSTMConfig.char_hidden": 4,
    "BiLSTMConfig.hidden": 8,
}
NAMES = ["teacher", "bilstm-gold", "bilstm-silver0-kl1"]
NAMES += [f"bilstm-silver{n}-kl{k}" for n in (6, "all") for k in (0, 1)]


class Reference(str):
    """What Gin reads as it stands."""

    __repr__ = str.__str__


def study(directory: Path, **changes: Any) -> int:
    values: Mapping[str, Any] = SETTINGS | {"STUDY_DIR": str(directory), **changes}
    if "DATA_DIR" in changes:
        values = {**values, "EMBEDDING_FILE": f"{changes['DATA_DIR']}/vectors.txt"}
    options = [f"--gin.{name}={value!r}" for name, value in values.items()]
    return main(["study", "--gin_file=gin/runs/demo/study.gin", *options])


def results(directory: Path) -> list[dict[str, str]]:
    with (directory / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("data")
    for split, size in (("train", 24), ("valid", 4), ("test", 4)):
        sentences = [s for s in demo_data.generate(split, 8 * size) if 5 <= len(s.words) <= 8]
        write_conll(folder / TASK / f"{split}.conll", sentences[:size])
    numbers = " 1 2 3 4 5 6 7 8\n"
    (folder / "vectors.txt").write_text(f"elsewhere{numbers}play{numbers}")
    with compiled_once(str(folder / "xla")):
        yield str(folder)
    locations.set_data_dir(None)


@pytest.fixture(scope="module")
def finished(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("study") / "study"
    assert study(directory, DATA_DIR=data) == 0
    return directory


def test_every_model_has_a_line(finished: Path) -> None:
    rows = results(finished)
    few = [row for row in rows if row["size"] == "8/4"]
    assert [row["name"] for row in few] == NAMES
    assert [row["silver_sentences"] for row in few] == ["0", "0", "0", "6", "6", "12", "12"]
    assert [row["kl_weight"] for row in few] == ["", "", "1.0", "0.0", "1.0", "0.0", "1.0"]
    full = [row for row in rows if row["size"] == "full"]
    assert [row["name"] for row in full] == NAMES[:3]
    assert {row["gold_sentences"] for row in full} == {"24"}
    for row in rows:
        assert 0 <= float(row["f1"]) <= 1 and float(row["sentences_per_second"]) > 0
        assert int(row["parameters"]) > 0
    # More silver, more words; and a student's directory is a model like any other.
    assert int(few[1]["parameters"]) < int(few[3]["parameters"]) < int(few[5]["parameters"])
    cell = finished / "cells" / f"{TASK}_gold8_dev4_seed0"
    tagger = Tagger.load(cell / "students" / "bilstm-silver6-kl1")
    assert tagger.parameters == int(few[4]["parameters"]) and tagger.frozen_parameters == 2 * 8
    assert len(tagger.predict(["play wow by jon theodore"])[0].tags) == 5
    assert not list(cell.glob("*/checkpoints"))


def test_tables_and_figures_are_there(finished: Path) -> None:
    text = (finished / "tables.md").read_text()
    assert "8 gold and 4 dev" in text and "| all (12) |" in text
    assert "none are left as silver" in text
    read = Page((finished / "report.html").read_text("utf-8"))
    rows = [row for table in read.tables for row in table]
    assert ["students.loss.temperature", "4.0"] in rows and ["lambdas", "[0.0, 1.0]"] in rows
    assert {"different", "settings"} <= read.ids
    for row in results(finished):
        assert f"{100 * float(row['f1']):.2f}" in read.text
    for name in ("silver_8_4", "quality_8_4", "quality_full"):
        assert (finished / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (finished / f"{name}.svg").read_text()


@pytest.mark.slow
def test_only_an_unfinished_cell_goes_on(
    finished: Path, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "study"
    shutil.copytree(finished, copy)
    before = results(copy)
    kept, lost = (copy / "cells" / f"{TASK}_{name}_seed0" for name in ("full", "gold8_dev4"))
    marked = json.loads((kept / "result.json").read_text())
    marked["models"][0]["f1"] = 0.123  # would be lost if the cell were done again
    (kept / "result.json").write_text(json.dumps(marked))
    (lost / "result.json").unlink()  # its labels are those of the teacher that is made again
    assert study(copy, DATA_DIR=data) == 0
    after = results(copy)
    assert next(row["f1"] for row in after if row["size"] == "full") == "0.123"
    for old, new in zip(before[:7], after[:7], strict=True):  # the same seeds, the same models
        assert {k: old[k] for k in ("name", "f1", "nll")} == {
            k: new[k] for k in ("name", "f1", "nll")
        }
    assert "full" not in capfd.readouterr().err.partition("cell 2 of 2")[0]


def test_other_settings_are_refused(
    finished: Path, data: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert study(finished, DATA_DIR=data, TEMPERATURE=7.0, STUDENT_STEPS=3) == 2
    error = capfd.readouterr().err
    steps = [
        f"students.training.{name} (there 2, now 3)"
        for name in ("optimizer.learning_rate.steps", "schedule.train_steps")
    ]
    different = ", ".join(["students.loss.temperature (there 4.0, now 7.0)", *steps])
    assert f"holds a study with other settings: {different}; set them" in error
    assert error.count("\n") == 1


def test_changed_data_are_noticed(
    finished: Path, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "study"
    shutil.copytree(finished, copy)
    path = copy / "cells" / f"{TASK}_full_seed0" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data_sha256": "0"}))
    assert study(copy, DATA_DIR=data) == 2
    assert "made from other sentences" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SIZES": ("20/9",)}, "20 gold and 9 dev sentences are more than the 24"),
        ({"SIZES": ("8-4",)}, "SIZES: '8-4'; write '100/50'"),
        ({"SIZES": ("0/4",)}, "at least 1 gold"),
        ({"SIZES": ()}, "SIZES is ()"),
        ({"SILVER": (0, 13)}, "SILVER asks for 13 sentences, but only 12"),
        ({"SILVER": (-1,)}, "SILVER: -1 is neither"),
        ({"SILVER": (5, 5)}, "a value is there twice"),
        ({"LAMBDAS": (-1.0,)}, "LAMBDAS: -1.0"),
        ({"TEMPERATURE": 0.0}, "TEMPERATURE is 0.0"),
        ({"CONFIDENCE_WEIGHTING": "margin"}, "use none, top_posterior, entropy, sequence"),
        ({"SEEDS": (-1,)}, "SEEDS: -1 is not a number from 0"),
        ({"DATASETS": ("tiny_studie",)}, "did you mean tiny_study"),
        (
            {"INITIAL_CHECKPOINT_PATH": "nowhere"},
            "nowhere: no such directory; if it is a model of the Hugging Face hub",
        ),
        ({"INITIAL_CHECKPOINT_PATH": "tests"}, "tests/config.json: cannot be read"),
        ({"SEED": 3}, "SEED is 3, but every cell of a study has its own"),
        ({"KL_WEIGHT": 0.5}, "KL_WEIGHT is 0.5, but every cell"),
        ({"STUDENT_TRAIN_SPLIT": "train"}, "TRAIN_SPLIT is 'train', but every cell"),
        ({"student/StudentRun.student": Reference("@EncoderStudent()")}, "of the kind 'encoder'"),
    ],
)
def test_mistakes_are_found_before_training(
    data: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    assert study(tmp_path / "study", DATA_DIR=data, **{"SIZES": ("8/4",), **changes}) == 2
    error = capfd.readouterr().err
    assert message in error and error.count("\n") == 1
    # What is there keeps no one from trying again with the mistake corrected.
    assert {path.name for path in (tmp_path / "study").glob("*")} <= {"prepared"}


def test_a_folder_of_something_else_is_left_alone(
    data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    assert study(tmp_path, DATA_DIR=data) == 2
    assert "not empty and not a study" in capfd.readouterr().err


def test_two_processes_may_begin_a_study_together(tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    (tmp_path / f".{SETTINGS_FILE}.tmp-7").touch()  # of the other process, at this moment
    claim(tmp_path, {"a": {"is": "A", "b": 1}})
    claim(tmp_path, {"a": {"is": "A", "b": 1}})
    with pytest.raises(UserError, match=r"other settings: a\.b \(there 1, now 2\)"):
        claim(tmp_path, {"a": {"is": "A", "b": 2}})


def test_a_field_that_only_one_has_is_a_difference(tmp_path: Path) -> None:
    teacher = {"is": "TeacherRun", "seed": 0}
    claim(tmp_path, {"teacher": teacher, "silver": [0]})
    more = {"teacher": {**teacher, "momentum": 0.5}, "silver": [0]}
    for check in (check_folder, check_teachers):
        with pytest.raises(UserError, match=r"teacher\.momentum \(there absent, now 0\.5\)"):
            check(tmp_path, more)
        with pytest.raises(UserError, match=r"teacher\.seed \(there 0, now absent\)"):
            check(tmp_path, {"teacher": {"is": "TeacherRun"}, "silver": [0]})
    check_teachers(tmp_path, {"teacher": teacher, "silver": [7]})
    with pytest.raises(UserError, match=r"e \(there absent, now 1\) and 2 more; set"):
        check_folder(tmp_path, {"teacher": teacher, "silver": [0], **dict.fromkeys("abcdefg", 1)})


def test_a_cell_that_another_process_is_at_is_left_to_it(
    finished: Path, data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "study"
    shutil.copytree(finished, copy)
    cell = copy / "cells" / f"{TASK}_gold8_dev4_seed0"
    (cell / "result.json").unlink()
    with only_one(cell) as mine:
        assert mine
        assert study(copy, DATA_DIR=data) == 0
    assert f"other processes are at {cell.name}" in capfd.readouterr().err
    assert not (cell / "result.json").exists()
    assert {row["size"] for row in results(copy)} == {"full"}


def test_results_are_those_of_all_finished_cells(finished: Path, data: str, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(finished, copy)
    assert study(copy, DATA_DIR=data, SIZES=("full",)) == 0  # fewer than there are
    assert {row["size"] for row in results(copy)} == {"8/4", "full"}
    assert results(copy)[0]["size"] == "full"


@pytest.mark.parametrize(
    ("kind", "steps", "eval_period", "rate", "b2"),
    [("t5", 1500, 500, 3e-3, 0.98), ("encoder", 1500, 250, 1e-3, 0.999)],
)
def test_another_student_has_all_it_needs(
    kind: str, steps: int, eval_period: int, rate: float, b2: float
) -> None:
    run = configured(f"fewshot_study_{kind}", INITIAL_CHECKPOINT_PATH="model", EMBEDDING_TEXT="t")
    [other] = run.others
    assert other.student.kind == kind
    training, optimizer = other.training, other.training.optimizer
    assert (training.schedule.train_steps, training.schedule.eval_period) == (steps, eval_period)
    learning_rate = optimizer.learning_rate
    assert (learning_rate.peak, learning_rate.steps) == (rate, steps)
    assert (learning_rate.warmup_steps, optimizer.weight_decay, optimizer.b2) == (50, 0.01, b2)
    assert other.loss == run.students.loss
    # What the students' names say is not said of the teacher, or of one another.
    assert run.students.student.vectors.text == "t"
    assert run.students.student.initial_checkpoint_path is None
    assert run.teacher.teacher.start.embedding.source is None
    of_file = {"EMBEDDING_FILE": "f", "EMBEDDING_WORDS": 0}
    run_of_file = configured(f"fewshot_study_{kind}", INITIAL_CHECKPOINT_PATH="model", **of_file)
    assert run_of_file.students.student.vectors.words == 0
    assert run_of_file.teacher.teacher.start == run.teacher.teacher.start
    if kind == "t5":
        assert other.student.start.vocabulary == "model"
        assert other.student.start.initial_checkpoint_path is None
        assert other.student.start.embedding.source is None
        assert other.student.start.initialiser == "point_at_equal_tokens"
        assert run.teacher.teacher.start.initialiser is None
    else:
        assert other.student.initial_checkpoint_path == "model"


def test_students_of_every_kind_beside_a_bert_teacher() -> None:
    run = configured(
        "fewshot_study_kinds",
        INITIAL_CHECKPOINT_PATH="minilm",
        T5_CHECKPOINT="t5",
        EMBEDDING_FILE="vectors",
    )
    bert, encoder, t5 = run.others
    assert run.students.student.vectors.file == "vectors"
    assert (bert.student.initial_checkpoint_path, bert.student.layers) == ("minilm", (0, 2, 4))
    assert run.teacher.student.layers is None
    assert (encoder.student.initial_checkpoint_path, encoder.student.layers) == ("t5", None)
    assert t5.student.start.vocabulary == "t5"
    assert t5.student.start.initial_checkpoint_path is None
    # Word vectors are the BiLSTMs'; the others have their checkpoint's, or none.
    assert bert.student.embedding is None
    assert t5.student.start.embedding.source is None
    for other, rate in ((bert, 1e-4), (encoder, 1e-3), (t5, 3e-3)):
        training = other.training
        assert training.optimizer.learning_rate.peak == rate
        assert training.schedule.train_steps == 1500
        assert other.loss == run.students.loss


def configured(name: str, **values: Any) -> StudyRun:
    given = {"STUDY_DIR": "study", **values}
    bindings = [f"{name}={value!r}" for name, value in given.items()]
    run: StudyRun = build_run([f"gin/runs/{name}.gin"], bindings, (StudyRun,))
    return run


def test_what_a_checkpoint_holds_counts_and_not_its_place(tmp_path: Path) -> None:
    first = save_tiny(tmp_path / "a", "t5")
    shutil.copytree(first, tmp_path / "b")
    there, moved = (
        settings_of(configured("fewshot_study_t5", INITIAL_CHECKPOINT_PATH=str(tmp_path / name)))
        for name in ("a", "b")
    )
    assert there == moved
    assert str(tmp_path) not in json.dumps(there)
    assert there["others"][0]["student"]["start"]["vocabulary"].startswith("sha256 ")
    (tmp_path / "b" / "model.safetensors").write_bytes(
        (tmp_path / "b" / "model.safetensors").read_bytes()[:-4] + b"\0\0\0\1"
    )
    path = str(tmp_path / "b")
    assert settings_of(configured("fewshot_study_t5", INITIAL_CHECKPOINT_PATH=path)) != there


@pytest.mark.slow
def test_an_encoder_student_in_a_study(data: str, tmp_path: Path) -> None:
    changes = {"SIZES": ("8/4",), "LAMBDAS": (1.0,), "SILVER": (6,), "BOTH_SIDES": False}
    more = {
        "CONFIDENCE_WEIGHTING": "top_posterior",
        "StudyRun.others": Reference("(@encoder_student/StudentRun(),)"),
        "encoder_student/StudentRun.student": Reference("@EncoderStudent()"),
        "encoder_student/EncoderStudent.model": Reference("@EncoderTaggerConfig()"),
        "EncoderTaggerConfig.d_model": 8,
        "EncoderTaggerConfig.num_layers": 1,
        "ENCODER_STUDENT_VOCABULARY": "byte",
        "ENCODER_STUDENT_BATCH_SIZE": 4,
        "ENCODER_STUDENT_TRAIN_STEPS": 1,
        "ENCODER_STUDENT_LEARNING_RATE": 1e-3,
    }
    assert study(tmp_path / "study", DATA_DIR=data, **changes, **more) == 0
    rows = {row["name"]: row for row in results(tmp_path / "study")}
    assert list(rows) == ["teacher", "bilstm-gold", "bilstm-silver6-kl1", "encoder-silver6-kl1"]
    row = rows["encoder-silver6-kl1"]
    loss = [row[name] for name in ("temperature", "both_sides", "confidence_weighting")]
    assert loss == ["4.0", "False", "top_posterior"]
    assert rows["bilstm-silver6-kl1"]["confidence_weighting"] == "top_posterior"
    assert (row["model"], row["silver_sentences"]) == ("encoder-student", "6")
    assert "encoder student (6 silver, λ = 1)" in (tmp_path / "study" / "tables.md").read_text()
    folder = tmp_path / "study/cells" / f"{TASK}_gold8_dev4_seed0" / "encoder-silver6-kl1"
    card = json.loads((folder / "model" / "tagger.json").read_text())
    assert card["training"]["distillation"]["both_sides"] is False
    assert card["training"]["confidence_weighting"] == "top_posterior"


@pytest.mark.slow
def test_a_teacher_of_another_kind(data: str, tmp_path: Path) -> None:
    changes = {"SIZES": ("8/4",), "LAMBDAS": (1.0,), "SILVER": (6,)}
    more = {
        "StudyRun.teacher": Reference("@StudentRun()"),
        "teacher/StudentRun.student": Reference("@BiLSTMStudent()"),
        "TEACHER_WARMUP_STEPS": 1,
    }
    assert study(tmp_path / "study", DATA_DIR=data, **changes, **more) == 0
    names = [row["name"] for row in results(tmp_path / "study")]
    assert names == ["teacher", "bilstm-gold", "bilstm-silver6-kl1"]
    cell = tmp_path / "study/cells" / f"{TASK}_gold8_dev4_seed0"
    card = json.loads((cell / "teacher" / "model" / "tagger.json").read_text())
    assert card["training"]["recipe"] == "gold"
    assert TeacherLabels(cell / "labels").header["decoder"] == {"algorithm": "viterbi"}


def test_the_recipe_with_a_bert() -> None:
    recipe = configured("fewshot_study_bert", INITIAL_CHECKPOINT_PATH="minilm", DATASETS=("snips",))
    cell = Cell("snips", Size.parse("100/50"), 7)
    run = recipe.teacher_of(cell, Path("folder"))
    assert run.student.kind == "bert" and run.student.initial_checkpoint_path == "minilm"
    assert (run.data.task, run.data.train_split) == (cell.task, cell.splits[0])
    assert (run.training.seed, run.training.batch_size) == (7, 8)
    assert recipe.students.student.kind == "bilstm"
    with pytest.raises(UserError, match="TEACHER_LABELS is 'x', but every cell"):
        configured(
            "fewshot_study_bert",
            INITIAL_CHECKPOINT_PATH="minilm",
            DATASETS=("snips",),
            TEACHER_TEACHER_LABELS="x",
        )


def test_bilstms_silver_sentences_are_weighted_with_every_lambda() -> None:
    labels = LabelSet(("day",))
    log_posteriors = np.log([[0.5, 0.25, 0.25]])
    silver = TeacherLabel(("today",), np.array([0]), log_posteriors)
    data = CellData(labels, [Sentence(("now",), ("B-day",))], [], [Sentence(("today",))], [], "")
    recipe = configured("demo/study", CONFIDENCE_WEIGHTING="top_posterior")
    cell = Cell("x", Size.parse("1/1"), 3)
    assigned = assignments(cell, data, recipe, {1: 1}, [silver])
    weights = {
        name: [target.weight for target in one.lesson.targets] for name, one in assigned.items()
    }
    assert weights == {
        "bilstm-gold": [1.0],
        "bilstm-silver1-kl0": [1.0, 0.5],
        "bilstm-silver1-kl1": [1.0, 0.5],
    }
    assert not any(one.lesson.trusted for one in assigned.values())
    losses = [(one.lesson.loss.kl_weight, one.lesson.loss.temperature) for one in assigned.values()]
    assert losses == [(0.0, 1.0), (0.0, 4.0), (1.0, 4.0)]
    assert {one.lesson.training.seed for one in assigned.values()} == {3}


def test_silver_that_the_teacher_is_unsure_of_is_left_out() -> None:
    labels = LabelSet(("day",))
    silver = [
        TeacherLabel((word,), np.array([0]), np.log([[sure, (1 - sure) / 2, (1 - sure) / 2]]))
        for word, sure in (("today", 0.4), ("then", 0.9))
    ]
    gold = TeacherLabel(("now",), np.array([2]), np.log([[0.4, 0.3, 0.3]]))
    data = CellData(labels, [Sentence(("now",), ("B-day",))], [], [], [], "")
    recipe = configured("demo/study", MIN_CONFIDENCE=0.5, LAMBDAS=(1.0,))
    cell = Cell("x", Size.parse("1/1"), 3)
    assigned = assignments(cell, data, recipe, {0: 0, 1: 1, 2: 2}, [gold, *silver])
    # Of the first silver sentence alone nothing is left.
    assert list(assigned) == ["bilstm-gold", "bilstm-silver0-kl1", "bilstm-silver2-kl1"]
    taught = assigned["bilstm-silver2-kl1"].taught
    assert taught is not None and taught.sentences == 1


def test_bilstms_learn_the_weights_of_silver_sentences_by_the_dev_ones() -> None:
    day = Sentence(("today",), ("B-day",))
    data = CellData(LabelSet(("day",)), [day], [day], [], [], "")
    recipe = configured("demo/study", CONFIDENCE_WEIGHTING="learnt")
    assigned = assignments(Cell("x", Size.parse("1/1"), 3), data, recipe, {}, [])
    for one in assigned.values():
        assert [target.words for target in one.lesson.trusted] == [("today",)]


@pytest.mark.slow
def test_teachers_of_another_study(finished: Path, data: str, tmp_path: Path) -> None:
    changes = {"SIZES": ("8/4",), "SILVER": (6,), "CONFIDENCE_WEIGHTING": "sequence"}
    folder = tmp_path / "study"
    assert study(folder, DATA_DIR=data, TEACHERS_OF=str(finished), **changes) == 0
    name = f"cells/{TASK}_gold8_dev4_seed0/teacher/model"
    assert model_hash(folder / name) == model_hash(finished / name)
    there, here = results(finished)[0], results(folder)[0]
    same = set(there) - {"sentences_per_second"}
    assert {key: here[key] for key in same} == {key: there[key] for key in same}
    assert [row["name"] for row in results(folder)[2:]] == NAMES[3:5]
    # It goes on without them: they are its own now.
    assert study(folder, DATA_DIR=data, **changes) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TEACHER_STEPS": 2}, "teacher.training.schedule.train_steps (there 1, now 2)"),
        ({"T5Config.d_ff": 16}, "teacher.teacher.start.model.d_ff (there 8, now 16)"),
        ({"TEACHER_ADAM_B1": 0.8}, "teacher.training.optimizer.b1 (there 0.9, now 0.8)"),
        ({"ADAM_B1": 0.8}, "teacher.training.optimizer.b1 (there 0.9, now 0.8)"),
        ({"TEACHER_DTYPE": "bfloat16"}, "execution.dtype (there None, now 'bfloat16')"),
        ({"TEACHER_LABEL_SMOOTHING": 0.1}, "teacher.loss.label_smoothing (there 0.0, now 0.1)"),
        ({"SEEDS": (1,)}, "_seed1 is not a finished cell"),
        ({"TEACHERS_OF": "nowhere"}, "TEACHERS_OF: nowhere holds no study"),
    ],
)
def test_other_teachers_are_refused(
    changes: dict[str, Any],
    message: str,
    finished: Path,
    data: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "study"
    options = {"DATA_DIR": data, "SIZES": ("8/4",), "TEACHERS_OF": str(finished)} | changes
    assert study(folder, **options) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "settings.json").exists()


def test_teachers_of_other_sentences_are_refused(
    finished: Path, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    path = other / "cells" / f"{TASK}_gold8_dev4_seed0" / "result.json"
    path.write_text(path.read_text().replace('"data_sha256": "', '"data_sha256": "0'))
    options = {"DATA_DIR": data, "SIZES": ("8/4",), "TEACHERS_OF": str(other)}
    assert study(tmp_path / "study", **options) == 2
    assert "was made from other sentences" in capsys.readouterr().err
