"""BiLSTMs trained together: each as it would have been alone, from its own start."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

from distill_jax.distill.tags import DistillationWeights
from distill_jax.errors import UserError
from distill_jax.inference.words import WordPredictor
from distill_jax.jobs.evaluation import dev_evaluation
from distill_jax.jobs.resources import RunResources
from distill_jax.jobs.sources import Sources
from distill_jax.jobs.targets import student_targets
from distill_jax.kinds.base import Lesson
from distill_jax.kinds.bilstm import BiLSTMStudent
from distill_jax.kinds.bilstm_together import as_bilstm, predict_together, train_together
from distill_jax.kinds.encoder import EncoderStudent
from distill_jax.kinds.word_vectors import WordVectors
from distill_jax.labels.record import TeacherLabel
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.parallel.mesh import Placement
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.train.loop import fit
from distill_jax.train.optimizers import AdamW, Constant
from distill_jax.train.training import Schedule, Training
from distill_jax.vocab import read_word_vectors
from tests.tiny import LABELS

SENTENCE = Sentence(("to", "berlin", "in", "may"), ("O", "B-city", "O", "B-date_time"))
DEV = [SENTENCE, Sentence((), ()), Sentence(("from", "rome"), ("O", "B-city"))]
MODEL = BiLSTMConfig(word_dim=2, char_dim=2, char_hidden=2, hidden=3)
RESOURCES = RunResources(Sources("nowhere"), "t")


class Still:
    """An optimizer that changes nothing."""

    def make(self) -> optax.GradientTransformation:
        return optax.set_to_zero()

    def learning_rate_at(self, step: int) -> float:
        return 0.0


def training(**changes: Any) -> Training:
    values: dict[str, Any] = {
        "model_dir": "nowhere",
        "batch_size": 2,
        "optimizer": AdamW(Constant(0.01)),
        "schedule": Schedule(3, eval_period=1),
        "placement": Placement(first_devices=1),
    }
    return Training(**{**values, **changes})


def lesson(seed: int, sentences: list[Sentence], loss: DistillationWeights) -> Lesson:
    scores = np.log(np.full((len(SENTENCE.words), LABELS.num_tags), 0.25))
    taught = [TeacherLabel(SENTENCE.words, np.array([0, 2, 0, 3]), scores)]
    targets = student_targets(sentences, LABELS, taught)
    return Lesson(LABELS, targets, loss, training(seed=seed), RESOURCES)


def lessons() -> Mapping[str, Lesson]:
    return {
        "gold": lesson(0, [SENTENCE], DistillationWeights(0.0, 1.0)),
        "more": lesson(1, [SENTENCE, DEV[2]], DistillationWeights(1.0, 4.0)),
    }


def silent(_: str) -> None:
    """Says nothing."""


@pytest.mark.slow
def test_they_start_from_word_vectors(tmp_path: Path) -> None:
    glove = tmp_path / "glove.txt"
    glove.write_text("berlin 1 2\nmay 3 4\n")
    targets = student_targets([SENTENCE], LABELS, None)
    loss = DistillationWeights(0.0, 1.0)
    trained = train_together(
        BiLSTMStudent(MODEL, WordVectors(file=str(glove))),
        {
            f"seed {seed}": Lesson(LABELS, targets, loss, training(seed=seed), RESOURCES)
            for seed in (0, 1)
        },
        [SENTENCE],
        training(batch_size=1, optimizer=Still(), schedule=Schedule(1, eval_period=1)),
        silent,
    )
    for one in trained:
        table = one.outcome.params["word_embedding"]["embedding"]
        want = read_word_vectors(glove, 2).embeddings(
            one.vocabulary, np.random.default_rng(one.seed)
        )
        np.testing.assert_array_equal(table, want)
        assert table[one.vocabulary.word_id("may")].tolist() == [3, 4]
    one, other = (each.outcome.params["output"]["kernel"] for each in trained)
    assert not np.array_equal(one, other)


@pytest.mark.slow
def test_each_becomes_what_it_would_have_become_alone(tmp_path: Path) -> None:
    # Of the dev sentences' words `rome` is in the file alone, and `from` is trained by one of the two.
    (tmp_path / "glove.txt").write_text("to 1 2\nrome 3 -1\nfrom -2 4\n")
    student = BiLSTMStudent(MODEL, WordVectors(file=str(tmp_path / "glove.txt")))
    said: list[str] = []
    trained = train_together(student, lessons(), DEV, training(), said.append)
    assert (
        "gold: word vectors: 1 of 4 trained words start" in said[0]
        and "2 in the file alone" in said[0]
    )
    assert [(one.name, one.seed) for one in trained] == [("gold", 0), ("more", 1)]
    assert [one.varied["kl_weight"] for one in trained] == [0.0, 1.0]
    predictions = predict_together(trained, LABELS, DEV, Placement(first_devices=1))
    for one, own, together in zip(trained, lessons().values(), predictions, strict=True):
        learner = student.learner(own)
        assert learner.predictor is not None
        alone = fit(
            learner.objective,
            learner.batches,
            learner.evaluation(dev_evaluation(learner.predictor, DEV)),
            dataclasses.replace(own.training, model_dir=str(tmp_path / one.name)),
            initial_params=learner.initial_params,
        )
        assert one.config == learner.config and one.config.num_frozen_words == 3
        assert one.parameters == sum(leaf.size for leaf in jax.tree.leaves(alone.params))
        assert one.outcome.best_step == alone.best_step
        # The characters' rows are drawn for the program's number of them, so the others are compared.
        words = [sentence.words for sentence in DEV]
        predictor = WordPredictor(BiLSTMTagger(one.config), one.vocabulary, LABELS)
        for first, second in zip(predictor.predict(one.params, words), together, strict=True):
            np.testing.assert_array_equal(first.tag_ids, second.tag_ids)
            assert first.log_likelihoods is not None and second.log_likelihoods is not None
            np.testing.assert_allclose(first.log_likelihoods, second.log_likelihoods, atol=1e-5)


def test_what_cannot_be_trained_together() -> None:
    first, second = lessons().values()
    loss = DistillationWeights(1.0, 4.0, square_scale=False)
    for other, message in (
        (dataclasses.replace(second, loss=loss), "differ in λ and τ alone"),
        (dataclasses.replace(second, labels=LabelSet(("city",))), "the same labels"),
    ):
        with pytest.raises(ValueError, match=message):
            train_together(BiLSTMStudent(MODEL), {"a": first, "b": other}, DEV, training(), silent)
    with pytest.raises(UserError, match="the dev split is empty"):
        train_together(BiLSTMStudent(MODEL), lessons(), [], training(), silent)
    with pytest.raises(UserError, match="of the kind 'encoder'"):
        as_bilstm(EncoderStudent())
