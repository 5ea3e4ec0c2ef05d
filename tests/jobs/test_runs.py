"""The runs end to end with tiny models: fine-tune, label, distil, evaluate, by the Gin files.

One step each and sentences of similar length: nearly all of the time is compilation.
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.data import demo as demo_data
from distill_jax.data import locations
from distill_jax.data.readers import write_conll
from distill_jax.interop.hf.checkpoint import read_hf
from distill_jax.jobs.demo import Sizes, demo
from distill_jax.labels.store import TeacherLabels
from distill_jax.model_dir.directory import load_model
from distill_jax.sent.format import SenTFormat
from distill_jax.tagger import Tagger
from distill_jax.tagging import LabelSet
from tests.compiled_once import compiled_once
from tests.tiny import write_t5_start

TASK = "tiny_runs"
FEW_SHOT = f"{TASK}_gold8_dev4_silver8_seed0"
# Tests run on eight virtual devices, which the batch has to divide over.
SHORT = {"TRAIN_STEPS": 1, "EVAL_PERIOD": 1, "BATCH_SIZE": 8, "WARMUP_STEPS": 1}
LENGTHS = {"TASK_FEATURE_LENGTHS": {"inputs": 96, "targets": 96}}
# What labels are written as in place of their names; others keep theirs.
TEXTS = dict(zip(demo_data.LABELS.names[:2], ("first thing", "second thing"), strict=True))
TINY_T5 = {
    "T5Config.d_model": 8,
    "T5Config.d_kv": 4,
    "T5Config.d_ff": 8,
    "T5Config.num_heads": 2,
    "T5Config.num_encoder_layers": 1,
    "T5Config.num_decoder_layers": 1,
}
TINY_BILSTM = {
    "BiLSTMConfig.word_dim": 8,
    "BiLSTMConfig.char_dim": 4,
    "BiLSTMConfig.char_hidden": 4,
    "BiLSTMConfig.hidden": 8,
}


def bindings(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in values.items()]


def train(gin_file: str, model_dir: Path, values: Mapping[str, Any]) -> None:
    values = {**SHORT, "MODEL_DIR": str(model_dir), **values}
    options = [f"--gin.{binding}" for binding in bindings(values)]
    assert main(["train", f"--gin_file={gin_file}", *options]) == 0


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with every run in it: each as the README has it, only smaller."""
    work = tmp_path_factory.mktemp("runs")
    for split, size in (("train", 24), ("valid", 4), ("test", 4)):
        sentences = [s for s in demo_data.generate(split, 8 * size) if 5 <= len(s.words) <= 8]
        write_conll(work / "data" / TASK / f"{split}.conll", sentences[:size])
    write_t5_start(work / "start")
    with compiled_once(str(work / "xla")):
        data = {"DATA_DIR": str(work / "data"), "PREPARED_DATA_DIR": str(work / "prepared")}
        whole = {**data, **LENGTHS, "MIXTURE_OR_TASK_NAME": TASK}
        start = {"INITIAL_CHECKPOINT_PATH": str(work / "start")}
        (work / "texts.txt").write_text("".join(f"{n}\t{t}\n" for n, t in TEXTS.items()))
        texts = {"LABEL_TEXTS": str(work / "texts.txt")}
        without_dropout = {"DROPOUT": 0.0}
        train(
            "gin/runs/finetune.gin",
            work / "teacher",
            {**whole, **start, **texts, **without_dropout},
        )
        options = ["--split", "silver", "gold", "--data_dir", str(work / "data")]
        command = ["label", "--model", str(work / "teacher" / "model"), "--task", FEW_SHOT]
        assert main([*command, *options, "--output", str(work / "labels")]) == 0
        few = {**data, "MIXTURE_OR_TASK_NAME": FEW_SHOT, "LABEL_TEXTS": TEXTS}
        labels = {"TEACHER_LABELS": str(work / "labels")}
        train("gin/runs/distil.gin", work / "bilstm", {**few, **TINY_BILSTM, **labels})
        single = {"SINGLE_TOKEN_TAGS": True}
        train(
            "gin/runs/distil_t5.gin", work / "t5", {**few, **LENGTHS, **labels, **start, **single}
        )
        yield work
    locations.set_data_dir(None)


def test_the_teacher_starts_from_the_checkpoint(work: Path) -> None:
    config, params = read_hf(work / "start")
    teacher = load_model(work / "teacher" / "model")
    assert teacher.config == config and config.dropout_rate > 0  # though it was trained without
    before = params["token_embedder"]["embedding"]
    after = teacher.params["token_embedder"]["embedding"]
    # One step of a rate of 2e-3 has moved it, but not far.
    assert 0 < np.abs(after - before).max() < 0.01
    assert teacher.metadata["role"] == "teacher"
    assert teacher.metadata["training"]["steps"] == 1
    assert 0 <= teacher.metadata["metrics"]["f1"] <= 1


def test_labels_are_verbalised_as_the_run_says(work: Path) -> None:
    prepared = LabelSet.load(work / "prepared" / TASK / "train" / "labels.txt")
    assert prepared == LabelSet(prepared.names)  # what is prepared stays as the task has it
    labels = load_model(work / "teacher" / "model").labels
    assert labels == prepared.with_texts(TEXTS) != prepared


