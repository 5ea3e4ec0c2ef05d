"""A study end to end with tiny models: cells, going on, refusal, and what is made of results."""

import csv
import inspect
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gin
import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.data import demo as demo_data
from distill_jax.data import locations
from distill_jax.data.readers import write_conll
from distill_jax.errors import UserError
from distill_jax.files import only_one
from distill_jax.jobs.launch import configure
from distill_jax.jobs.student import distil_t5, train_encoder_tagger
from distill_jax.labels.store import TeacherLabel
from distill_jax.study.cells import Cell, CellData, Recipe, Size, _students
from distill_jax.study.page import study_page
from distill_jax.study.paper import paper_f1, paper_perfect
from distill_jax.study.plots import draw_silver
from distill_jax.study.run import SETTINGS as SETTINGS_FILE
from distill_jax.study.run import _claim, write_outputs
from distill_jax.study.tables import csv_text, markdown, mean_std
from distill_jax.tagger import Tagger, model_hash
from distill_jax.tagging import LabelSet, Sentence
from tests.html_reader import Page

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
    "new_vocabulary.size": 120,
    "new_vocabulary.mixture_or_task_name": TASK,
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
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
    assert tagger.parameters == int(few[4]["parameters"])
    assert len(tagger.predict(["play wow by jon theodore"])[0].tags) == 5
    assert not list(cell.glob("*/checkpoints"))


def test_tables_and_figures_are_there(finished: Path) -> None:
    text = (finished / "tables.md").read_text()
    assert "8 gold and 4 dev" in text and "| all (12) |" in text
    assert "none are left as silver" in text
    read = Page((finished / "report.html").read_text("utf-8"))
    rows = [row for table in read.tables for row in table]
    assert ["TEMPERATURE", "4.0"] in rows and ["study.lambdas", "%LAMBDAS"] in rows
    assert {"different", "settings"} <= read.ids
    for row in results(finished):
        assert f"{100 * float(row['f1']):.2f}" in read.text
    for name in ("silver_8_4", "quality_8_4", "quality_full"):
        assert (finished / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (finished / f"{name}.svg").read_text()


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
    assert "STUDENT_STEPS (there 2, now 3), TEMPERATURE (there 4.0, now 7.0)" in error
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
        ({"INITIAL_CHECKPOINT_PATH": "nowhere"}, "nowhere: no such directory; give that of a T5"),
        ({"INITIAL_CHECKPOINT_PATH": "tests"}, "tests/config.json: cannot be read"),
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
    _claim(tmp_path, {"a": "1"})
    _claim(tmp_path, {"a": "1"})
    with pytest.raises(UserError, match=r"other settings: a \(there 1, now 2\)"):
        _claim(tmp_path, {"a": "2"})


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


@pytest.mark.parametrize(("kind", "run"), [("t5", distil_t5), ("encoder", train_encoder_tagger)])
def test_another_student_has_all_it_needs(kind: str, run: Callable[..., Any]) -> None:
    bindings = ["STUDY_DIR = 'study'", "INITIAL_CHECKPOINT_PATH = 'model'"]
    configure([f"gin/runs/fewshot_study_{kind}.gin"], bindings)
    parameters = inspect.signature(run).parameters.values()
    required = {each.name for each in parameters if each.default is gin.REQUIRED}
    text = gin.config_str()
    missing = {name for name in required if f"\n{run.__name__}.{name} = " not in text}
    assert missing == {"model_dir", "mixture_or_task_name"}  # of each cell
    gin.clear_config()


def row(dataset: str, seed: int, name: str, f1: float, **changes: Any) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "size": "100/50",
        "seed": seed,
        "name": name,
        "model": "bilstm",
        "recipe": "distilled",
        "silver": "0",
        "silver_sentences": 0,
        "kl_weight": None,
        "temperature": None,
        "both_sides": None,
        "square_scale": None,
        "confidence_weighting": None,
        "parameters": 1_000_000,
        "perfect": f1 / 2,
        "f1": f1,
        "sentences_per_second": 4000.0 if seed == 0 else None,
        **changes,
    }


