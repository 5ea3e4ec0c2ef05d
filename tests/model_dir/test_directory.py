"""Model directories: T5 and BiLSTM, saved and loaded, and everything that can be wrong with one."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.errors import UserError
from distill_jax.inference.settings import TaggerSettings
from distill_jax.interop.hf.checkpoint import flatten, read_hf
from distill_jax.kinds.base import Model
from distill_jax.model_dir.directory import load_model, save_model
from distill_jax.model_dir.settings import write_temperature
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.models.t5_config import T5Config
from distill_jax.tagging.labels import LabelSet
from distill_jax.vocab import (
    ByteVocabulary,
    SentencePieceVocabulary,
    WordVocabulary,
    train_sentencepiece,
)
from tests.tiny import model_of, t5_params

LABELS = LabelSet(("city", "date_time"), ("city", "date and time"))
T5 = T5Config(
    vocab_size=384,
    d_model=8,
    d_kv=2,
    d_ff=5,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=1,
)
WORDS = WordVocabulary(["to", "berlin"], list("beilnrto"))
BILSTM = BiLSTMConfig(
    num_words=WORDS.num_words,
    num_chars=WORDS.num_chars,
    num_tags=LABELS.num_tags,
    word_dim=3,
    char_dim=2,
    char_hidden=2,
    hidden=4,
)


@pytest.fixture(scope="module")
def bilstm_params() -> dict[str, Any]:
    ids = jnp.zeros((1, 1), jnp.int32)
    variables = jax.jit(BiLSTMTagger(BILSTM).init)(jax.random.key(0), ids, ids[..., None])
    return variables["params"]


def save_t5(directory: Path, **changes: Any) -> Path:
    arguments: dict[str, Any] = {
        "config": T5,
        "params": t5_params(T5),
        "vocabulary": ByteVocabulary(),
        "labels": LABELS,
    }
    save_model(directory, model_of(**{**arguments, **changes}))
    return directory


def assert_same_params(loaded: Model, params: dict[str, Any]) -> None:
    actual = dict(flatten(loaded.params))
    expected = dict(flatten(jax.tree.map(np.asarray, params)))
    assert set(actual) == set(expected)
    for path in expected:
        assert actual[path].dtype == np.float32
        np.testing.assert_array_equal(actual[path], expected[path])


def test_a_t5_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    settings = TaggerSettings(normaliser="trie", temperature=1.5, thresholds={"city": 0.25})
    save_t5(
        tmp_path / "model",
        settings=settings,
        name="tiny",
        role="teacher",
        metrics={"f1": 0.91234},
        training={"steps": 10},
    )
    loaded = load_model(tmp_path / "model")
    assert loaded.config == T5
    assert loaded.labels == LABELS
    assert loaded.settings == settings
    assert isinstance(loaded.vocabulary, ByteVocabulary)
    assert loaded.metadata == {
        "name": "tiny",
        "role": "teacher",
        "metrics": {"f1": 0.91234},
        "training": {"steps": 10},
    }
    assert_same_params(loaded, t5_params(T5))
    card = (tmp_path / "model" / "README.md").read_text()
    for text in (
        "# tiny",
        "teacher",
        "| date_time | date and time |",
        "0.9123",
        "dev split",
        "Tagger.load",
    ):
        assert text in card
    # As a Hugging Face checkpoint it is the same model.
    assert read_hf(tmp_path / "model")[0] == T5


def test_tagger_json_is_what_the_design_promises(tmp_path: Path) -> None:
    fields = json.loads((save_t5(tmp_path / "model") / "tagger.json").read_text())
    assert fields == {
        "schema_version": 1,
        "labels": [
            {"name": "city", "text": "city"},
            {"name": "date_time", "text": "date and time"},
        ],
        "tags": ["O", "I", "city", "date_time"],
        "label_hash": LABELS.content_hash(),
        "vocabulary_hash": ByteVocabulary().content_hash(),
        "lowercase_words": False,
        "format": "sent_prime",
        "normaliser": "vocab",
        "temperature": 1.0,
        "thresholds": {},
        "max_chars": 20,
        "single_token_tags": False,
    }


def test_a_directory_from_before_single_token_tags_is_read(tmp_path: Path) -> None:
    edit("tagger.json", single_token_tags=...)(save_t5(tmp_path / "model"))
    assert load_model(tmp_path / "model").settings == TaggerSettings()
    settings = TaggerSettings(single_token_tags=True)
    assert load_model(save_t5(tmp_path / "single", settings=settings)).settings == settings


def test_a_temperature_is_stored_and_nothing_else_changed(tmp_path: Path) -> None:
    settings = TaggerSettings(normaliser="trie", thresholds={"city": 0.25}, single_token_tags=True)
    directory = save_t5(tmp_path / "model", settings=settings, name="tiny")
    edit("tagger.json", of_a_later_version=3)(directory)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    write_temperature(directory, 1.75)
    loaded = load_model(directory)
    assert loaded.settings == dataclasses.replace(settings, temperature=1.75)
    assert loaded.metadata == {"name": "tiny"}
    after = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert {name for name in after if after[name] != before.get(name)} == {"tagger.json"}
    fields = json.loads(after["tagger.json"])
    assert fields == {**json.loads(before["tagger.json"]), "temperature": 1.75}
    # It stays when the model is saved again.
    save_t5(tmp_path / "again", settings=loaded.settings)
    assert load_model(tmp_path / "again").settings.temperature == 1.75
    for wrong in (0.0, float("nan")):
        with pytest.raises(UserError, match="temperature"):
            write_temperature(directory, wrong)
    assert (directory / "tagger.json").read_bytes() == after["tagger.json"]


def test_a_t5_with_a_sentencepiece_vocabulary(tmp_path: Path) -> None:
    texts = ["book a table in berlin", "what is the weather in paris", "play some music"] * 5
    vocabulary = train_sentencepiece(texts, 60, tmp_path / "spiece.model", extra_ids=20)
    save_t5(tmp_path / "model", vocabulary=vocabulary)
    loaded = load_model(tmp_path / "model").vocabulary
    assert isinstance(loaded, SentencePieceVocabulary)
    assert loaded.num_sentinels == 20
    assert loaded.content_hash() == vocabulary.content_hash()


def test_a_bilstm_is_loaded_as_it_was_saved(tmp_path: Path, bilstm_params: Any) -> None:
    save_model(tmp_path / "model", Model(BILSTM, bilstm_params, WORDS, LABELS))
    loaded = load_model(tmp_path / "model")
    assert loaded.config == BILSTM
    assert loaded.vocabulary == WORDS
    assert loaded.settings.format == "word_tags"
    assert json.loads((tmp_path / "model" / "tagger.json").read_text())["lowercase_words"] is True
    assert_same_params(loaded, nn.meta.unbox(bilstm_params))


def test_only_a_model_directory_is_replaced(tmp_path: Path) -> None:
    save_t5(tmp_path / "model")
    save_t5(tmp_path / "model", name="second")
    assert load_model(tmp_path / "model").metadata == {"name": "second"}
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").write_text("…")
    with pytest.raises(UserError, match="work: exists"):
        save_t5(tmp_path / "work")
    with pytest.raises(UserError, match=r"notes\.txt: exists"):
        save_t5(tmp_path / "work" / "notes.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "work"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": T5.replace(vocab_size=383)}, "384 ids, the model only 383"),
        ({"vocabulary": WORDS}, "vocabulary of words"),
        ({"settings": TaggerSettings(format="word_tags")}, "word_tags"),
    ],
)
def test_what_does_not_fit_is_not_saved(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    if "config" in changes:
        changes["params"] = t5_params(changes["config"])
    with pytest.raises(UserError, match=message):
        save_t5(tmp_path / "model", **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": BILSTM.replace(num_words=3)}, "4 words, the model only 3"),
        ({"config": BILSTM.replace(num_chars=9)}, "10 characters, the model only 9"),
        ({"labels": LabelSet(("city",))}, "predicts 4 tags, the label set has 3"),
        ({"vocabulary": ByteVocabulary()}, "a bilstm needs a vocabulary of words"),
    ],
)
def test_a_bilstm_that_does_not_fit_is_not_saved(
    tmp_path: Path, bilstm_params: Any, changes: dict[str, Any], message: str
) -> None:
    arguments = {"config": BILSTM, "vocabulary": WORDS, "labels": LABELS, **changes}
    with pytest.raises(UserError, match=message):
        save_model(tmp_path / "model", Model(params=bilstm_params, **arguments))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "bio"}, "format"),
        ({"normaliser": "none"}, "normaliser"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"thresholds": {"city": "high"}}, "thresholds"),
        ({"max_chars": 0}, "max_chars"),
        ({"single_token_tags": "yes"}, "single_token_tags"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TaggerSettings(**changes)


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    """Changes fields of a JSON file; ... removes one."""

    def change(directory: Path) -> None:
        path = directory / name
        fields = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({k: v for k, v in fields.items() if v is not ...}))

    return change


def swap_vocabulary(directory: Path) -> None:
    texts = ["book a table in berlin", "what is the weather in paris", "play some music"] * 5
    train_sentencepiece(texts, 60, directory / "spiece.model", extra_ids=20)


def break_json(directory: Path) -> None:
    (directory / "tagger.json").write_text('{\n"labels": [}')


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda d: (d / "tagger.json").unlink(), ["not a model directory", "tagger.json"]),
        (break_json, ["tagger.json:2", "not valid JSON"]),
        (edit("tagger.json", schema_version=2), ["schema_version is 2"]),
        (edit("tagger.json", labels=...), ["tagger.json", "`labels`"]),
        (edit("tagger.json", labels=["city"]), ["tagger.json", "`labels`"]),
        (edit("tagger.json", labels=[{"name": 1, "text": "x"}]), ["tagger.json", "`labels`"]),
        (edit("tagger.json", labels=[{"name": "O", "text": "x"}]), ["tagger.json", "'O'"]),
        (
            edit("tagger.json", labels=[{"name": "town", "text": "town"}]),
            ["tagger.json", "label_hash"],
        ),
        (edit("tagger.json", label_hash="0"), ["tagger.json", "label_hash"]),
        (edit("tagger.json", tags=["O"]), ["tagger.json", "`tags`"]),
        (edit("tagger.json", vocabulary_hash="0"), ["vocabulary_hash"]),
        (edit("tagger.json", thresholds={"town": 1}), ["tagger.json", "'town'"]),
        (edit("tagger.json", normaliser="x"), ["tagger.json", "normaliser"]),
        (edit("tagger.json", format="word_tags"), ["tagger.json", "word_tags"]),
        (swap_vocabulary, ["vocabulary"]),
        (edit("config.json", vocab_size=10), ["'shared.weight'", "[384, 8]"]),
        (edit("config.json", model_type="bilstm_tagger"), ["word_vocabulary.json"]),
        (edit("config.json", model_type="gpt2"), ["config.json", "'gpt2'", "; use a"]),
        (edit("config.json", model_type=["t5"]), ["config.json", "['t5']", "; use a"]),
        (edit("config.json", model_type=...), ["config.json", "None", "; use a"]),
        (edit("config.json", model_type="longt5"), ["config.json", "local attention", "; use a"]),
        (lambda d: (d / "model.safetensors").unlink(), ["model.safetensors"]),
        (lambda d: (d / "vocabulary.json").unlink(), ["no vocabulary"]),
    ],
)
def test_a_damaged_directory_is_named_in_one_line(
    tmp_path: Path, change: Callable[[Path], None], parts: list[str]
) -> None:
    directory = save_t5(tmp_path / "model")
    if change is swap_vocabulary:
        (directory / "vocabulary.json").unlink()
    change(directory)
    with pytest.raises(UserError) as error:
        load_model(directory)
    assert "\n" not in str(error.value)
    for part in [str(directory), *parts]:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (edit("config.json", hidden=5), ["shape", "config.json asks for"]),
        (edit("config.json", num_layers=2), ["word_lstm_1", "missing"]),
        (edit("config.json", hidden="wide"), ["config.json", "hidden"]),
    ],
)
def test_a_damaged_bilstm_is_named_in_one_line(
    tmp_path: Path, bilstm_params: Any, change: Callable[[Path], None], parts: list[str]
) -> None:
    directory = tmp_path / "model"
    save_model(directory, Model(BILSTM, bilstm_params, WORDS, LABELS))
    change(directory)
    with pytest.raises(UserError) as error:
        load_model(directory)
    for part in [str(directory), *parts]:
        assert part in str(error.value)


def test_the_directory_of_a_run_is_told_from_a_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tagger.json").write_text("{}")
    with pytest.raises(UserError, match=r"of a run, not of a model; give .*model$"):
        load_model(tmp_path)
