"""A generation study end to end with tiny models; its sets, tables, figure and page; and what is refused."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.data import demo as demo_data
from distill_jax.data import locations
from distill_jax.data.readers import write_conll
from distill_jax.errors import UserError
from distill_jax.generate.pool import GeneratedPool
from distill_jax.jobs.building import build_run
from distill_jax.labels.record import TeacherLabel
from distill_jax.labels.store import TeacherLabels
from distill_jax.study.cell_data import CellData
from distill_jax.study.generation.facts import POOLS, read_facts
from distill_jax.study.generation.pools import CellPool, Sample
from distill_jax.study.generation.run import GenerationStudyRun
from distill_jax.study.generation.silver import Sets, silver_sets, to_label
from distill_jax.study.generation.tables import generation_markdown
from distill_jax.study.grid import Generated, Taught
from distill_jax.study.results import Row
from distill_jax.study.run import StudyRun
from distill_jax.tagging import LabelSet, Sentence
from tests.compiled_once import compiled_once
from tests.html_reader import Page
from tests.study.rows import row
from tests.tiny import write_t5_start

TASK = "tiny_pools"
CELL = f"cells/{TASK}_gold8_dev4_seed0"
SETTINGS: dict[str, Any] = {
    "DATASETS": (TASK,),
    "SIZES": ("8/4",),
    "SEEDS": (0,),
    "POOL_SIZES": (1, 2),
    "FILTER_SETS": ("none", "all"),
    "MIN_CONFIDENCE": 0.0,
    "TEACHER_STEPS": 1,
    "TEACHER_EVAL_PERIOD": 1,
    "GENERATOR_STEPS": 1,
    "GENERATOR_EVAL_PERIOD": 1,
    "STUDENT_STEPS": 2,
    "STUDENT_EVAL_PERIOD": 1,
    "STUDENT_BATCH_SIZE": 4,
    "GENERATORS": ("swap", "real"),
    "SAMPLE_BATCH_SIZE": 16,
    "SamplingSettings.max_tokens": 12,
    # Of random generators nothing is finished or well formed.
    "FilterSettings.unfinished": False,
    "FilterSettings.malformed": False,
    "FilterSettings.length": (1, 100),
    "TASK_FEATURE_LENGTHS": {"inputs": 96, "targets": 96},
    "BiLSTMConfig.word_dim": 8,
    "BiLSTMConfig.char_dim": 4,
    "BiLSTMConfig.char_hidden": 4,
    "BiLSTMConfig.hidden": 8,
}


class Reference(str):
    """What Gin reads as it stands."""

    __repr__ = str.__str__


OF_BILSTM: dict[str, Any] = {
    "GenerationStudyRun.teacher": Reference("@StudentRun()"),
    "teacher/StudentRun.student": Reference("@BiLSTMStudent()"),
    "TEACHER_WARMUP_STEPS": 1,
    "TEACHER_MIN_CONFIDENCE": 0.0,
    "TEACHER_INITIAL_CHECKPOINT_PATH": None,
}


def study(directory: Path, data: Path, **changes: Any) -> int:
    values = SETTINGS | {
        "STUDY_DIR": str(directory),
        "DATA_DIR": str(data),
        # A Hugging Face directory, for teacher and generators alike.
        "INITIAL_CHECKPOINT_PATH": str(data / "start"),
        **changes,
    }
    options = [f"--gin.{name}={value!r}" for name, value in values.items()]
    return main(["study", "--gin_file=gin/runs/generation_study.gin", *options])


def results(directory: Path) -> list[dict[str, str]]:
    with (directory / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    for split, size in (("train", 40), ("valid", 4), ("test", 4)):
        sentences = [s for s in demo_data.generate(split, 8 * size) if 5 <= len(s.words) <= 8]
        write_conll(folder / TASK / f"{split}.conll", sentences[:size])
    write_t5_start(folder / "start")
    with compiled_once(str(folder / "xla")):
        yield folder
    locations.set_data_dir(None)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("study") / "study"
    assert study(directory, data, **OF_BILSTM) == 0
    return directory


def test_every_pool_has_its_students(finished: Path) -> None:
    rows = results(finished)
    names = [row["name"] for row in rows]
    assert names[:3] == ["teacher", "bilstm-gold", "bilstm-silver0-kl1"]
    pools = {(r["generator"], r["filters"], r["tags"]) for r in rows[3:]}
    of_swaps = {
        ("swap", filters, tags) for filters in ("none", "all") for tags in ("own", "teacher")
    }
    assert pools == {*of_swaps, ("real", "none", "teacher")}
    of_swap = [row for row in rows if row["generator"] == "swap" and row["filters"] == "all"]
    assert [(r["tags"], r["silver"], r["kl_weight"]) for r in of_swap] == [
        ("teacher", "8", "1.0"),
        ("teacher", "16", "1.0"),
        ("own", "8", "0.0"),
        ("own", "16", "0.0"),
    ]
    accepted = len(GeneratedPool(finished / CELL / "pools" / "swap"))
    assert [int(r["silver_sentences"]) for r in of_swap[:2]] == [8, min(16, accepted)]
    assert (finished / CELL / "students" / "bilstm-swap-all-own-silver8-kl0").is_dir()
    assert not list((finished / CELL).glob("*/checkpoints"))
    labelled = {label.words for label in TeacherLabels(finished / CELL / "labels")}
    pool = GeneratedPool(finished / CELL / "pools" / "swap")
    assert all(s.words in labelled for s, _ in pool.samples())


def test_tables_figure_and_page_are_there(finished: Path) -> None:
    text = (finished / "tables.md").read_text()
    for words in ("Gain over gold alone", "## 8 gold and 4 dev", "| swap | own | all | 8 | 0 |"):
        assert words in text
    assert (finished / "pools_8_4.png").read_bytes().startswith(b"\x89PNG")
    read = Page((finished / "report.html").read_text("utf-8"))
    assert {"samples", "settings", "different"} <= read.ids
    facts = {pool.generator: pool for pool in read_facts(finished / CELL)}
    assert list(facts) == ["swap", "real"]
    assert facts["swap"].agreement is not None and facts["real"].agreement is None
    assert facts["swap"].samples[0].own
    for sample in facts["swap"].samples:
        if sample.rejected:
            assert f"rejected: {sample.rejected}" in read.text
    assert "own tags" in read.text


@pytest.mark.slow
def test_it_goes_on_and_takes_teachers(
    finished: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "study"
    more = {"GENERATORS": ("swap",), "FILTER_SETS": ("all", "sure"), "MIN_CONFIDENCE": 1e-30}
    more |= OF_BILSTM
    assert study(folder, data, TEACHERS_OF=str(finished), **more) == 0
    assert results(folder)[0]["f1"] == results(finished)[0]["f1"]
    sure = [row for row in results(folder) if row["filters"] == "sure"]
    assert {row["tags"] for row in sure} == {"teacher"} and sure[0]["min_confidence"] == "1e-30"
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / CELL / "result.json").unlink()
    capfd.readouterr()
    assert study(copy, data, TEACHERS_OF=str(finished), **more) == 0
    kept = ("name", "f1", "nll")
    assert [[r[key] for key in kept] for r in results(copy)] == [
        [r[key] for key in kept] for r in results(folder)
    ]
    (copy / CELL / POOLS).write_text("{")
    assert study(copy, data, TEACHERS_OF=str(finished), **more) == 2
    assert "pools.json: damaged" in capfd.readouterr().err


@pytest.mark.slow
def test_generators_of_a_t5_from_a_hugging_face_directory(data: Path, tmp_path: Path) -> None:
    written = ("text", "infill", "labelled")
    folder = tmp_path / "study"
    changes = {"GENERATORS": written, "POOL_SIZES": (1,), "FILTER_SETS": ("all",)}
    loss = {"student/StudentRun.loss": Reference("@SymmetricCrossEntropy()"), "CE_WEIGHT": 0.5}
    assert study(folder, data, **changes, **loss) == 0
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["students"]["loss"]["ce_weight"] == 0.5
    rows = results(folder)
    made = {row["generator"] for row in rows if row["generator"]}
    assert made == set(written) and rows[0]["name"] == "teacher"
    for kind in written:
        pool = GeneratedPool(folder / CELL / "pools" / kind)
        assert pool.header["from"] == kind and set(pool.header["held_out_sha256"]) == {
            "dev",
            "test",
        }
        assert (folder / CELL / f"generator-{kind}" / "model" / "generator.json").exists()
    assert not list((folder / CELL).glob("*/checkpoints"))


LABELS = LabelSet(("day",))


def label(words: tuple[str, ...], sureness: float) -> TeacherLabel:
    rest = (1 - sureness) / 2
    log_p = np.log(np.array([[sureness, rest, rest]] * len(words), np.float32))
    return TeacherLabel(words, np.zeros(len(words), np.int32), log_p)


def test_sets_of_a_pool() -> None:
    words = [(name,) for name in "abcde"]
    samples = [
        Sample(Sentence(words[0], ("B-day",))),
        Sample(Sentence(words[1]), "length"),
        Sample(Sentence(words[0], ("O",)), "duplicate"),
        Sample(Sentence(words[2], ("O",))),
        Sample(Sentence(()), "unfinished"),
        Sample(Sentence(("gold",), ("O",)), "gold"),
    ]
    pools = {
        "labelled": CellPool(samples, {}, {}),
        "real": CellPool([Sample(Sentence(words[3])), Sample(Sentence(words[4]))], {}, {}),
    }
    data = CellData(LABELS, [Sentence(("gold",), ("O",))], [], [], [], "")
    sureness = dict(zip(words, (0.9, 0.8, 0.4, 0.9, 0.9), strict=True))
    labels = {w: label(w, sureness[w]) for w in words}
    sets = Sets(("none", "all", "sure"), (1, 3), 0.5, (1.0, 0.0))
    found = {
        taught: ["".join(each.words) for each in chosen]
        for taught, chosen in silver_sets(pools, sets, data, labels)
    }
    made = {
        "none": ["a", "b", "c"],
        "all": ["a", "c"],
        "sure": ["a"],
    }
    for filters, whole in made.items():
        for kl in (0.0, 1.0):
            pool = Generated("labelled", filters)
            assert found[Taught(3, len(whole), kl, pool)] == whole
            assert found[Taught(1, 1, kl, pool)] == whole[:1]
    own = {t: c for t, c in found.items() if t.generated and t.generated.tags == "own"}
    assert own == {
        Taught(size, min(size, 2), 0.0, Generated("labelled", filters, "own")): ["a", "c"][:size]
        for filters in ("none", "all")
        for size in (1, 3)
    }
    real = [t for t in found if t.generated == Generated("real", "none")]
    assert [(t.silver, t.sentences) for t in real] == [(1, 1), (1, 1), (3, 2), (3, 2)]
    wanted = {sentence.words for sentence in to_label(pools, ("all",))}
    assert wanted == {words[0], words[2], words[3], words[4]}
    assert words[1] in {sentence.words for sentence in to_label(pools, ("none",))}


def test_shares_of_the_real_gain_are_of_means() -> None:
    rows: list[Row] = []
    for dataset, real, text in (
        ("snips", (0.6, 0.7), (0.55, 0.65)),
        ("other", (0.5, 0.5), (0.45, 0.5)),
    ):
        for seed in (0, 1):
            rows.append(row(dataset, seed, "bilstm-gold", 0.4, recipe="gold"))
            for name, f1 in (("text", text[seed]), ("real", real[seed])):
                facts = {"generator": name, "filters": "all", "tags": "teacher", "silver": "100"}
                facts |= {"silver_sentences": 100 if name == "real" else 90, "kl_weight": 1.0}
                rows.append(row(dataset, seed, f"bilstm-{name}", f1, **facts))
    lines = generation_markdown(rows, {}).splitlines()
    # Gains 15 and 25 of 20 and 30; 5 and 10 of 10 and 10; of the mean 13.75 of 17.5.
    assert "| text | teacher | all | 100 (90) | 1 | 80 | 75 | 79 |" in lines
    assert (
        "| text | teacher | all | 100 (90) | 1 | +20.00 ± 7.07 | +7.50 ± 3.54 | +13.75 |" in lines
    )
    assert "| real | teacher | all | 100 | 1 | 65.00 ± 7.07 | 50.00 ± 0.00 | 57.50 |" in lines


def configured(**values: Any) -> GenerationStudyRun:
    given = {"STUDY_DIR": "study", "INITIAL_CHECKPOINT_PATH": "model", **values}
    bindings = [f"{name}={value!r}" for name, value in given.items()]
    file = (
        "gin/runs/generation_study_bert.gin"
        if "BERT" in values
        else "gin/runs/generation_study.gin"
    )
    bindings = [each for each in bindings if not each.startswith("BERT")]
    run: GenerationStudyRun = build_run([file], bindings, (StudyRun, GenerationStudyRun))
    return run


def test_what_the_recipe_says() -> None:
    run = configured(GENERATOR_STEPS=7, TEXT_GENERATOR_BATCH_SIZE=3, EMBEDDING_FILE="f")
    kinds = [each.writer.kind for each in run.writers]
    assert kinds == ["text", "infill", "labelled"]
    assert {each.training.schedule.train_steps for each in run.writers} == {7}
    assert [each.training.batch_size for each in run.writers] == [3, 8, 8]
    assert {each.teacher.start.initial_checkpoint_path for each in run.writers} == {"model"}
    assert all(each.teacher.start.embedding.source is None for each in run.writers)
    assert run.drawing.sampling.top_p == 0.95
    of_bert = configured(BERT=True, GENERATOR_INITIAL_CHECKPOINT_PATH="t5")
    assert of_bert.teacher.student.kind == "bert"  # type: ignore[union-attr]
    assert of_bert.writers[0].teacher.start.initial_checkpoint_path == "t5"
    with pytest.raises(UserError, match="GENERATOR_INITIAL_CHECKPOINT_PATH is required"):
        configured(BERT=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"GENERATORS": ("texts",)}, "GENERATORS: 'texts' is none of text, infill, labelled, swap"),
        ({"GENERATORS": ()}, "GENERATORS is ()"),
        ({"FILTER_SETS": ("most",)}, "FILTER_SETS: 'most' is none of none, all, sure"),
        ({"MIN_CONFIDENCE": 0.0}, "set both, or neither"),
        ({"POOL_SIZES": (0, 1)}, "POOL_SIZES is (0, 1)"),
        ({"OVERDRAW": 0.5}, "OVERDRAW is 0.5"),
        ({"SAMPLE_BATCH_SIZE": 0}, "SAMPLE_BATCH_SIZE is 0"),
        ({"GENERATOR_SEED": 3}, "SEED is 3, but every cell"),
        ({"GENERATOR_TRAIN_SPLIT": "gold"}, "TRAIN_SPLIT is 'gold', but every cell"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        configured(**changes)
    assert message in str(error.value)


def test_mistakes_end_in_a_line(
    finished: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert study(tmp_path / "study", data, SIZES=("full",)) == 2
    assert "a study of generated sentences is of few labelled ones" in capfd.readouterr().err
    # A pool that the filters empty says which took how many, and of which generator.
    changes = {"FilterSettings.length": (200, 300), "GENERATORS": ("swap",), **OF_BILSTM}
    changes["TEACHERS_OF"] = str(finished)
    assert study(tmp_path / "empty", data, **changes) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert "the generator swap (to go without, leave it out of GENERATORS" in error
    assert "the filters leave nothing of 24 sentences (length 24)" in error
    assert not (tmp_path / "empty" / CELL / "result.json").exists()
    assert (
        json.loads((tmp_path / "empty" / "settings.json").read_text())["is"] == "GenerationStudyRun"
    )
