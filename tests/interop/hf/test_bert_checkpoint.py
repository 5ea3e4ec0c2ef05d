"""Checkpoints of BERT: the forms in which they are published, and what is wrong with others."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from distill_jax.errors import UserError
from distill_jax.files import read_json_object, write_json
from distill_jax.interop.hf.bert import BertCheckpoint, bert_sources
from distill_jax.interop.hf.bert_config import BERT_TYPES
from distill_jax.kinds.registry import kind_of_type
from tests.tiny import BERT_CONFIG, bert_params
from tests.tiny_bert import BERT, random_tensors, write_encoder


def test_names_with_a_prefix_and_of_old_checkpoints(tmp_path: Path) -> None:
    tensors = write_encoder(tmp_path / "bare")
    expected = BertCheckpoint(tmp_path / "bare")
    assert expected.config == BERT and not expected.unused
    old = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in tensors.items()
    }
    heads = ("cls.predictions.bias", "bert.pooler.dense.bias", "bert.embeddings.position_ids")
    write_encoder(tmp_path / "old", tensors=old | {name: np.ones(2, np.float32) for name in heads})
    found = BertCheckpoint(tmp_path / "old")
    assert set(found.unused) == set(heads)
    jax.tree.map(np.testing.assert_array_equal, found.read(), expected.read())
    np.testing.assert_array_equal(found.embedding(), tensors["embeddings.word_embeddings.weight"])
    kernel = found.read()["bert"]["layers_1"]["wo"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["encoder.layer.1.output.dense.weight"].T)


def test_a_head_of_another_task_is_not_taken_for_one_of_tags(tmp_path: Path) -> None:
    tensors = random_tensors(BERT) | {"classifier.weight": np.ones((2, 8), np.float32)}
    write_encoder(tmp_path, tensors=tensors, architectures=["BertForSequenceClassification"])
    found = BertCheckpoint(tmp_path)
    assert found.config.num_tags == 0 and found.tags == ()
    assert found.unused == {"classifier.weight": "a head of another task"}


def test_numbers_that_are_no_floats_are_skipped_where_they_are_not_used(tmp_path: Path) -> None:
    ids = {"embeddings.position_ids": np.arange(40)[None]}
    write_encoder(tmp_path)
    save_file({**random_tensors(BERT), **ids}, tmp_path / "model.safetensors")
    assert set(BertCheckpoint(tmp_path).unused) == set(ids)


def test_a_file_may_leave_out_what_transformers_knows(tmp_path: Path) -> None:
    write_encoder(tmp_path, BERT.replace(max_positions=512, dropout_rate=0.1))
    fields = read_json_object(tmp_path / "config.json")
    needed = ("model_type", "vocab_size", "hidden_size", "intermediate_size")
    needed += ("num_attention_heads", "num_hidden_layers")
    write_json(tmp_path / "config.json", {name: fields[name] for name in needed})
    assert BertCheckpoint(tmp_path).config == BERT.replace(max_positions=512, dropout_rate=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2', not one of bert, electra"),
        ({"model_type": "distilbert"}, "'distilbert', whose tensors have other names"),
        ({"position_embedding_type": "relative_key"}, "only 'absolute' is supported"),
        ({"is_decoder": True}, "is_decoder is true, so this is a decoder"),
        ({"hidden_act": "mish"}, "hidden_act 'mish' is not supported; gelu, "),
        ({"hidden_size": 9}, "d_model 9 is not a multiple of num_heads 2"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"vocab_size": "many"}, "vocab_size is 'many', not a number from 0"),
        ({"num_hidden_layers": 1.5}, "num_hidden_layers is 1.5, not a whole number"),
        (
            {"architectures": ["BertForTokenClassification"], "id2label": {"1": "O"}},
            "id2label does not name the outputs 0, 1, …",
        ),
    ],
)
def test_configurations_that_are_not_supported(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    write_encoder(tmp_path, **fields)
    with pytest.raises(UserError) as error:
        BertCheckpoint(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'config.json'}: ")
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("encoder.layer.2.output.dense.bias", "layer.2.output.dense.bias' is missing; the weights"),
        ("encoder.layer.3.output.dense.bias", "layer.3.output.dense.bias' has no place in"),
        ("embeddings.word_embeddings.weight", r"has shape \[127, 8\], but config.json asks for"),
    ],
)
def test_tensors_that_are_not_those_of_the_configuration(
    tmp_path: Path, change: str, message: str
) -> None:
    tensors = random_tensors(BERT)
    if "word" in change:
        tensors[change] = tensors[change][1:]
    elif tensors.pop(change, None) is None:
        tensors[change] = np.ones(8, np.float32)
    write_encoder(tmp_path, tensors=tensors)
    with pytest.raises(UserError, match=message):
        BertCheckpoint(tmp_path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such directory"):
        BertCheckpoint(tmp_path / "nowhere")
    write_encoder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="only safetensors are read"):
        BertCheckpoint(tmp_path)


def test_other_parameters_are_not_written() -> None:
    params = bert_params()
    del params["output"]["bias"]
    with pytest.raises(ValueError, match="output/bias"):
        bert_sources(BERT_CONFIG, params)


def test_every_type_is_the_kinds() -> None:
    assert {kind_of_type(name, "config.json").name for name in BERT_TYPES} == {"bert"}
