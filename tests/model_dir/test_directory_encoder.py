"""Model directories of encoder taggers: saved, loaded, and what can be wrong with one."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.kinds.base import Model
from distill_jax.model_dir.directory import load_model, save_model
from distill_jax.models.encoder_tagger import EncoderTaggerConfig
from distill_jax.tagging import LabelSet
from distill_jax.vocab import ByteVocabulary
from tests.tiny import ENCODER_CONFIG, LABELS, WORDS, encoder_params, save_tiny


def test_round_trip(tmp_path: Path) -> None:
    loaded = load_model(save_tiny(tmp_path / "m", "encoder", role="student"))
    assert loaded.config == ENCODER_CONFIG
    assert isinstance(loaded.config, EncoderTaggerConfig)
    assert loaded.labels == LABELS
    assert loaded.settings.format == "word_tags"
    assert isinstance(loaded.vocabulary, ByteVocabulary)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, encoder_params())
    assert "encoder tagger (2 layers, 8 wide)" in (tmp_path / "m" / "README.md").read_text()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an encoder tagger cannot use a vocabulary of words"):
        save_tiny(tmp_path / "m", "encoder", vocabulary=WORDS)
    with pytest.raises(UserError, match="predicts 4 tags, the label set has 3"):
        save_tiny(tmp_path / "m", "encoder", labels=LabelSet(("city",)))
    small = ENCODER_CONFIG.replace(vocab_size=20)
    with pytest.raises(UserError, match="only 20 embedding rows"):
        save_tiny(tmp_path / "m", "encoder", config=small, params=encoder_params(small))
    with pytest.raises(ValueError, match="output/bias"):
        params = {**encoder_params(), "output": {"kernel": np.zeros((8, 4))}}
        save_model(tmp_path / "m", Model(ENCODER_CONFIG, params, ByteVocabulary(), LABELS))
    assert not (tmp_path / "m").exists()


def test_a_damaged_configuration_is_named(tmp_path: Path) -> None:
    path = save_tiny(tmp_path / "m", "encoder") / "config.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "num_layers": 0}))
    with pytest.raises(UserError, match=r"config\.json: .*it must be at least 1"):
        load_model(tmp_path / "m")
    path.write_text(json.dumps({**fields, "num_layers": 3}))
    with pytest.raises(UserError, match="layers_2"):
        load_model(tmp_path / "m")
