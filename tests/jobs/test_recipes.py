"""Recipes for students by their Gin files, one step each, with tiny models.

Nearly all of the time is compilation, so recipes that compile to the same program share a test.
"""

import json
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
from distill_jax.kinds.base import Model
from distill_jax.labels.store import write_store
from distill_jax.model_dir.directory import load_model, open_checkpoint
from distill_jax.tagging import Sentence
from tests.compiled_once import compiled_once
from tests.tiny import T5_CONFIG, write_t5_start
from tests.tiny_bert import write_encoder, write_wordpieces

TASK = "tiny_recipes"
FEW_SHOT = f"{TASK}_gold8_dev4_silver8_seed0"
LABELS = demo_data.LABELS
# Tests run on eight virtual devices, which the batch has to divide over.
SHORT = {"TRAIN_STEPS": 1, "EVAL_PERIOD": 1, "BATCH_SIZE": 8, "WARMUP_STEPS": 1}
TINY = {
    "BiLSTMConfig.word_dim": 8,
    "BiLSTMConfig.char_dim": 4,
    "BiLSTMConfig.char_hidden": 4,
    "BiLSTMConfig.hidden": 8,
}
TINY_ENCODER = {
    "EncoderTaggerConfig.d_model": 8,
    "EncoderTaggerConfig.d_kv": 4,
    "EncoderTaggerConfig.d_ff": 8,
    "EncoderTaggerConfig.num_heads": 2,
    "EncoderTaggerConfig.num_layers": 1,
}
START = T5_CONFIG.replace(num_encoder_layers=3, num_decoder_layers=2)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A task, a T5 to start from, and two stores of random teachers."""
    work = tmp_path_factory.mktemp("recipes")
    pool: list[Sentence] = []
    for split, size in (("train", 24), ("valid", 4)):
        sentences = [s for s in demo_data.generate(split, 8 * size) if 5 <= len(s.words) <= 8]
        write_conll(work / "data" / TASK / f"{split}.conll", sentences[:size])
        pool += sentences[:size] if split == "train" else []
    LABELS.save(work / "data" / TASK / "labels.txt")
    write_t5_start(work / "start", START)
    write_encoder(work / "bert")
    pieces = [*"abcdefghijklmnopqrstuvwxyz", "play", "##s", "to", "in"]
    write_wordpieces(work / "bert", pieces)
    labels = LABELS
    words = sorted({sentence.words for sentence in pool})
    for number in range(2):
        rng = np.random.default_rng(number)

        def label(chunk: Any, rng: np.random.Generator = rng) -> Any:
            found = []
            for sentence in chunk:
                scores = rng.normal(size=(len(sentence.words), labels.num_tags))
                scores[:, 1] = -np.inf  # all O, so I is illegal
                found.append((np.zeros(len(sentence.words), np.int32), scores.astype(np.float32)))
            return found

        write_store(
            work / f"labels{number}", [Sentence(one) for one in words], labels, label, settings={}
        )
    with compiled_once(str(work / "xla")):
        yield work
    locations.set_data_dir(None)


def options(work: Path, name: str, values: Mapping[str, Any]) -> list[str]:
    values = {
        **SHORT,
        "MODEL_DIR": str(work / name),
        "MIXTURE_OR_TASK_NAME": FEW_SHOT,
        "DATA_DIR": str(work / "data"),
        "PREPARED_DATA_DIR": str(work / "prepared"),
        **values,
    }
    return [f"--gin.{key}={value!r}" for key, value in values.items()]


def train(work: Path, gin_file: str, name: str, values: Mapping[str, Any]) -> Model:
    command = ["train", f"--gin_file=gin/runs/{gin_file}.gin", *options(work, name, values)]
    assert main(command) == 0
    return load_model(work / name / "model")


def facts(model: Model) -> dict[str, Any]:
    return dict(model.metadata["training"])


def test_gold_alone(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "vectors.txt").write_text("elsewhere 1 2 3 4 5 6 7 8\nto 1 2 3 4 5 6 7 8\n")
    model = train(
        work, "distil_gold", "gold", {**TINY, "EMBEDDING_FILE": str(work / "vectors.txt")}
    )
    found = facts(model)
    assert found["recipe"] == "gold" and found["silver_sentences"] == 0
    assert list(model.vocabulary.frozen_rows) == ["elsewhere", "to"]
    assert "\nword vectors: 1 of " in "\n" + capsys.readouterr().err


@pytest.mark.slow
def test_pseudo_labels_weighted_by_confidence(work: Path) -> None:
    labels = {"TEACHER_LABELS": str(work / "labels0")}
    plain = train(work, "distil_pseudo", "pseudo", {**TINY, **labels})
    assert facts(plain)["recipe"] == "pseudo" and "confidence_weighting" not in facts(plain)
    weighted = train(
        work,
        "distil_weighted",
        "weighted",
        {
            **TINY,
            **labels,
            "CONFIDENCE_WEIGHTING": "top_posterior",
            "KL_WEIGHT": 0.0,
            "MIN_CONFIDENCE": 1e-30,
        },
    )
    assert facts(weighted)["confidence_weighting"] == "top_posterior"
    assert facts(weighted)["min_confidence"] == 1e-30
    assert facts(weighted)["unsure_sentences"] == 0
    # The same data in the same order: only the weights differ, and so does what was learnt.
    assert not np.array_equal(plain.params["output"]["bias"], weighted.params["output"]["bias"])


@pytest.mark.slow
def test_weights_that_are_learnt(work: Path) -> None:
    values = {
        **TINY,
        "TEACHER_LABELS": str(work / "labels0"),
        "CONFIDENCE_WEIGHTING": "learnt",
        "LOG_PERIOD": 1,
    }
    model = train(work, "distil_weighted", "learnt", values)
    assert facts(model)["confidence_weighting"] == "learnt"
    lines = (work / "learnt" / "metrics.jsonl").read_text().splitlines()
    assert any("silver_used" in json.loads(line) for line in lines)


@pytest.mark.slow
def test_several_teachers_and_embeddings_of_one(work: Path) -> None:
    stores = (str(work / "labels0"), str(work / "labels1"))
    found = train(work, "distil_teachers", "teachers", {**TINY, "TEACHER_LABELS": stores})
    assert facts(found)["teachers"] == 2 and facts(found)["recipe"] == "kd"
    svd = train(
        work,
        "distil_svd",
        "svd",
        {**TINY, "TEACHER_LABELS": stores[0], "TEACHER_EMBEDDING": str(work / "start")},
    )
    embedding = svd.params["word_embedding"]["embedding"]
    # One step has not moved it far from rows of mean squared norm 1.
    assert np.square(embedding[2:]).sum(-1).mean() == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_an_encoder_tagger_of_a_teachers_layers(work: Path) -> None:
    student = train(
        work,
        "distil_encoder",
        "encoder",
        {
            "TEACHER_LABELS": str(work / "labels0"),
            "INITIAL_CHECKPOINT_PATH": str(work / "start"),
            "ENCODER_LAYERS": (0, 2),
        },
    )
    assert facts(student)["recipe"] == "kd" and student.metadata["role"] == "student"
    assert student.config.num_layers == 2  # type: ignore[union-attr]
    _, start = read_hf(work / "start")
    for here, there in ((0, 0), (1, 2)):
        own = student.params["encoder"][f"layers_{here}"]["mlp"]["wo"]["kernel"]
        theirs = start["encoder"][f"layers_{there}"]["mlp"]["wo"]["kernel"]
        assert 0 < np.abs(own - theirs).max() < 0.01
    assert 0 <= student.metadata["metrics"]["f1"] <= 1


@pytest.mark.slow
def test_an_encoder_tagger_of_random_weights(work: Path) -> None:
    student = train(
        work,
        "distil_encoder",
        "random",
        {**TINY_ENCODER, "VOCABULARY": str(work / "start"), "TEACHER_LABELS": None},
    )
    assert facts(student)["recipe"] == "gold"
    assert student.config.vocab_size % 128 == 0  # type: ignore[union-attr]
    assert json.loads((work / "random" / "model" / "config.json").read_text())["d_model"] == 8


@pytest.mark.slow
def test_a_bert_of_a_checkpoints_layers_is_fine_tuned_and_distilled(work: Path) -> None:
    """Also with its parameters spread over devices."""
    start = {"INITIAL_CHECKPOINT_PATH": str(work / "bert"), "ENCODER_LAYERS": (0, 2)}
    first = train(work, "bert_gold", "bert_gold", {**start, "BATCH_SIZE": 8})
    assert facts(first)["recipe"] == "gold" and first.config.num_layers == 2
    theirs = open_checkpoint(work / "bert").read()["bert"]
    for here, there in ((0, 0), (1, 2)):
        own = first.params["bert"][f"layers_{here}"]["wo"]["kernel"]
        assert 0 < np.abs(own - theirs[f"layers_{there}"]["wo"]["kernel"]).max() < 0.01
    labels = {"TEACHER_LABELS": str(work / "labels0")}
    again = {**start, "INITIAL_CHECKPOINT_PATH": str(work / "bert_gold" / "model"), **labels}
    spread = {"ENCODER_LAYERS": None, "MESH_FSDP": 2, "MESH_MODEL": 2}
    second = train(work, "bert_distil", "bert_kd", {**again, **spread})
    assert facts(second)["recipe"] == "kd" and second.config == first.config
    difference = second.params["bert"]["layers_1"]["wo"]["kernel"] - own
    assert 0 < np.abs(difference).max() < 0.01
    assert second.vocabulary.content_hash() == first.vocabulary.content_hash()


TINY_BERT = {
    f"BertConfig.{name}": value
    for name, value in {"d_model": 4, "d_ff": 8, "num_heads": 2, "num_layers": 1}.items()
}


@pytest.mark.slow
def test_a_bert_of_random_weights(work: Path) -> None:
    """Over any vocabulary of subwords, here T5's kind."""
    values = {**TINY_BERT, "VOCABULARY": str(work / "start")}
    found = train(work, "bert_gold", "bert_random", values)
    assert found.config.vocab_size % 128 == 0 and found.config.num_layers == 1
    assert found.config.vocab_size >= found.vocabulary.size > 128


