"""Embeddings from plain text, for T5s and for word taggers."""

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.data.locations import set_data_dir
from distill_jax.errors import UserError
from distill_jax.jobs.resources import RunResources
from distill_jax.jobs.sources import Sources
from distill_jax.kinds.t5_embedding import TokenVectors, vectors_of_words
from distill_jax.kinds.t5_start import T5Start
from distill_jax.kinds.word_vectors import WordVectors
from distill_jax.models.t5 import T5
from distill_jax.vocab import NUM_SPECIAL_IDS, ByteVocabulary, WordVocabulary
from tests.tiny import T5_CONFIG, save_tiny

_LINES = [
    line
    for town, band in (("oslo", "abba"), ("rome", "muse"), ("bonn", "blur"))
    for line in 8 * [f"fly me to {town} on monday", f"please play {band} for me now"]
]
_TEXT = "lines_text"


@pytest.fixture
def resources(tmp_path: Path) -> Iterator[RunResources]:
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "train.conll").write_text(
        "".join("".join(f"{word}\tO\n" for word in line.split()) + "\n" for line in _LINES)
    )
    (tmp_path / "lines" / "labels.txt").write_text("town\n")
    yield RunResources(Sources(str(tmp_path / "run"), data_dir=str(tmp_path)), "lines")
    set_data_dir(None)


def test_words_of_the_same_places_begin_alike(resources: RunResources) -> None:
    vocabulary = WordVocabulary.build([*(line.split() for line in _LINES), ["unseen"]])
    start = WordVectors(text=_TEXT).start(vocabulary, 6, resources, 0)
    assert start is not None
    vectors = start()
    assert vectors.shape == (vocabulary.num_words, 6)
    assert not vectors[:NUM_SPECIAL_IDS].any()

    def similar(one: str, other: str) -> float:
        a, b = vectors[vocabulary.word_id(one)], vectors[vocabulary.word_id(other)]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert similar("oslo", "rome") > 0.9 > 0.3 > similar("oslo", "abba")
    assert np.linalg.norm(vectors[vocabulary.word_id("unseen")]) < 3


def test_tokens_of_the_text_begin_with_its_vectors(resources: RunResources) -> None:
    start = T5Start(model=T5_CONFIG, vocabulary="byte", embedding=TokenVectors(text=_TEXT))
    config, initial, vocabulary = start.begin(resources, 0)
    assert initial is not None and isinstance(vocabulary, ByteVocabulary)
    before = jax.tree.map(np.asarray, nn.unbox(T5(config).initial(jax.random.key(0))))
    after = initial()
    old, new = (p["token_embedder"]["embedding"] for p in (before, after))
    in_text = np.unique([t for line in _LINES for w in line.split() for t in vocabulary.encode(w)])
    changed = np.flatnonzero((old != new).any(axis=1))
    assert set(changed) == set(in_text.tolist())
    np.testing.assert_allclose(
        np.linalg.norm(new[in_text], axis=1), old.std() * np.sqrt(old.shape[1]), rtol=1e-4
    )
    untouched = {name: part for name, part in after.items() if name != "token_embedder"}
    jax.tree.map(
        np.testing.assert_array_equal,
        untouched,
        {name: part for name, part in before.items() if name != "token_embedder"},
    )


def test_tokens_begin_with_the_vectors_of_words() -> None:
    vocabulary, config = ByteVocabulary(), T5_CONFIG
    rows = {"a": 0, "ab": 1, "cb": 2}
    a, b, c = (vocabulary.encode(letter)[0] for letter in "abc")

    def unit(vector: np.ndarray) -> np.ndarray:
        return vector / np.linalg.norm(vector)

    for width in (3, 10):  # narrower than the model, and wider
        vectors = np.random.default_rng(0).normal(size=(3, width)).astype(np.float32)
        made = vectors_of_words(rows, vectors, vocabulary, config)
        assert made.shape == (config.vocab_size, config.d_model)
        known = {a: vectors[0], b: (vectors[1] + vectors[2]) / 2, c: vectors[2]}
        assert set(np.flatnonzero(made.any(axis=1))) == set(known)
        # Three vectors span three dimensions, whatever they are reduced to: their angles stay.
        for one, vector in known.items():
            for other, with_other in known.items():
                np.testing.assert_allclose(
                    made[one] @ made[other], unit(vector) @ unit(with_other), atol=1e-5
                )
        np.testing.assert_allclose(made[:, 3:], 0, atol=1e-6)


def test_an_embedding_starts_from_a_file_or_a_model(
    resources: RunResources, tmp_path: Path
) -> None:
    (tmp_path / "vectors.txt").write_text("oslo 1 2 3\nz 1 0 0\n")
    of_file = TokenVectors(file=str(tmp_path / "vectors.txt"), dim=3)
    path = str(save_tiny(tmp_path / "bert", "bert"))
    of_model = TokenVectors(text=_TEXT, teacher=path)
    assert (of_file.source, of_model.source) == ("EMBEDDING_FILE", "TEACHER_EMBEDDING")
    words = {word for line in _LINES for word in line.split()}
    for source, known in ((of_file, {"oslo", "z"}), (of_model, words)):
        start = T5Start(model=T5_CONFIG, vocabulary="byte", embedding=source)
        config, initial, vocabulary = start.begin(resources, 0)
        assert initial is not None
        old = nn.unbox(T5(config).initial(jax.random.key(0)))["token_embedder"]["embedding"]
        new = initial()["token_embedder"]["embedding"]
        tokens = {token for word in known for token in vocabulary.encode(word)}
        assert set(np.flatnonzero((np.asarray(old) != new).any(axis=1))) == tokens
    words_only = str(save_tiny(tmp_path / "bilstm", "bilstm"))
    with pytest.raises(UserError, match="has a vocabulary of words"):
        T5Start(
            model=T5_CONFIG,
            vocabulary="byte",
            embedding=TokenVectors(text=_TEXT, teacher=words_only),
        ).begin(resources, 0)
