"""Students that start from a student of another task."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.data.distillation import Target
from distill_jax.distill.tags import DistillationWeights
from distill_jax.errors import UserError
from distill_jax.jobs.resources import RunResources
from distill_jax.jobs.sources import Sources
from distill_jax.kinds.base import Learner, Lesson
from distill_jax.kinds.bilstm import BiLSTMStudent
from distill_jax.kinds.bilstm_together import as_bilstm
from distill_jax.kinds.encoder import EncoderStudent
from distill_jax.kinds.word_vectors import WordVectors
from distill_jax.model_dir.directory import load_model
from distill_jax.models.bilstm import BiLSTMConfig
from distill_jax.tagging import LabelSet
from distill_jax.train.optimizers import AdamW
from distill_jax.train.training import Schedule, Training
from distill_jax.vocab import WordVocabulary
from tests.tiny import BILSTM_CONFIG, ENCODER_CONFIG, WORDS, bilstm_params, save_tiny

LABELS = LabelSet(("band", "song", "town"))
SENTENCE = ("Play", "oslo", "on", "Z")
FROZEN = {"oslo": 0, "rome": 1}


def lesson(labels: LabelSet = LABELS) -> Lesson:
    training = Training(
        model_dir="run",
        batch_size=1,
        optimizer=AdamW(learning_rate=1e-3),
        schedule=Schedule(train_steps=1),
    )
    targets = [Target(SENTENCE, np.zeros(len(SENTENCE), np.int32))]
    resources = RunResources(Sources("run"), "task")
    return Lesson(labels, targets, DistillationWeights(kl_weight=0), training, resources)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BiLSTM of other labels, with two frozen words."""
    config = BILSTM_CONFIG.replace(num_frozen_words=len(FROZEN))
    params = dict(bilstm_params())
    params["frozen_embedding"] = {"embedding": np.full((2, 6), [[7.0], [8.0]], np.float32)}
    folder = tmp_path_factory.mktemp("models") / "bilstm"
    vocabulary = WORDS.with_frozen(FROZEN)
    return save_tiny(folder, "bilstm", config=config, params=params, vocabulary=vocabulary)


@pytest.fixture(scope="module")
def learner(source: Path) -> Learner:
    model = BiLSTMConfig(word_dim=50, dropout=0.25)
    return BiLSTMStudent(model, initial_checkpoint_path=str(source)).learner(lesson())


def test_a_bilstm_keeps_its_words_and_layers_and_gets_a_new_head(
    source: Path, learner: Learner
) -> None:
    assert learner.initial_params is not None
    params: Any = learner.initial_params()
    theirs = load_model(source).params
    own: WordVocabulary = learner.vocabulary
    assert own.words == (*WORDS.words, "oslo", "play", "z")
    assert own.characters[: len(WORDS.characters)] == WORDS.characters
    assert set(own.characters) == {*WORDS.characters, *"Playonsl", "Z"}
    assert (learner.config.word_dim, learner.config.hidden) == (6, BILSTM_CONFIG.hidden)
    assert (learner.config.dropout, learner.config.num_tags) == (0.25, LABELS.num_tags)
    words = params["word_embedding"]["embedding"]
    assert words.shape == (own.num_words, 6)
    np.testing.assert_array_equal(words[: WORDS.num_words], theirs["word_embedding"]["embedding"])
    np.testing.assert_array_equal(words[own.word_id("Oslo")], np.full(6, 7.0))
    assert 0 < np.abs(words[own.word_id("play")]).max() < 7
    chars = params["char_embedding"]["embedding"]
    np.testing.assert_array_equal(chars[: WORDS.num_chars], theirs["char_embedding"]["embedding"])
    assert len(chars) == own.num_chars
    for name in ("char_lstm", "word_lstm_0"):
        for part, value in theirs[name].items():
            np.testing.assert_array_equal(params[name][part], value)
    assert params["output"]["kernel"].shape == (2 * BILSTM_CONFIG.hidden, LABELS.num_tags)


def test_its_frozen_words_stay_known_and_it_tags(source: Path, learner: Learner) -> None:
    assert learner.initial_params is not None and learner.predictor is not None
    final = learner.final(learner.initial_params())
    frozen = load_model(source).params["frozen_embedding"]["embedding"]
    np.testing.assert_array_equal(final["frozen_embedding"]["embedding"], frozen)
    assert learner.config.num_frozen_words == 2
    assert learner.vocabulary.word_id("rome") == learner.config.num_words + 1
    [rome], [unknown], [play] = (
        learner.predictor.predict(final, [(word,)]) for word in ("rome", "elsewhere", "play")
    )
    assert rome.log_likelihoods.shape == (1, LABELS.num_tags)
    assert np.abs(rome.log_likelihoods - unknown.log_likelihoods).max() > 0
    assert np.abs(play.log_likelihoods - unknown.log_likelihoods).max() > 0


def test_an_encoder_tagger_starts_from_some_of_ones_layers(tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "encoder", "encoder")
    student = EncoderStudent(initial_checkpoint_path=str(path), layers=(1,))
    learner = student.learner(lesson())
    assert learner.config == ENCODER_CONFIG.replace(num_layers=1, num_tags=LABELS.num_tags)
    assert learner.initial_params is not None
    params, theirs = learner.initial_params(), load_model(path).params
    np.testing.assert_array_equal(
        params["token_embedder"]["embedding"], theirs["token_embedder"]["embedding"]
    )
    np.testing.assert_array_equal(
        params["encoder"]["layers_0"]["attention"]["query"]["kernel"],
        theirs["encoder"]["layers_1"]["attention"]["query"]["kernel"],
    )
    assert params["output"]["kernel"].shape == (ENCODER_CONFIG.d_model, LABELS.num_tags)
    with pytest.raises(UserError, match="layer 2"):
        dataclasses.replace(student, layers=(2,)).learner(lesson())


def test_what_cannot_be_started_from_is_refused(source: Path, tmp_path: Path) -> None:
    encoder = save_tiny(tmp_path / "encoder", "encoder")
    with pytest.raises(UserError, match="a BiLSTM starts from a BiLSTM's model directory"):
        BiLSTMStudent(initial_checkpoint_path=str(encoder)).learner(lesson())
    with pytest.raises(UserError, match="starts from a T5 or an encoder tagger, and this is none"):
        EncoderStudent(initial_checkpoint_path=str(source)).learner(lesson())
    with pytest.raises(UserError, match="TEACHER_EMBEDDING is for a start from random weights"):
        BiLSTMStudent(
            initial_checkpoint_path=str(source), vectors=WordVectors(teacher=str(encoder))
        )
    with pytest.raises(UserError, match="trained together start from random weights"):
        as_bilstm(BiLSTMStudent(initial_checkpoint_path=str(source)))