@pytest.mark.slow
def test_a_bert_with_a_reduced_embedding(work: Path) -> None:
    """Differences between tokens are kept as well as four numbers can."""
    values = {**TINY_BERT, "TEACHER_EMBEDDING": str(work / "bert"), "LEARNING_RATE": 1e-6}
    found = train(work, "bert_gold", "bert_svd", values)
    theirs = open_checkpoint(work / "bert").embedding()
    own = found.params["bert"]["embeddings"]["tokens"]["embedding"]
    assert own.shape == (128, 4) and theirs.shape == (128, 8)
    _, singular, right = np.linalg.svd(theirs, full_matrices=False)
    np.testing.assert_allclose(np.linalg.norm(own, axis=0), singular[:4], rtol=1e-3)
    np.testing.assert_allclose(np.abs(theirs @ right[:4].T), np.abs(own), atol=1e-3)


@pytest.mark.slow
def test_a_t5_of_a_teachers_layers(work: Path) -> None:
    student = train(
        work,
        "distil_t5_layers",
        "t5",
        {
            "TEACHER_LABELS": str(work / "labels0"),
            "KL_WEIGHT": 0.0,
            "INITIAL_CHECKPOINT_PATH": str(work / "start"),
            "ENCODER_LAYERS": (2,),
            "DECODER_LAYERS": (1,),
            "TASK_FEATURE_LENGTHS": {"inputs": 96, "targets": 96},
        },
    )
    _, start = read_hf(work / "start")
    assert {name for name in student.params["decoder"] if "layers" in name} == {"layers_0"}
    own = student.params["decoder"]["layers_0"]["mlp"]["wo"]["kernel"]
    theirs = start["decoder"]["layers_1"]["mlp"]["wo"]["kernel"]
    assert 0 < np.abs(own - theirs).max() < 0.01