def test_a_student_may_have_a_token_for_each_tag(work: Path) -> None:
    model = load_model(work / "t5" / "model")
    assert model.settings.single_token_tags
    assert not load_model(work / "teacher" / "model").settings.single_token_tags
    sent_format = SenTFormat(
        model.vocabulary, model.labels, single_token_tags=True, rows=model.config.vocab_size
    )
    assert {len(ids) for ids in sent_format.tag_token_ids} == {1}
    # The checkpoint it starts from has no row to spare: sentinels are taken.
    assert sent_format.max_words == 99 - model.labels.num_tags
    # One step has moved the rows of its tags, which the words of no sentence use.
    _, start = read_hf(work / "start")
    [(tag,), *_] = sent_format.tag_token_ids
    moved = [params["token_embedder"]["embedding"][tag] for params in (start, model.params)]
    assert np.abs(moved[0] - moved[1]).max() > 1e-4


def test_single_token_tags_are_of_one_label_set(
    work: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = [s for s in demo_data.generate("train", 40) if 5 <= len(s.words) <= 8][:2]
    for split in ("train", "valid"):
        folder = work / "data" / f"{TASK}_other"
        write_conll(folder / f"{split}.conll", other)
        (folder / "labels.txt").write_text("\n".join([*demo_data.LABELS.names, "more"]))
    values = {
        **SHORT,
        **LENGTHS,
        "MODEL_DIR": str(work / "none"),
        "DATA_DIR": str(work / "data"),
        "MIXTURE_OR_TASK_NAME": {TASK: 1.0, f"{TASK}_other": 1.0},
        "INITIAL_CHECKPOINT_PATH": str(work / "start"),
        "SINGLE_TOKEN_TAGS": True,
        "EVAL_TASK": TASK,
    }
    options = [f"--gin.{binding}" for binding in bindings(values)]
    assert main(["train", "--gin_file=gin/runs/finetune.gin", *options]) == 2
    assert "single_token_tags needs one label set" in capfd.readouterr().err


def test_labels_are_of_gold_and_silver(work: Path) -> None:
    labels = TeacherLabels(work / "labels")
    assert len(labels) == 16
    assert labels.header["decoder"]["algorithm"] == "sentscore"
    for label in labels:
        np.testing.assert_allclose(np.exp(label.log_posteriors).sum(-1), 1, rtol=0.01)


@pytest.mark.parametrize("name", ["bilstm", "t5"])
def test_students_say_how_they_were_trained(work: Path, name: str) -> None:
    model = load_model(work / name / "model")
    facts = model.metadata["training"]
    assert facts["recipe"] == "kd"
    assert facts["gold_sentences"] == facts["silver_sentences"] == 8
    assert model.metadata["role"] == "student"


@pytest.mark.parametrize("name", ["teacher", "bilstm", "t5"])
def test_every_model_evaluates(work: Path, tmp_path: Path, name: str) -> None:
    data = work / "data" / TASK / "test.conll"
    command = ["evaluate", "--model", str(work / name / "model"), "--data", str(data)]
    assert main([*command, "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["sentences"] == 4
    assert figures["illegal"] == 0


def test_a_finished_run_is_not_run_again(
    work: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (work / "bilstm" / "model" / "model.safetensors").read_bytes()
    data = {"DATA_DIR": str(work / "data"), "PREPARED_DATA_DIR": str(work / "prepared")}
    labels = {
        "MIXTURE_OR_TASK_NAME": FEW_SHOT,
        "TEACHER_LABELS": str(work / "labels"),
        "LABEL_TEXTS": TEXTS,
    }
    train("gin/runs/distil.gin", work / "bilstm", {**data, **TINY_BILSTM, **labels})
    assert "already trained" in capfd.readouterr().err
    assert (work / "bilstm" / "model" / "model.safetensors").read_bytes() == before


@pytest.mark.slow  # trains a teacher and its students
def test_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "it's a demo"  # a quote in a path must not end a Gin string
    sizes = Sizes(train=24, valid=2, test=3, gold=8, dev=2, silver=8)
    small = {**SHORT, "NewVocabulary.size": 120, **TINY_T5, **TINY_BILSTM}
    summary = demo(out, sizes=sizes, bindings=bindings(small))
    names = ["teacher", "bilstm-gold", "bilstm-kd"]
    assert [model["name"] for model in summary["models"]] == names
    said = capsys.readouterr().out
    assert (
        said.splitlines()[-1]
        == f"  distill-jax serve --model {shlex.quote(f'{out}/bilstm-kd/model')}"
    )
    summary = demo(out, full=True, sizes=sizes, bindings=bindings(small))  # what is done stays
    assert summary == json.loads((out / "summary.json").read_text())
    assert summary["dataset"] == "demo"
    assert [(m["name"], m["role"], m["recipe"]) for m in summary["models"]] == [
        ("teacher", "teacher", "gold"),
        ("bilstm-gold", "student", "gold"),
        ("bilstm-pseudo", "student", "pseudo"),
        ("bilstm-kd", "student", "kd"),
        ("t5-kd", "student", "kd"),
    ]
    table = (out / "summary.txt").read_text()
    for model in summary["models"]:
        assert model["name"] in table
        for figure in ("f1", "f1_strict", "perfect", "ece"):
            assert 0 <= model[figure] <= 1
        assert isinstance(model["parameters"], int) and model["parameters"] > 0
        assert model["sentences_per_second"] > 0
        assert model["seconds_to_train"] > 0
        [found] = Tagger.load(out / model["name"] / "model").predict(["play wow by jon theodore"])
        assert len(found.tags) == 5
