"""Words that only a file of vectors has: known at prediction, absent from training."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.distill.tags import DistillationWeights, TaggerDistillation
from distill_jax.errors import UserError
from distill_jax.inference.words import WordPredictor
from distill_jax.jobs.evaluation import dev_evaluation
from distill_jax.jobs.resources import RunResources
from distill_jax.jobs.sources import Sources
from distill_jax.jobs.targets import student_targets
from distill_jax.kinds.base import Learner, Lesson, Model
from distill_jax.kinds.bilstm import BiLSTMStudent
from distill_jax.kinds.word_vectors import WordVectors
from distill_jax.labels.record import TeacherLabel
from distill_jax.model_dir.directory import load_model, save_model
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.models.partitioning import ANYWHERE
from distill_jax.parallel.mesh import Placement
from distill_jax.safetensors_io import read_entries
from distill_jax.tagger import Tagger
from distill_jax.tagging import Sentence
from distill_jax.train.loop import fit
from distill_jax.train.optimizers import AdamW, Constant
from distill_jax.train.same_run import Origin
from distill_jax.train.state import create_state
from distill_jax.train.step import make_step
from distill_jax.train.training import Schedule, Training
from distill_jax.vocab import WordVocabulary
from tests.tiny import LABELS, bilstm_params, save_tiny

GOLD = [
    Sentence(("to", "berlin", "in", "may"), ("O", "B-city", "O", "B-date_time")),
    Sentence(("from", "oslo"), ("O", "B-city")),
]
DEV = [Sentence(("from", "Rome", "qqq"), ("O", "B-city", "O"))]
FILE = "the .5 .25 1\nrome 3 -1 .1\nto 1 2 3\nberlin -2 1 0\nparis 4 4 4\n"
MODEL = BiLSTMConfig(word_dim=3, char_dim=2, char_hidden=2, hidden=3)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vectors") / "glove.txt"
    path.write_text(FILE)
    return path


def training(model_dir: Path | str = "nowhere", steps: int = 2) -> Training:
    return Training(
        model_dir=str(model_dir),
        batch_size=2,
        optimizer=AdamW(Constant(0.05)),
        schedule=Schedule(steps, eval_period=1),
        placement=Placement(first_devices=1),
    )


def learner_of(path: Path, **options: Any) -> Learner:
    lesson = Lesson(
        LABELS,
        student_targets(GOLD, LABELS, None),
        DistillationWeights(0.0, 1.0),
        training(),
        RunResources(Sources("nowhere"), "t"),
    )
    return BiLSTMStudent(MODEL, WordVectors(file=str(path), **options)).learner(lesson)


def test_words_of_gold_sentences_are_trained_however_rare() -> None:
    words = ("to", "oslo", "madrid")
    silver = [TeacherLabel(words[:n], np.zeros(n, int), np.zeros((n, 3))) for n in (1, 2, 3)]
    lesson = Lesson(
        LABELS,
        student_targets(GOLD[1:], LABELS, silver),
        DistillationWeights(0.0, 1.0),
        training(),
        RunResources(Sources("nowhere"), "t"),
    )
    assert BiLSTMStudent(min_word_count=3).vocabulary(lesson).words == ("oslo", "to", "from")


def test_rare_words_read_in_training_what_they_read_at_prediction(vectors: Path) -> None:
    words = ("to", "rome", "qqq")  # in gold, in the file alone, in neither
    silver = [TeacherLabel(words, np.zeros(3, int), np.zeros((3, LABELS.num_tags)))]
    lesson = Lesson(
        LABELS,
        student_targets(GOLD, LABELS, silver),
        DistillationWeights(0.0, 1.0),
        dataclasses.replace(training(), batch_size=3),
        RunResources(Sources("nowhere"), "t"),
    )
    learner = BiLSTMStudent(MODEL, WordVectors(file=str(vectors)), min_word_count=2).learner(lesson)
    batch = learner.batches[0]
    assert isinstance(learner.objective, TaggerDistillation)
    row = int(np.flatnonzero((batch["word_ids"][:, :3] == [2, -1, 1]).all(1))[0])
    np.testing.assert_allclose(batch["given_vectors"][row, 1], [3, -1, 0.1], rtol=1e-6)
    assert not np.delete(batch["given_vectors"].reshape(-1, 3), row * 8 + 1, axis=0).any()
    assert learner.initial_params is not None
    params = learner.initial_params()
    inputs = [batch[name] for name in learner.objective.inputs]
    logits = jax.jit(learner.objective.model.apply)({"params": params}, *inputs)
    trained = jax.nn.log_softmax(logits[row, :3])
    [predicted] = scores(learner, learner.final(params), [words])
    np.testing.assert_allclose(trained, predicted, rtol=1e-4, atol=1e-5)


def scores(learner: Learner, params: Any, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
    assert learner.predictor is not None
    predictions = learner.predictor.predict(params, sentences)
    return [np.asarray(prediction.log_likelihoods) for prediction in predictions]


def trained_params(learner: Learner) -> Any:
    """Random parameters with which each word counts."""
    return bilstm_params(learner.config.replace(num_frozen_words=0))


def model_of(learner: Learner) -> Model:
    params = learner.final(trained_params(learner))
    return Model(learner.config, params, learner.vocabulary, LABELS)


def test_which_words_the_model_knows(vectors: Path) -> None:
    found = learner_of(vectors)
    vocabulary: WordVocabulary = found.vocabulary
    assert set(vocabulary.words) == {"to", "berlin", "in", "may", "from", "oslo"}
    assert list(vocabulary.frozen_rows) == ["the", "rome", "to", "berlin", "paris"]
    assert found.config.num_words == 8 and found.config.num_frozen_words == 5
    assert vocabulary.word_id("ROME") == 8 + 1 and vocabulary.word_id("qqq") == 1
    assert vocabulary.word_id("berlin") < 8  # a word of training has its own row
    assert found.coverage is not None and "1 trained, 1 in the file alone, 1 unknown" in (
        found.coverage(DEV).replace("are trained", "trained")
    )
    first = learner_of(vectors, words=1).vocabulary
    assert list(first.frozen_rows) == ["the"]
    assert learner_of(vectors, words=0).config.num_frozen_words == 0
    for name, value in (("words", -1), ("dtype", "bfloat16")):
        with pytest.raises(UserError, match=f"EMBEDDING_{name.upper()}"):
            WordVectors(file="f", **{name: value})  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_training_step_knows_nothing_of_the_table(vectors: Path) -> None:
    """The same program on the same arguments, so the same operations, memory and result."""
    ends, programs, sizes = [], [], []
    optimizer = training().optimizer.make()
    mesh = Placement(first_devices=1).mesh()
    for words in (0, None):
        learner = learner_of(vectors, words=words)
        assert learner.initial_params is not None
        state = create_state(learner.objective, optimizer, mesh, 0, learner.initial_params())
        step = jax.jit(make_step(learner.objective, optimizer, ANYWHERE))
        assert learner.objective.init_frozen(jax.random.key(0)) is None
        lowered = step.lower(state, learner.batches[0], jax.random.key(1))
        compiled = lowered.compile()
        programs.append(lowered.as_text())
        costs, memory = compiled.cost_analysis(), compiled.memory_analysis()
        sizes.append((costs["flops"], memory.argument_size_in_bytes, memory.temp_size_in_bytes))
        ends.append(compiled(state, learner.batches[0], jax.random.key(1)))
    assert programs[0] == programs[1]
    assert sizes[0] == sizes[1]
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_prediction_looks_frozen_words_up(vectors: Path) -> None:
    """As a model would that has the file's vectors in rows of its own."""
    learner = learner_of(vectors)
    params = trained_params(learner)
    sentences = [("from", "Rome"), ("to", "paris", "to", "qqq"), ("in", "may")]
    found = scores(learner, learner.final(params), sentences)
    own = learner.vocabulary
    grown = WordVocabulary([*own.words, "rome", "paris"], own.characters)
    table = np.concatenate(
        [params["word_embedding"]["embedding"], np.array([[3, -1, 0.1], [4, 4, 4]], np.float32)]
    )
    config = learner.config.replace(num_words=grown.num_words, num_frozen_words=0)
    expected = WordPredictor(BiLSTMTagger(config), grown, LABELS).predict(
        {**params, "word_embedding": {"embedding": table}}, sentences
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.log_likelihoods, atol=1e-6)
    without = scores(learner_of(vectors, words=0), params, sentences)
    assert np.abs(found[0] - without[0]).max() > 0.01 < np.abs(found[1] - without[1]).max()
    np.testing.assert_allclose(found[2], without[2], atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_model_directory_holds_the_table(vectors: Path, tmp_path: Path, dtype: str) -> None:
    learner = learner_of(vectors, dtype=dtype)
    model = model_of(learner)
    save_model(tmp_path / "m", model)
    entries = read_entries(tmp_path / "m" / "model.safetensors")
    stored = {name: entry.dtype for name, entry in entries.items() if entry.dtype != "F32"}
    name = "frozen_embedding/embedding"
    assert stored == ({name: "F16"} if dtype == "float16" else {})
    loaded = load_model(tmp_path / "m")
    jax.tree.map(np.testing.assert_array_equal, dict(loaded.params), dict(model.params))
    assert loaded.params["frozen_embedding"]["embedding"].dtype == dtype
    tagger = Tagger.load(tmp_path / "m")
    sentences = [("from", "Rome"), ("to", "paris", "qqq")]
    for one, other in zip(
        tagger.decode(sentences), scores(learner, model.params, sentences), strict=True
    ):
        np.testing.assert_array_equal(one.log_likelihoods, other)
    trained = sum(leaf.size for leaf in jax.tree.leaves(trained_params(learner)))
    assert (tagger.parameters, tagger.frozen_parameters) == (trained, 5 * 3)
    assert f"{trained} parameters, and 15 frozen ones" in (tmp_path / "m" / "README.md").read_text()


def test_a_vector_too_large_for_float16(tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_text("x 1 2 70000\n")
    with pytest.raises(UserError, match=r"large\.txt: .*too large for float16"):
        learner_of(tmp_path / "large.txt", dtype="float16")
    assert learner_of(tmp_path / "large.txt").config.num_frozen_words == 1


def test_what_does_not_belong_together(vectors: Path, tmp_path: Path) -> None:
    model = model_of(learner_of(vectors))
    save_model(tmp_path / "m", model)
    fewer = model.vocabulary.with_frozen({"the": 0})
    with pytest.raises(UserError, match="1 frozen words, the model's frozen table 5"):
        save_model(tmp_path / "n", dataclasses.replace(model, vocabulary=fewer))
    other = WordVocabulary(
        model.vocabulary.words[1:],
        model.vocabulary.characters,
        frozen_rows=model.vocabulary.frozen_rows,
    )
    with pytest.raises(UserError, match="begin at 7 in the vocabulary and at 8 in the model"):
        save_model(tmp_path / "n", dataclasses.replace(model, vocabulary=other))
    path = tmp_path / "m" / "word_vocabulary.json"
    path.write_text(path.read_text().replace('"paris"', '"rome"'))
    with pytest.raises(
        UserError, match=r"word_vocabulary\.json: frozen word 'rome' is there twice"
    ):
        load_model(tmp_path / "m")


def test_directories_of_before_are_loaded(tmp_path: Path) -> None:
    """What was written when there were no frozen words has no word of them, nor has what is written
    without any, so that its vocabulary is recognised."""
    directory = save_tiny(tmp_path / "m", "bilstm")
    path = directory / "config.json"
    fields = json.loads(path.read_text())
    assert fields.pop("num_frozen_words") == 0
    path.write_text(json.dumps(fields))
    assert "frozen_words" not in json.loads((directory / "word_vocabulary.json").read_text())
    assert len(Tagger.load(directory).predict([("to", "berlin")])[0].tags) == 2


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_file_alone(vectors: Path, tmp_path: Path) -> None:
    def run(name: str, steps: int, path: Path = vectors) -> Any:
        learner = learner_of(path)
        assert learner.predictor is not None
        return fit(
            learner.objective,
            learner.batches,
            learner.evaluation(dev_evaluation(learner.predictor, DEV)),
            training(tmp_path / name, steps),
            initial_params=learner.initial_params,
            origin=Origin(training(tmp_path / name, steps), learner.inputs),
        )

    whole = run("whole", 4)
    run("parts", 2)
    other = tmp_path / "other.txt"
    other.write_text(FILE.replace("4 4 4", "4 4 5"))
    with pytest.raises(UserError, match="word vectors"):
        run("parts", 4, other)
    resumed = run("parts", 4)
    assert resumed.metrics["nll"] == whole.metrics["nll"]
    jax.tree.map(np.testing.assert_array_equal, resumed.params, whole.params)
    assert "frozen_embedding" not in resumed.params