@pytest.mark.parametrize(
    ("gin_file", "values", "message"),
    [
        ("distil_pseudo", {}, "TEACHER_LABELS is required"),
        ("distil_svd", {"TEACHER_LABELS": "labels0"}, "TEACHER_EMBEDDING is required"),
        (
            "distil_gold",
            {"CONFIDENCE_WEIGHTING": "margin"},
            "none, top_posterior, entropy, sequence, learnt",
        ),
        (
            "distil_symmetric",
            {"TEACHER_LABELS": "labels0", "MIN_CONFIDENCE": 0.999},
            "MIN_CONFIDENCE: of none of the",
        ),
        (
            "distil_encoder",
            {
                "TEACHER_LABELS": None,
                "INITIAL_CHECKPOINT_PATH": "start",
                "CONFIDENCE_WEIGHTING": "learnt",
            },
            "'learnt' is for BiLSTMs",
        ),
        ("distil_gold", {"MIN_CONFIDENCE": 1.5}, "MIN_CONFIDENCE is 1.5"),
        (
            "distil_gold",
            {"EMBEDDING_FILE": "bert/config.json", "TEACHER_EMBEDDING": "bert"},
            "one of EMBEDDING_FILE, TEACHER_EMBEDDING and EMBEDDING_TEXT",
        ),
        (
            "distil_encoder",
            {"TEACHER_LABELS": None},
            "needs INITIAL_CHECKPOINT_PATH, or VOCABULARY",
        ),
        (
            "distil_encoder",
            {"TEACHER_LABELS": None, "ENCODER_LAYERS": (0,)},
            "no checkpoint to take them from",
        ),
        ("bert_gold", {}, "a BERT needs INITIAL_CHECKPOINT_PATH"),
        ("bert_gold", {"ENCODER_LAYERS": (0,)}, "no checkpoint to take them from"),
        ("bert_gold", {"INITIAL_CHECKPOINT_PATH": "start"}, "starts from a BERT, ELECTRA or"),
        (
            "bert_gold",
            {"INITIAL_CHECKPOINT_PATH": "bert", "ENCODER_LAYERS": (3,)},
            "layer 3 of the encoder is chosen, but the teacher has layers 0 to 2",
        ),
        (
            "bert_gold",
            {"INITIAL_CHECKPOINT_PATH": "bert", "VOCABULARY": "start"},
            "takes its subwords from one of INITIAL_CHECKPOINT_PATH, TEACHER_EMBEDDING, VOC",
        ),
        (
            "bert_gold",
            {"TEACHER_EMBEDDING": "bert", "BertConfig.d_model": 12},
            "its embedding is 8 wide, and cannot be reduced to 12",
        ),
        (
            "distil_t5",
            {"TEACHER_LABELS": None, "DECODER_LAYERS": (0,)},
            "no checkpoint to take them from",
        ),
        (
            "distil_t5_layers",
            {
                "TEACHER_LABELS": None,
                "INITIAL_CHECKPOINT_PATH": "start",
                "ENCODER_LAYERS": (0, 3),
                "DECODER_LAYERS": None,
            },
            "layer 3 of the encoder is chosen, but the teacher has layers 0 to 2",
        ),
    ],
)
def test_bad_recipes(
    work: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    gin_file: str,
    values: dict[str, Any],
    message: str,
) -> None:
    repository = Path(__file__).parents[2]
    monkeypatch.chdir(work)  # for INITIAL_CHECKPOINT_PATH
    command = ["train", f"--gin_file={repository}/gin/runs/{gin_file}.gin"]
    assert main([*command, *options(work, "bad", values)]) == 2
    [line] = [line for line in capfd.readouterr().err.splitlines() if "error" in line.lower()]
    assert message in line
