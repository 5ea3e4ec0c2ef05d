"""Exports of encoder taggers and BERTs tag as the models do, long sentences and odd texts included."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax import Tagger
from distill_jax.cli.main import main
from distill_jax.export.directory import export_onnx
from distill_jax.inference.settings import TaggerSettings
from distill_jax.runtime import Tagger as RuntimeTagger
from distill_jax.runtime import UserError
from distill_jax.vocab import (
    ByteVocabulary,
    HuggingFaceVocabulary,
    SentencePieceVocabulary,
    train_sentencepiece,
)
from distill_jax.vocab.added_tokens import AddedToken
from distill_jax.vocab.wordpiece import wordpiece_tokenizer
from distill_jax_runtime.subword_vocabulary import ExportedSubwords
from tests import tiny, tiny_bert

SENTENCES: Sequence[Any] = (
    *tiny.SENTENCES,
    ("to", "berlin", "on", "may") * 15,  # several windows of a BERT of 40 positions
    ("berlin" * 12, "to", "may" * 20),  # words of more tokens than it reads
    ["[SEP]", "</s>", "<extra_id_0>", "\ud800", "\u200b", "Ünïcode"],
    "  to Berlin, on\tmay 4 ",
    "",
)
VOCABULARIES = ("huggingface", "sentencepiece", "byte")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model directory for each kind of vocabulary, and its export beside it."""
    folder = tmp_path_factory.mktemp("subwords")
    letters = "abcdefghilmnorty"
    pieces = [*(f"##{letter}" for letter in letters), *letters, "4", "to", "ber", "##lin"]
    tiny_bert.write_wordpieces(folder, pieces)
    wordpieces = HuggingFaceVocabulary(folder / "vocab.txt", wordpiece_tokenizer(folder))
    texts = ["book a table in berlin on may 4", "to rome"] * 5
    trained = train_sentencepiece(texts, 60, folder, required=tiny.LABELS.tag_texts, extra_ids=12)
    settings = TaggerSettings(
        format="word_tags", temperature=1.7, thresholds={"city": 0.2}, text_words="punctuation"
    )
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        "huggingface": ("bert", {"vocabulary": wordpieces}),
        "sentencepiece": ("encoder", {"vocabulary": trained}),
        "byte": ("encoder", {"vocabulary": ByteVocabulary()}),
    }
    models = {
        name: tiny.save_tiny(folder / name, kind, settings=settings, **fields)
        for name, (kind, fields) in changes.items()
    }
    for name, model in models.items():
        export_onnx(model, folder / f"{name}-onnx")
    return models


def exported(model: Path) -> Path:
    return model.with_name(f"{model.name}-onnx")


@pytest.mark.parametrize("name", VOCABULARIES)
def test_tags_spans_and_posteriors_are_the_model_s(models: dict[str, Path], name: str) -> None:
    expected = Tagger.load(models[name]).predict(SENTENCES)
    runtime = RuntimeTagger.load(exported(models[name]), batch_size=3)
    found = runtime.predict(SENTENCES)
    assert sum(len(one.spans) for one in expected) > 3
    for one, other in zip(found, expected, strict=True):
        assert one.words == other.words and one.tags == other.tags and one.labels == other.labels
        assert (one.text, one.offsets) == (other.text, other.offsets)
        assert (one.windows, one.truncated_words) == (other.windows, other.truncated_words)
        np.testing.assert_allclose(one.posteriors, other.posteriors, atol=1e-4)
        np.testing.assert_allclose(one.log_likelihoods, other.log_likelihoods, atol=1e-3)
        assert [span._replace(score=None) for span in one.spans] == [
            span._replace(score=None) for span in other.spans
        ]
        for span, same in zip(one.spans, other.spans, strict=True):
            assert span.score == pytest.approx(same.score, abs=1e-4)
    if name == "huggingface":
        assert max(one.windows for one in found) > 1
        assert max(len(one.truncated_words) for one in found) == 2
        assert runtime.needs_windows(SENTENCES[-5]) and not runtime.needs_windows(("to",))


@pytest.mark.parametrize("name", VOCABULARIES)
def test_subwords_are_those_of_the_vocabulary(models: dict[str, Path], name: str) -> None:
    vocabulary = Tagger.load(models[name])._predictor._format.vocabulary  # type: ignore[attr-defined]
    subwords = ExportedSubwords(exported(models[name]))
    for text in ("to", "Berlin", "", "\u200b", "\ud800", "</s>", "[CLS]", "<extra_id_3>", "<pad>"):
        assert subwords.encode(text) == vocabulary.encode(text)
    for field in ("pad_id", "unk_id", "prefix_ids", "suffix_ids"):
        assert getattr(subwords, field) == getattr(vocabulary, field)


def test_the_command_line_and_int8(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "in.txt"
    text.write_text("to berlin on may 4\n")
    lines = []
    for model in (models["huggingface"], exported(models["huggingface"])):
        assert main(["predict", "--model", str(model), "--input", str(text), "--output", "-"]) == 0
        lines.append(json.loads(capsys.readouterr().out))
    assert lines[0]["tags"] == lines[1]["tags"] and lines[0]["words"] == lines[1]["words"]
    data = tmp_path / "gold.conll"
    data.write_text("to O\nberlin B-city\n")
    command = ["export", "--to", "onnx", "--int8", "--data", str(data)]
    assert main([*command, str(models["huggingface"]), str(tmp_path / "int8")]) == 0
    assert "int8: F1 " in capsys.readouterr().out


def test_a_missing_library_is_named(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for library, name in (("tokenizers", "huggingface"), ("sentencepiece", "sentencepiece")):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(UserError, match=rf"needs `{library}`.*\[subwords\]"):
            RuntimeTagger.load(exported(models[name]))
    RuntimeTagger.load(exported(models["byte"]))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pad_id": None}, "`pad_id` is missing or malformed"),
        ({"reserved_ids": [1.5]}, "`reserved_ids` is missing or malformed"),
        ({"kind": "later"}, "install a newer one"),
    ],
)
def test_damage_is_one_line(
    models: dict[str, Path], tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported(models["byte"]), copy)
    path = copy / "subwords.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(UserError, match=r"subwords.json: damaged"):
        RuntimeTagger.load(copy)
    with pytest.raises(UserError, match=said):
        ExportedSubwords(copy)


def test_what_the_runtime_cannot_read_is_for_other_programs(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    added = [AddedToken("{", 80)]
    vocabulary = SentencePieceVocabulary(models["byte"].parent / "spiece.model", 12, added)
    model = tiny.save_tiny(tmp_path / "model", "encoder", vocabulary=vocabulary)
    target = tmp_path / "onnx"
    command = ["export", "--to", "onnx", "--int8", str(model), str(target)]
    assert main([*command, "--data", str(tmp_path / "gold.conll")]) == 2
    assert "a vocabulary with added tokens" in capsys.readouterr().err
    assert main(command) == 0
    assert "docs/export.md" in (target / "README.md").read_text()
    capsys.readouterr()
    assert main(["predict", "--model", str(target), "--input", "-", "--output", "-"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "without subwords.json" in line
