"""Pre-training with another model's word states: it learns them, others start from it, bad input."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.cli import main
from distill_jax.data import demo as demo_data
from distill_jax.data import locations
from distill_jax.data.readers import write_conll
from distill_jax.model_dir.directory import load_model, open_checkpoint
from distill_jax.models.t5_config import T5Config
from tests.compiled_once import compiled_once
from tests.tiny_bert import BERT, write_encoder, write_wordpieces

TASK = "tiny_matched"
STEPS = 24
SIZES = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_heads": 2}
SIZES |= {"num_encoder_layers": 2, "num_decoder_layers": 1}


class Folder:
    """A task, a bare BERT, and word vectors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        sentences = [s for s in demo_data.generate("train", 200) if 5 <= len(s.words) <= 8]
        for split, part in (("train", sentences[:40]), ("valid", sentences[40:48])):
            write_conll(path / "data" / TASK / f"{split}.conll", part)
        demo_data.LABELS.save(path / "data" / TASK / "labels.txt")
        self.words = sorted({word.lower() for s in sentences for word in s.words})
        self.bert = BERT.replace(vocab_size=512, max_positions=128)
        write_encoder(path / "bert", self.bert)
        write_wordpieces(path / "bert", self.words[:300])
        rng = np.random.default_rng(0)
        lines = (
            f"{word} " + " ".join(f"{x:.4f}" for x in rng.normal(size=5)) for word in self.words
        )
        (path / "vectors.txt").write_text("".join(f"{line}\n" for line in lines))

    def run(self, name: str, recipe: str = "match_states", **changes: Any) -> int:
        values = {
            **{f"T5Config.{field}": value for field, value in SIZES.items()},
            "MODEL_DIR": str(self.path / name),
            "MIXTURE_OR_TASK_NAME": {TASK: 1.0, f"{TASK}_text": 1.0},
            "VOCABULARY_TASKS": {TASK: 1.0},
            "NewVocabulary.size": 300,
            "STATES_TEXT": {f"{TASK}_text": 1.0},
            "STATE_LAYERS": ((2, 3),),
            "STATES_WEIGHT": 4.0,
            "TEACHER": str(self.path / "bert"),
            "EMBEDDING_TEXT": None,
            "EMBEDDING_FILE": str(self.path / "vectors.txt"),
            "EMBEDDING_DIM": 5,
            "DATA_DIR": str(self.path / "data"),
            "PREPARED_DATA_DIR": str(self.path / "prepared"),
            "TASK_FEATURE_LENGTHS": {"inputs": 64, "targets": 64},
            "BATCH_SIZE": 4,
            "TRAIN_STEPS": STEPS,
            "EVAL_PERIOD": STEPS // 2,
            "LEARNING_RATE": 1e-2,
            "MESH_DATA": 1,
            "Placement.first_devices": 1,
            **changes,
        }
        options = [f"--gin.{k.replace('__', '.')}={v!r}" for k, v in values.items() if v is not ...]
        return main(["train", f"--gin_file=gin/runs/{recipe}.gin", *options])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    with compiled_once(str(tmp_path_factory.mktemp("xla"))):
        yield Folder(tmp_path_factory.mktemp("matched"))
    locations.set_data_dir(None)


@pytest.fixture(scope="module")
def matched(folder: Folder) -> Path:
    assert folder.run("matched") == 0
    return folder.path / "matched"


@pytest.mark.slow
def test_states_come_nearer_and_the_language_model_is_learnt(matched: Path) -> None:
    lines = map(json.loads, (matched / "metrics.jsonl").read_text().splitlines())
    dev = [line for line in lines if "selection" in line]
    assert [line["step"] for line in dev] == [STEPS // 2, STEPS]
    assert dev[1]["states"] < 0.7 * dev[0]["states"]
    assert dev[1]["states"] == dev[1]["states_2_3"]
    assert dev[1]["nll"] < dev[0]["nll"]
    assert dev[1]["selection"] == pytest.approx(-dev[1]["loss"] - 4.0 * dev[1]["states"])


@pytest.mark.slow
def test_what_it_leaves_is_a_t5_that_is_tuned_to_tag(folder: Folder, matched: Path) -> None:
    checkpoint = open_checkpoint(matched / "model")
    assert isinstance(checkpoint.config, T5Config)
    assert set(checkpoint.read()) == {"token_embedder", "encoder", "decoder"}
    of_pretraining = ("VOCABULARY_TASKS", "STATES_TEXT", "STATE_LAYERS", "STATES_WEIGHT", "TEACHER")
    gone = dict.fromkeys((*of_pretraining, "NewVocabulary.size", "EMBEDDING_FILE"), ...)
    gone |= dict.fromkeys(
        ("EMBEDDING_TEXT", "EMBEDDING_DIM", *(f"T5Config.{field}" for field in SIZES)), ...
    )
    start = {"INITIAL_CHECKPOINT_PATH": str(matched / "model"), "MIXTURE_OR_TASK_NAME": TASK}
    short = {"TRAIN_STEPS": 1, "EVAL_PERIOD": 1, "EVAL_EXAMPLES": 2}
    assert folder.run("tuned", "finetune", **gone, **start, **short) == 0
    tuned = load_model(folder.path / "tuned" / "model")
    assert tuned.config == checkpoint.config
    assert tuned.labels.names == demo_data.LABELS.names


def test_what_cannot_be_matched_is_refused_before_anything_is_trained(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    other = folder.path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "gpt2"}')
    for changes, line in (
        ({"STATE_LAYERS": ((3, 3),)}, "STATE_LAYERS has layer 3 of the student"),
        ({"STATE_LAYERS": ((2, 4),)}, "STATE_LAYERS has layer 4 of the teacher"),
        ({"STATES_WEIGHT": 0.0}, "STATES_WEIGHT is 0.0; it must be above 0"),
        ({"STATES_PER_ROW": 0}, "STATES_PER_ROW is 0"),
        ({"TEACHER": str(folder.path / "gone")}, "gone: no such directory"),
        ({"TEACHER": str(other)}, "'gpt2'"),
        ({"EMBEDDING_DIM": 6}, "vectors.txt"),
        ({"EMBEDDING_DIM": 0}, "EMBEDDING_DIM is 0"),
        ({"EMBEDDING_TEXT": TASK}, "one of EMBEDDING_FILE and EMBEDDING_TEXT only"),
        ({"TEACHER_EMBEDDING": str(other), "EMBEDDING_FILE": None}, "give EMBEDDING_TEXT"),
        (
            {"INITIAL_CHECKPOINT_PATH": str(other)},
            "EMBEDDING_FILE is for a start from random weights",
        ),
    ):
        capfd.readouterr()
        assert folder.run("refused", **changes) == 2, changes
        assert line in capfd.readouterr().err, changes
    assert not list(folder.path.glob("refused/checkpoints"))


def test_compile_refuses_it_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "--gin_file=gin/runs/match_states.gin", "--topology", "cpu"]) == 2
    assert "a run that matches states is not planned" in capfd.readouterr().err
