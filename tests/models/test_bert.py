"""BERT's module: words, padding, positions, axes, and configurations that cannot be."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.errors import UserError
from distill_jax.models.bert import BertTagger
from distill_jax.models.bert_config import BertConfig

CONFIG = BertConfig(
    architecture="roberta",
    vocab_size=40,
    num_tags=5,
    d_model=16,
    d_embedding=12,
    d_ff=24,
    num_heads=2,
    num_layers=2,
    max_positions=10,
    pad_id=1,
    initializer_range=0.5,
)
TOKENS = np.array([[5, 6, 7, 8, 1, 1], [9, 3, 4, 1, 1, 1]], np.int32)
FIRST = np.array([[0, 2, 3], [0, 1, -1]], np.int32)
MODEL = BertTagger(CONFIG)


@pytest.fixture(scope="module")
def boxed() -> Any:
    return jax.jit(MODEL.initial)(jax.random.key(0))


@pytest.fixture(scope="module")
def variables(boxed: Any) -> Any:
    return {"params": nn.unbox(boxed)}


run = jax.jit(MODEL.apply)


def hidden_states(model: BertTagger) -> Any:
    return jax.jit(functools.partial(model.apply, method="hidden_states"))


def test_words_are_read_at_their_first_subword(variables: Any) -> None:
    logits = run(variables, TOKENS, FIRST)
    assert logits.shape == (2, 3, 5) and logits.dtype == jnp.float32
    states = hidden_states(MODEL)(variables, TOKENS)
    assert len(states) == 3 and all(each.shape == (2, 6, 16) for each in states)
    output = variables["params"]["output"]
    expected = states[-1] @ output["kernel"] + output["bias"]
    for row, word in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        np.testing.assert_allclose(
            logits[row, word], expected[row, FIRST[row, word]], rtol=1e-4, atol=1e-5
        )
    assert not np.any(logits[1, 2])


@pytest.mark.parametrize("more", [3, 12])
def test_padding_changes_nothing(variables: Any, more: int) -> None:
    """Even where it goes beyond the last position."""
    padded = np.pad(TOKENS, ((0, 0), (0, more)), constant_values=CONFIG.pad_id)
    np.testing.assert_allclose(
        run(variables, padded, FIRST), run(variables, TOKENS, FIRST), rtol=1e-4, atol=1e-5
    )


def test_nothing_is_learnt_from_padding(variables: Any) -> None:
    def total(params: Any) -> jax.Array:
        return jnp.square(MODEL.apply({"params": params}, TOKENS, FIRST)).sum()

    embeddings = jax.jit(jax.grad(total))(variables["params"])["bert"]["embeddings"]
    assert not np.any(embeddings["tokens"]["embedding"][CONFIG.pad_id])
    used = np.any(embeddings["positions"]["embedding"], axis=1)
    assert used.tolist() == [2 <= position < 6 for position in range(10)]


def test_dropout_and_bfloat16(variables: Any) -> None:
    plain = run(variables, TOKENS, FIRST)
    dropped = MODEL.apply(
        variables, TOKENS, FIRST, deterministic=False, rngs={"dropout": jax.random.key(1)}
    )
    assert np.abs(dropped - plain).max() > 0.1
    half = BertTagger(CONFIG.replace(dtype="bfloat16"))
    states = hidden_states(half)(variables, TOKENS)
    assert all(each.dtype == jnp.bfloat16 for each in states)
    logits = jax.jit(half.apply)(variables, TOKENS, FIRST)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, plain, atol=0.3)


def test_parameters_name_their_logical_axes(boxed: Any) -> None:
    specs = jax.tree.leaves(
        nn.get_partition_spec(boxed), is_leaf=lambda x: isinstance(x, jax.sharding.PartitionSpec)
    )
    known = {"vocab", "embed", "joined_kv", "mlp", "positions", "types", "tags", None}
    assert specs and all(set(spec) <= known and len(spec) for spec in specs)


def test_configuration_round_trip() -> None:
    assert BertConfig.from_dict(CONFIG.to_dict()) == CONFIG
    assert (CONFIG.first_position, CONFIG.max_tokens, CONFIG.embedding_width) == (2, 8, 12)
    bert = CONFIG.replace(architecture="bert", d_embedding=0)
    assert (bert.first_position, bert.max_tokens, bert.embedding_width) == (0, 10, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gpt2"}, "architecture 'gpt2' is not supported; use one of bert, "),
        ({"activation": "mish"}, "activation 'mish' is not supported"),
        ({"dtype": "float16"}, "dtype 'float16' is not supported"),
        ({"attention_implementation": "cudnn"}, "computes in bfloat16 only"),
        ({"num_heads": 3}, "d_model 16 is not a multiple of num_heads 3"),
        ({"num_layers": 0}, "num_layers is 0; it must be at least 1"),
        ({"max_positions": 4}, "max_positions is 4; it must be at least 5"),
        ({"pad_id": 40, "max_positions": 60}, "pad_id 40 is no row of 40"),
        ({"dropout_rate": 1.0}, "dropout_rate is 1.0"),
    ],
)
def test_bad_configurations(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CONFIG.replace(**changes)
