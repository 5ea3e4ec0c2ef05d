"""Embeddings from plain text, for T5s and for word taggers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gin
import jax
import numpy as np
import optax
import pytest

from distill_jax.data.locations import set_data_dir
from distill_jax.jobs import seq2seq
from distill_jax.jobs.text_vectors import with_text_embedding
from distill_jax.jobs.word_embeddings import initial_word_embeddings
from distill_jax.models.t5_config import T5Config
from distill_jax.train.checkpoints import RunCheckpoints
from distill_jax.train.state import TrainState
from distill_jax.train.training import Schedule
from distill_jax.vocab import NUM_SPECIAL_IDS, ByteVocabulary, WordVocabulary
from tests.tiny import T5_CONFIG, t5_params

_LINES = [
    line
    for town, band in (("oslo", "abba"), ("rome", "muse"), ("bonn", "blur"))
    for line in 8 * [f"fly me to {town} on monday", f"please play {band} for me now"]
]


@pytest.fixture
def text_task(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "train.conll").write_text(
        "".join("".join(f"{word}\tO\n" for word in line.split()) + "\n" for line in _LINES)
    )
    (tmp_path / "lines" / "labels.txt").write_text("town\n")
    gin.clear_config()
    gin.bind_parameter("prepared_data.model_dir", str(tmp_path / "run"))
    gin.bind_parameter("prepared_data.data_dir", str(tmp_path))
    yield "lines_text"
    gin.clear_config()
    set_data_dir(None)


def test_words_of_the_same_places_begin_alike(text_task: str) -> None:
    vocabulary = WordVocabulary.build([*(line.split() for line in _LINES), ["unseen"]])
    vectors = initial_word_embeddings(vocabulary, 6, embedding_text=text_task)
    assert vectors is not None and vectors.shape == (vocabulary.num_words, 6)
    assert not vectors[:NUM_SPECIAL_IDS].any()

    def similar(one: str, other: str) -> float:
        a, b = vectors[vocabulary.word_id(one)], vectors[vocabulary.word_id(other)]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert similar("oslo", "rome") > 0.9 > 0.3 > similar("oslo", "abba")
    assert np.linalg.norm(vectors[vocabulary.word_id("unseen")]) < 3


def test_tokens_of_the_text_begin_with_its_vectors(text_task: str) -> None:
    before = jax.tree.map(np.asarray, t5_params())
    after = with_text_embedding(before, T5_CONFIG, ByteVocabulary(), text_task, 0)
    old, new = (p["token_embedder"]["embedding"] for p in (before, after))
    in_text = np.unique(
        [t for line in _LINES for w in line.split() for t in ByteVocabulary().encode(w)]
    )
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


def test_a_run_that_goes_on_reads_no_text(
    text_task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []

    class Begun(Exception):
        pass

    def fit(*_: Any, initial_params: Any, **__: Any) -> None:
        starts.append(initial_params)
        raise Begun

    monkeypatch.setattr(seq2seq, "with_text_embedding", lambda *_: "from text")
    monkeypatch.setattr(seq2seq, "fit", fit)

    def begin() -> None:
        with pytest.raises(Begun):
            seq2seq.train_t5(
                model_dir=str(tmp_path / "run"),
                mixture_or_task_name=text_task,
                task_feature_lengths={"inputs": 64, "targets": 64},
                batch_size=8,
                optimizer=optax.sgd(0.1),
                schedule=Schedule(train_steps=1),
                model=T5Config,
                vocabulary=ByteVocabulary(),
                embedding_text=text_task,
                eval_split="train",
            )

    begin()
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir()  # of a run that was stopped before its first one
    begin()
    with RunCheckpoints(checkpoints) as saved:
        saved.save(TrainState(np.int32(1), {}, ()), {"selection": {"best_step": 0}})
    begin()
    assert starts == ["from text", "from text", None]