def known_rows(f1: Callable[[str, float, int, int], float]) -> list[dict[str, Any]]:
    """Results of two data sets and two seeds; silver -1 is the teacher."""
    rows = []
    for dataset, seed in itertools.product(("snips", "other"), (0, 1)):
        teacher = {"model": "t5", "recipe": "teacher", "parameters": 9_000_000}
        teacher |= {"sentences_per_second": 200.0 + seed}
        rows.append(row(dataset, seed, "teacher", f1(dataset, 0, -1, seed), **teacher))
        rows.append(row(dataset, seed, "bilstm-gold", f1(dataset, 0, 0, seed), recipe="gold"))
        for silver, weight in itertools.product((0, 500, 2000), (0.0, 1.0)):
            if silver or weight:
                facts = {"silver": str(silver), "silver_sentences": silver, "temperature": 2.0}
                facts |= {"both_sides": True, "square_scale": True}
                facts |= {"kl_weight": weight, "confidence_weighting": "entropy"}
                name = f"bilstm-silver{silver}-kl{weight:g}"
                rows.append(row(dataset, seed, name, f1(dataset, weight, silver, seed), **facts))
    return rows


def plain_f1(dataset: str, weight: float, silver: int, seed: int) -> float:
    base = 0.8 if silver < 0 else 0.5 + silver / 10_000 + 0.02 * weight
    return base + 0.01 * seed + (0.1 if dataset == "other" else 0)


def test_tables_say_what_the_results_say() -> None:
    text = markdown(known_rows(plain_f1))
    loss = "τ = 2, of the teacher's scores and the student's, KL times τ²"
    assert f"{loss}, silver sentences weighted by `entropy`. Lines in" in text
    for line in (
        # Mean of x and x + 1, sample standard deviation 0.71; `other` lies 10 above.
        "|  | SNIPS | other | mean |",
        "| BiLSTM, gold only | 50.50 ± 0.71 | 60.50 ± 0.71 | 55.50 |",
        "| *paper* | *51.63* | – | – |",
        "| T5 teacher | 80.50 ± 0.71 | 90.50 ± 0.71 | 85.50 |",
        "| *paper* | *54.33* | – | – |",
        "| BiLSTM, distilled (2000 silver, λ = 1) | 72.50 ± 0.71 | 82.50 ± 0.71 | 77.50 |",
        "| *paper* | *57.18* | – | – |",
        "| silver | λ | SNIPS | other | mean |",
        "| 0 | 0 (gold only) | 50.50 ± 0.71 | 60.50 ± 0.71 | 55.50 |",
        "| 0 | 1 | 52.50 ± 0.71 | 62.50 ± 0.71 | 57.50 |",
        "| 500 | 0 | 55.50 ± 0.71 | 65.50 ± 0.71 | 60.50 |",
        "| *paper: 500* | *0* | *55.66* | – | – |",
        "| *paper: 500* | *1* | *57.00* | – | – |",
        "| 500 | 1 − 0 | +2.00 ± 0.00 | +2.00 ± 0.00 | +2.00 |",
        "| SNIPS | teacher | 9.00M | 200 | 80.50 ± 0.71 |",
    ):
        assert line in text.splitlines(), f"{line}\n{text}"
    single = markdown(
        [r for r in known_rows(plain_f1) if r["seed"] == 0 and r["dataset"] == "snips"]
    )
    assert "| BiLSTM, gold only | 50.00 |" in single.splitlines()


