"""Exports of a BiLSTM with a vector file's words: their order, the file of tables, and who maps it."""

import json
from pathlib import Path

import numpy as np
import pytest

from distill_jax.export import graph
from distill_jax.export.directory import export_onnx
from distill_jax.tagger import Tagger
from distill_jax.vocab import WordVocabulary
from distill_jax_runtime.errors import UserError
from distill_jax_runtime.tagger import Tagger as RuntimeTagger
from tests import tiny

FROZEN = ("the", "zürich", "rome", "東京", "to", "berlin", "été")
SENTENCES = [("to", "Rome", "qqq", "東京"), ("été",), ("Zürich", "the", "to", "berlin", "ber", "z")]


def saved(directory: Path, frozen: tuple[str, ...] = FROZEN) -> Path:
    """A BiLSTM of three words, and frozen ones that are in no order."""
    rows = {word: row for row, word in enumerate(frozen)}
    vocabulary = WordVocabulary(["to", "from", "in"], [*"abcde"], frozen_rows=rows)
    config = tiny.BILSTM_CONFIG.replace(
        num_words=vocabulary.num_words,
        num_chars=vocabulary.num_chars,
        num_frozen_words=len(frozen),
    )
    params = tiny.bilstm_params(config)
    return tiny.save_tiny(directory, "bilstm", config=config, params=params, vocabulary=vocabulary)


@pytest.fixture
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor is as if it were large."""
    monkeypatch.setattr(graph, "_LARGE", 64)


@pytest.mark.usefixtures("small_tables")
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("int8", [False, True])
def test_the_numbers_are_the_model_s(tmp_path: Path, mapped: bool, int8: bool) -> None:
    model = saved(tmp_path / "model")
    export_onnx(model, tmp_path / "export", int8=int8)
    lines = (tmp_path / "export" / "frozen_words.txt").read_text("utf-8").splitlines()
    assert lines == sorted(FROZEN)
    fields = json.loads((tmp_path / "export" / "tagger.json").read_text())
    assert {"frozen_words.txt", "model.onnx.data"} <= set(fields["onnx"]["files"])
    tagger = RuntimeTagger.load(tmp_path / "export", mapped=mapped)
    expected = Tagger.load(model).predict(SENTENCES)
    for ours, theirs in zip(tagger.predict(SENTENCES), expected, strict=True):
        np.testing.assert_allclose(
            ours.log_likelihoods, theirs.log_likelihoods, atol=0.2 if int8 else 1e-4
        )


@pytest.mark.usefixtures("small_tables")
def test_a_directory_may_be_overwritten_under_a_tagger_that_does_not_map_it(tmp_path: Path) -> None:
    export_onnx(saved(tmp_path / "model"), tmp_path / "export")
    tagger = RuntimeTagger.load(tmp_path / "export")
    before = tagger.predict(SENTENCES)
    tables = tmp_path / "export" / "model.onnx.data"
    tables.write_bytes(b"\xff" * 16)
    for new, old in zip(tagger.predict(SENTENCES), before, strict=True):
        np.testing.assert_array_equal(new.log_likelihoods, old.log_likelihoods)
    with pytest.raises(UserError, match=r"model\.onnx\.data: damaged"):
        RuntimeTagger.load(tmp_path / "export")
    tables.unlink()
    with pytest.raises(UserError, match=r"model\.onnx\.data: cannot be read"):
        RuntimeTagger.load(tmp_path / "export", mapped=True)


def test_small_tables_stay_in_the_graph(tmp_path: Path) -> None:
    export_onnx(saved(tmp_path / "model"), tmp_path / "export")
    assert not (tmp_path / "export" / "model.onnx.data").exists()


def test_words_that_no_line_can_hold_are_written_as_before(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", (*FROZEN, "a\nb"))
    export_onnx(model, tmp_path / "export")
    assert not (tmp_path / "export" / "frozen_words.txt").exists()
    words = [("rome", "a\nb", "to")]
    [ours] = RuntimeTagger.load(tmp_path / "export").predict(words)
    [theirs] = Tagger.load(model).predict(words)
    np.testing.assert_allclose(ours.log_likelihoods, theirs.log_likelihoods, atol=1e-4)
