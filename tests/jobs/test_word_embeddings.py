"""Word embeddings from a teacher's subwords."""

from functools import partial
from pathlib import Path

import numpy as np
import optax
import pytest

from distill_jax.errors import UserError
from distill_jax.jobs.targets import student_targets
from distill_jax.jobs.together import Student, train_taggers
from distill_jax.jobs.word_embeddings import initial_word_embeddings, reduced_teacher_embedding
from distill_jax.models.bilstm import BiLSTMConfig
from distill_jax.tagging import Sentence
from distill_jax.train.loop import Schedule
from distill_jax.vocab import ByteVocabulary, WordVocabulary, load_glove
from tests.tiny import LABELS, T5_CONFIG, WORDS, save_tiny, t5_params


def means(vocabulary: WordVocabulary) -> np.ndarray:
    embedding = t5_params()["token_embedder"]["embedding"]
    return np.array([embedding[ByteVocabulary().encode(w)].mean(0) for w in vocabulary.words])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("teacher") / "m", "t5")


@pytest.mark.parametrize("dim", [2, 4])
def test_products_are_those_of_the_best_approximation(teacher: Path, dim: int) -> None:
    found = reduced_teacher_embedding(teacher, WORDS, dim)
    assert found.shape == (WORDS.num_words, dim) and found.dtype == np.float32
    assert not found[:2].any()
    vectors = found[2:].astype(np.float64)
    assert np.square(vectors).sum(-1).mean() == pytest.approx(1, rel=1e-5)
    u, s, vt = np.linalg.svd(means(WORDS), full_matrices=False)
    best = (u[:, :dim] * s[:dim]) @ vt[:dim]
    # Up to the one factor, words stand to each other as in numpy's rank-k reconstruction.
    factor = np.square(best).sum(-1).mean()
    np.testing.assert_allclose(vectors @ vectors.T, best @ best.T / factor, atol=1e-5)


def test_wider_than_the_teachers(teacher: Path) -> None:
    found = reduced_teacher_embedding(teacher, WORDS, 12)
    rank = min(len(WORDS.words), T5_CONFIG.d_model)
    assert found[2:, :rank].any(axis=0).all() and not found[:, rank:].any()
    full = means(WORDS) @ means(WORDS).T
    np.testing.assert_allclose(
        found[2:] @ found[2:].T, full / np.trace(full) * len(WORDS.words), atol=1e-5
    )


def test_sources(teacher: Path, tmp_path: Path) -> None:
    none = initial_word_embeddings(WORDS, 4, embedding_file=None, teacher_embedding=None, seed=0)
    assert none is None
    glove = tmp_path / "glove.txt"
    glove.write_text("berlin 1 2\n")
    found = initial_word_embeddings(
        WORDS, 2, embedding_file=str(glove), teacher_embedding=None, seed=0
    )
    assert found is not None and found[WORDS.word_id("berlin")].tolist() == [1, 2]
    with pytest.raises(UserError, match="leave the others out"):
        initial_word_embeddings(
            WORDS, 2, embedding_file=str(glove), teacher_embedding=str(teacher), seed=0
        )
    with pytest.raises(UserError):
        reduced_teacher_embedding(save_tiny(tmp_path / "b", "bilstm"), WORDS, 2)


def test_students_trained_together_start_from_them(tmp_path: Path) -> None:
    glove = tmp_path / "glove.txt"
    glove.write_text("berlin 1 2\nmay 3 4\n")
    sentence = Sentence(("to", "berlin", "in", "may"), ("O", "B-city", "O", "B-date_time"))
    students = [
        Student(f"seed {seed}", seed, student_targets([sentence], LABELS, None)) for seed in (0, 1)
    ]
    trained = train_taggers(
        students,
        LABELS,
        [sentence],
        batch_size=1,
        optimizer=optax.set_to_zero(),
        schedule=Schedule(1, eval_period=1),
        model=partial(BiLSTMConfig, word_dim=2, char_dim=2, char_hidden=2, hidden=3),
        embedding_file=str(glove),
        say=lambda _: None,
    )
    for one in trained:
        table = one.outcome.params["word_embedding"]["embedding"]
        want = load_glove(glove, one.vocabulary, 2, np.random.default_rng(one.student.seed))
        np.testing.assert_array_equal(table, want)
        assert table[one.vocabulary.word_id("may")].tolist() == [3, 4]
    one, other = (each.outcome.params["output"]["kernel"] for each in trained)
    assert not np.array_equal(one, other)