def test_an_encoder_student_in_a_study(data: str, tmp_path: Path) -> None:
    changes = {"SIZES": ("8/4",), "LAMBDAS": (1.0,), "SILVER": (6,), "BOTH_SIDES": False}
    more = {
        "CONFIDENCE_WEIGHTING": "top_posterior",
        "study.encoder_student": Reference("@train_encoder_tagger"),
        "train_encoder_tagger.model": Reference("@EncoderTaggerConfig"),
        "train_encoder_tagger.vocabulary": Reference("@vocabulary_file()"),
        "vocabulary_file.path": "byte",
        "EncoderTaggerConfig.d_model": 8,
        "EncoderTaggerConfig.num_layers": 1,
        "train_encoder_tagger.batch_size": 4,
        "train_encoder_tagger.optimizer": Reference("@teacher/adamw()"),
        "train_encoder_tagger.schedule": Reference("@teacher/Schedule()"),
    }
    assert study(tmp_path / "study", DATA_DIR=data, **changes, **more) == 0
    rows = {row["name"]: row for row in results(tmp_path / "study")}
    assert list(rows) == ["teacher", "bilstm-gold", "bilstm-silver6-kl1", "encoder-silver6-kl1"]
    found = rows["encoder-silver6-kl1"]
    loss = [found[name] for name in ("temperature", "both_sides", "confidence_weighting")]
    assert loss == ["4.0", "False", "top_posterior"]
    assert rows["bilstm-silver6-kl1"]["confidence_weighting"] == "top_posterior"
    assert (found["model"], found["silver_sentences"]) == ("encoder-student", "6")
    assert "encoder student (6 silver, λ = 1)" in (tmp_path / "study" / "tables.md").read_text()
    folder = tmp_path / "study/cells" / f"{TASK}_gold8_dev4_seed0" / "encoder-silver6-kl1"
    card = json.loads((folder / "model" / "tagger.json").read_text())
    assert card["training"]["distillation"]["both_sides"] is False
    assert card["training"]["confidence_weighting"] == "top_posterior"


def test_bilstms_silver_sentences_are_weighted_with_every_lambda() -> None:
    labels = LabelSet(("day",))
    log_posteriors = np.log([[0.5, 0.25, 0.25]])
    silver = TeacherLabel(("today",), np.array([0]), log_posteriors)
    data = CellData(labels, [Sentence(("now",), ("B-day",))], [], [Sentence(("today",))], [], "")
    recipe = Recipe(print, print, (1,), (0.0, 1.0), 4.0, confidence_weighting="top_posterior")
    cell = Cell("x", Size.parse("1/1"), 0)
    students = _students(cell, data, recipe, {1: 1}, [silver])
    weights = {one.name: [target.weight for target in one.targets] for one in students}
    assert weights == {
        "bilstm-gold": [1.0],
        "bilstm-silver1-kl0": [1.0, 0.5],
        "bilstm-silver1-kl1": [1.0, 0.5],
    }


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
        ({"TEACHER_STEPS": 2}, "other settings: TEACHER_STEPS (there 1, now 2)"),
        ({"T5Config.d_ff": 16}, "T5Config.d_ff (there 8, now 16)"),
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


def test_t5_students_have_lines_of_any_size(tmp_path: Path) -> None:
    t5 = {"model": "t5-student", "kl_weight": 1.0}
    few = row("a", 0, "t5-silver500-kl1", 0.5, silver="500", **t5)
    gold = row("a", 0, "bilstm-gold", 0.5, recipe="gold")
    text = markdown([gold, few, row("a", 0, "t5-silver0-kl1", 0.25, size="full", **t5)])
    assert "| T5 student (500 silver, λ = 1) | 50.00 |" in text.splitlines()
    assert "| T5 student (0 silver, λ = 1) | 12.50 / 25.00 |" in text.splitlines()


def test_every_lambda_has_a_line(tmp_path: Path) -> None:
    weights = (0.0, 0.1, 0.5, 1.0, 2.0)
    rows = [row("a", 0, "x", 0.5, silver="500", kl_weight=weight) for weight in weights]
    draw_silver(rows, tmp_path / "figure.svg")
    text = (tmp_path / "figure.svg").read_text()
    assert all(f"λ = {weight:g} (" in text for weight in weights)


