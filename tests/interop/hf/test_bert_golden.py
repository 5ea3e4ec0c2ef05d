"""Parity of BERT, ELECTRA, RoBERTa and XLM-R with PyTorch transformers: stored outputs of random ones."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.interop.hf.bert import BertCheckpoint, bert_sources, write_bert_files
from distill_jax.models.bert import Bert, BertTagger

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
NAMES = ("bert", "electra", "roberta", "xlm_roberta")
TAGS = ("O", "I", "city", "date_time")
TOLERANCE = 1e-4  # absolute, of states of the order of 1


@pytest.fixture(scope="module", params=NAMES)
def golden(request: pytest.FixtureRequest) -> tuple[BertCheckpoint, dict[str, np.ndarray]]:
    directory = GOLDEN / request.param
    with np.load(directory / "outputs.npz") as arrays:
        return BertCheckpoint(directory), dict(arrays)


def real_states(states: Any, tokens: np.ndarray, pad_id: int) -> np.ndarray:
    """Of the tokens that are not padding; what transformers computes there nothing reads."""
    return np.stack([np.asarray(layer)[tokens != pad_id] for layer in states])


@pytest.mark.parametrize("implementation", ["einsum", "xla"])
def test_states_of_all_layers_equal_those_of_transformers(
    golden: tuple[BertCheckpoint, dict[str, np.ndarray]], implementation: str
) -> None:
    checkpoint, arrays = golden
    config, tokens = checkpoint.config, arrays["tokens"]
    model = Bert(config.replace(attention_implementation=implementation))
    params = {"params": checkpoint.read()["bert"]}
    states = jax.jit(model.apply)(params, tokens, tokens != config.pad_id)
    assert len(states) == config.num_layers + 1
    assert np.isfinite(np.stack(states)).all()
    expected = real_states(arrays["hidden_states"], tokens, config.pad_id)
    assert np.abs(expected).mean() > 0.5
    difference = np.abs(real_states(states, tokens, config.pad_id) - expected)
    assert difference.max() <= TOLERANCE


def test_a_token_classifier_gives_the_logits_of_transformers(
    golden: tuple[BertCheckpoint, dict[str, np.ndarray]],
) -> None:
    checkpoint, arrays = golden
    if "logits" not in arrays:
        assert checkpoint.tags == () and checkpoint.config.num_tags == 0
        return
    assert checkpoint.tags == TAGS and checkpoint.config.num_tags == len(TAGS)
    tokens = arrays["tokens"]
    everywhere = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    logits = jax.jit(BertTagger(checkpoint.config).apply)(
        {"params": checkpoint.read()}, tokens, everywhere
    )
    real = tokens != checkpoint.config.pad_id
    assert np.abs(logits - arrays["logits"])[real].max() <= TOLERANCE


def test_a_written_checkpoint_is_read_as_it_was(
    golden: tuple[BertCheckpoint, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    checkpoint, _ = golden
    params = checkpoint.read()
    if not checkpoint.tags:
        width = checkpoint.config.d_model
        params["output"] = {"kernel": np.ones((width, 4)), "bias": np.ones(4)}
    config = checkpoint.config.replace(num_tags=4)
    write_bert_files(tmp_path, config, bert_sources(config, params), TAGS)
    again = BertCheckpoint(tmp_path)
    assert again.config == config and again.tags == TAGS and not again.unused
    jax.tree.map(np.testing.assert_array_equal, again.read(), params)
    np.testing.assert_array_equal(
        again.embedding(), params["bert"]["embeddings"]["tokens"]["embedding"]
    )


def test_what_is_not_used_is_named_with_its_reason() -> None:
    unused = {name: BertCheckpoint(GOLDEN / name).unused for name in NAMES}
    assert set(unused["bert"]) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert "pooler" in unused["bert"]["pooler.dense.weight"]
    assert not unused["electra"] and not unused["roberta"]
    assert "lm_head.dense.weight" in unused["xlm_roberta"]
    assert set(unused["xlm_roberta"].values()) == {"a head of pre-training"}


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_files_are_those_that_were_made(name: str) -> None:
    provenance = json.loads((GOLDEN / name / "provenance.json").read_text())
    for file, digest in provenance["sha256"].items():
        content = (GOLDEN / name / file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest and len(content) < 200_000
