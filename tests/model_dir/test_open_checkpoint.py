"""`open_checkpoint`: a directory of any kind, checked but not read, and its token embedding."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.model_dir.directory import open_checkpoint
from distill_jax.vocab import ByteVocabulary
from tests.tiny import (
    BILSTM_CONFIG,
    ENCODER_CONFIG,
    T5_CONFIG,
    WORDS,
    bilstm_params,
    encoder_params,
    save_tiny,
    t5_params,
)

KINDS: dict[str, tuple[Any, Callable[[], Any], Any, tuple[str, ...]]] = {
    "t5": (T5_CONFIG, t5_params, ByteVocabulary(), ("token_embedder", "embedding")),
    "encoder": (ENCODER_CONFIG, encoder_params, ByteVocabulary(), ("token_embedder", "embedding")),
    "bilstm": (BILSTM_CONFIG, bilstm_params, WORDS, ("word_embedding", "embedding")),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_a_model_directory_is_opened(tmp_path: Path, kind: str) -> None:
    config, params, vocabulary, _ = KINDS[kind]
    checkpoint = open_checkpoint(save_tiny(tmp_path / "m", kind))
    assert checkpoint.config == config and type(checkpoint.config) is type(config)
    read = checkpoint.read()
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(read))
    jax.tree.map(np.testing.assert_array_equal, read, params())
    assert checkpoint.vocabulary().content_hash() == vocabulary.content_hash()


@kinds
def test_the_embedding_is_that_of_the_tokens(tmp_path: Path, kind: str) -> None:
    config, params, _, path = KINDS[kind]
    embedding = open_checkpoint(save_tiny(tmp_path / "m", kind)).embedding()
    expected = params()
    for name in path:
        expected = expected[name]
    assert embedding.dtype == np.float32
    rows, width = (
        (config.num_words, config.word_dim)
        if kind == "bilstm"
        else (config.vocab_size, config.d_model)
    )
    assert embedding.shape == (rows, width)
    np.testing.assert_array_equal(embedding, expected)


@pytest.mark.parametrize("tied", [False, True])
def test_a_hugging_face_directory_is_opened(tmp_path: Path, tied: bool) -> None:
    config = T5_CONFIG.replace(tied_embedding=tied)
    params = t5_params(config)
    write_hf(tmp_path / "hf", config, params)
    checkpoint = open_checkpoint(tmp_path / "hf")
    assert checkpoint.config == config
    jax.tree.map(np.testing.assert_array_equal, checkpoint.read(), params)
    np.testing.assert_array_equal(checkpoint.embedding(), params["token_embedder"]["embedding"])
    with pytest.raises(UserError, match=r"hf: .*vocabulary"):  # asked for, it is not there
        checkpoint.vocabulary()


@kinds
def test_labels_do_not_matter_but_weights_do(tmp_path: Path, kind: str) -> None:
    directory = save_tiny(tmp_path / "m", kind)
    (directory / "tagger.json").unlink()
    assert open_checkpoint(directory).config == KINDS[kind][0]
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"model\.safetensors: .*truncated"):
        open_checkpoint(directory)
    weights.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors"):
        open_checkpoint(directory)


@kinds
def test_weights_of_another_shape_are_refused_before_they_are_read(
    tmp_path: Path, kind: str
) -> None:
    path = save_tiny(tmp_path / "m", kind) / "config.json"
    size = {"t5": "vocab_size", "encoder": "vocab_size", "bilstm": "num_words"}[kind]
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, size: fields[size] + 1}))
    with pytest.raises(UserError, match=r"model\.safetensors: .*shape"):
        open_checkpoint(tmp_path / "m")


@pytest.mark.parametrize(
    ("model_type", "remedy"),
    [("gpt2", "use a checkpoint of one of these"), ("longt5", "use a T5, mT5, umT5")],
)
def test_what_is_of_no_kind(tmp_path: Path, model_type: str, remedy: str) -> None:
    path = save_tiny(tmp_path / "m", "t5") / "config.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "model_type": model_type}))
    with pytest.raises(UserError) as error:
        open_checkpoint(tmp_path / "m")
    message = str(error.value)
    assert message.startswith(f"{path}: model_type is {model_type!r}") and "\n" not in message
    assert remedy in message


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such directory"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"config\.json: .*; give a complete directory"):
        open_checkpoint(tmp_path)
