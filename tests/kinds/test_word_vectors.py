"""Word embeddings from a teacher's subwords."""

from pathlib import Path

import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.jobs.resources import RunResources
from distill_jax.jobs.sources import Sources
from distill_jax.kinds.word_vectors import WordVectors, reduced_teacher_embedding
from distill_jax.model_dir.directory import open_checkpoint
from distill_jax.vocab import ByteVocabulary, WordVocabulary
from tests.tiny import T5_CONFIG, WORDS, save_tiny, t5_params


def means(vocabulary: WordVocabulary) -> np.ndarray:
    embedding = t5_params()["token_embedder"]["embedding"]
    return np.array([embedding[ByteVocabulary().encode(w)].mean(0) for w in vocabulary.words])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("teacher") / "m", "t5")


@pytest.mark.parametrize("dim", [2, 4])
def test_products_are_those_of_the_best_approximation(teacher: Path, dim: int) -> None:
    found = reduced_teacher_embedding(open_checkpoint(teacher), WORDS, dim)
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
    found = reduced_teacher_embedding(open_checkpoint(teacher), WORDS, 12)
    rank = min(len(WORDS.words), T5_CONFIG.d_model)
    assert found[2:, :rank].any(axis=0).all() and not found[:, rank:].any()
    full = means(WORDS) @ means(WORDS).T
    np.testing.assert_allclose(
        found[2:] @ found[2:].T, full / np.trace(full) * len(WORDS.words), atol=1e-5
    )


def test_sources(teacher: Path, tmp_path: Path) -> None:
    resources = RunResources(Sources(str(tmp_path)), "t")
    assert WordVectors().start(WORDS, 4, resources, 0) is None
    glove = tmp_path / "glove.txt"
    glove.write_text("berlin 1 2\n")
    assert WordVectors().table([WORDS], 4, resources) is None
    vectors = WordVectors(file=str(glove))
    start = vectors.start(WORDS, 2, resources, 0, vectors.table([WORDS], 2, resources))
    assert start is not None and start()[WORDS.word_id("berlin")].tolist() == [1, 2]
    start = WordVectors(teacher=str(teacher)).start(WORDS, 2, resources, 0)
    reduced = reduced_teacher_embedding(open_checkpoint(teacher), WORDS, 2)
    assert start is not None and np.array_equal(start(), reduced)
    with pytest.raises(UserError, match="leave the others out"):
        WordVectors(file=str(glove), teacher=str(teacher))
    with pytest.raises(UserError, match="a vocabulary of words; give one of subwords"):
        reduced_teacher_embedding(open_checkpoint(save_tiny(tmp_path / "b", "bilstm")), WORDS, 2)