def test_csv_and_figures(tmp_path: Path) -> None:
    rows = known_rows(plain_f1)
    read = list(csv.DictReader(csv_text(rows).splitlines()))
    assert [float(r["f1"]) for r in read] == [r["f1"] for r in rows]
    write_outputs(tmp_path, rows, {})
    svg = (tmp_path / "silver_100_50.svg").read_bytes()
    html = (tmp_path / "report.html").read_bytes()
    assert b"<svg" in svg and b"<svg" in html
    write_outputs(tmp_path, rows, {})  # equal results give equal files
    assert (tmp_path / "silver_100_50.svg").read_bytes() == svg
    assert (tmp_path / "report.html").read_bytes() == html
    assert Page(html.decode()).links_hold()
    # A data set more is a panel more, up to four in a line.
    assert (tmp_path / "quality_100_50.png").stat().st_size > 10_000


def test_the_page() -> None:
    rows = known_rows(plain_f1)
    for each in rows:  # a data set may be called anything
        each["dataset"] = {"other": "<other> & co"}.get(each["dataset"], each["dataset"])
    full = [
        {**each, "size": "full", "silver": "0", "silver_sentences": 0}
        for each in rows
        if each["name"] in ("teacher", "bilstm-gold", "bilstm-silver0-kl1")
    ]
    settings = {"STUDENT_STEPS": "7", "b": "'<b>'"}
    names = ("silver_100_50", "quality_100_50", "quality_full")
    drawings = {name: f'<svg><path id="p"/><text>{name}</text></svg>' for name in names}
    html = study_page(rows + full, drawings, settings, {})
    read = Page(html)
    assert read.links_hold()
    assert ["", "SNIPS", "<other> & co", "mean F1"] in [row for t in read.tables for row in t]
    assert {"size-100_50", "size-full", "paper", "settings"} <= read.ids
    # Every cell of the Markdown tables, without its marks.
    shown = [row for table in read.tables for row in table]
    lines = [line for line in markdown(rows + full).splitlines() if line.startswith("| ")]
    assert len(lines) > 30
    for line in lines:
        cells = [cell.strip() for cell in line[1:-1].split(" |")]
        cells = [cell[1:-1] if cell[:1] == "*" else cell for cell in cells]
        assert cells in shown
    # Ours, the paper's, and by how much ours is better.
    for line in (
        ["SNIPS", "100/50", "BiLSTM, gold only", "50.50 ± 0.71", "51.63", "-1.13"],
        ["SNIPS", "100/50", "T5 teacher", "80.50 ± 0.71", "54.33", "+26.17"],
        ["SNIPS", "100/50", "BiLSTM, 500 silver, λ = 1", "57.50 ± 0.71", "57.00", "+0.50"],
        ["SNIPS", "full", "T5 teacher", "80.50 ± 0.71", "96.07", "-15.57"],
    ):
        assert line in shown
    assert not any(row[:2] == ["<other> & co", "100/50"] for row in shown)
    assert ["b", "'<b>'"] in shown
    assert all(name in read.text for name in names)
    assert study_page(rows + full, drawings, settings, {}) == html
    bare = Page(study_page([row for row in rows if row["dataset"] != "snips"], {}, {}, {}))
    assert not {"paper", "settings", "different"} & bare.ids


def test_the_papers_numbers() -> None:
    assert paper_f1("atis", "100/50", "500 λ=1") == 85.10
    assert paper_f1("mit_restaurant", "300/150", "distilled") == 68.62
    assert paper_f1("snips", "full", "teacher") == 96.07
    assert paper_perfect("snips", "gold") == 87.24
    assert paper_f1("sgd", "100/50", "gold") is paper_f1("snips", "50/50", "gold") is None
    assert paper_f1("snips", "full", "distilled") is None


def test_mean_and_sample_deviation() -> None:
    assert mean_std([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert mean_std([1.0]) == (1.0, None)
