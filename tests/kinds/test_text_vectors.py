"""Embeddings from plain text, for T5s and for word taggers."""

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.data.locations import set_data_dir
from distill_jax.jobs.resources import RunResources
from distill_jax.jobs.sources import Sources
from distill_jax.kinds.t5_embedding import TokenVectors
from distill_jax.kinds.t5_start import T5Start
from distill_jax.kinds.word_vectors import WordVectors
from distill_jax.models.t5 import T5
from distill_jax.vocab import NUM_SPECIAL_IDS, ByteVocabulary, WordVocabulary
from tests.tiny import T5_CONFIG

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
