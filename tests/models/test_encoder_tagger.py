import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.errors import UserError
from distill_jax.models.encoder_tagger import EncoderTagger, EncoderTaggerConfig
from distill_jax.models.t5 import T5

CONFIG = EncoderTaggerConfig(
    vocab_size=40, num_tags=5, d_model=16, d_kv=8, d_ff=24, num_heads=2, num_layers=2
)
TOKENS = np.array([[5, 6, 7, 8, 0, 0], [9, 3, 4, 0, 0, 0]], np.int32)
FIRST = np.array([[0, 2, 3], [0, 1, -1]], np.int32)


@pytest.fixture(scope="module")
def boxed() -> dict[str, object]:
    return jax.jit(EncoderTagger(CONFIG).init)(jax.random.key(0), TOKENS, FIRST)


def test_words_are_read_at_their_first_subword(boxed: dict[str, object]) -> None:
    """The head on the states of T5's own encoder, with the same parameters."""
    variables = nn.unbox(boxed)
    logits = jax.jit(EncoderTagger(CONFIG).apply)(variables, TOKENS, FIRST)
    assert logits.shape == (2, 3, 5) and logits.dtype == jnp.float32
    params = variables["params"]
    teacher = {name: params[name] for name in ("token_embedder", "encoder")}
    encode = jax.jit(functools.partial(T5(CONFIG.encoder).apply, method="encode"))
    states = encode({"params": teacher}, TOKENS, (TOKENS > 0).astype(np.int32))
    expected = states @ params["output"]["kernel"] + params["output"]["bias"]
    for row, word in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        np.testing.assert_allclose(
            logits[row, word], expected[row, FIRST[row, word]], rtol=1e-4, atol=1e-5
        )
    assert not np.any(logits[1, 2])


def test_padding_changes_nothing(boxed: dict[str, object]) -> None:
    model, variables = EncoderTagger(CONFIG), nn.unbox(boxed)
    wide = jax.jit(model.apply)(
        variables,
        np.pad(TOKENS, ((0, 0), (0, 3))),
        np.pad(FIRST, ((0, 0), (0, 2)), constant_values=-1),
    )
    narrow = jax.jit(model.apply)(variables, TOKENS, FIRST)
    np.testing.assert_allclose(wide[:, :3], narrow, rtol=1e-4, atol=1e-6)
    assert not np.any(wide[:, 3:])


def test_parameters_name_their_logical_axes(boxed: dict[str, object]) -> None:
    specs = jax.tree.leaves(
        nn.get_partition_spec(boxed), is_leaf=lambda x: isinstance(x, jax.sharding.PartitionSpec)
    )
    known = {"vocab", "embed", "joined_kv", "mlp", "heads", "relpos_buckets", "tags"}
    assert specs and all(set(spec) <= known and len(spec) for spec in specs)


def test_configuration_round_trip() -> None:
    assert EncoderTaggerConfig.from_dict(CONFIG.to_dict()) == CONFIG
    assert CONFIG.replace(num_layers=3).encoder.num_encoder_layers == 3
    assert CONFIG.encoder.d_ff == CONFIG.d_ff


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "t5"}, "model_type is 't5'"),
        ({"depth": 3}, "unknown fields depth"),
        ({"d_model": 0}, "d_model is 0"),
        ({"num_tags": 0}, "num_tags is 0"),
        ({"dtype": "float16"}, "float16"),
    ],
)
def test_bad_configurations(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EncoderTaggerConfig.from_dict(
            {"model_type": "encoder_tagger", **dataclasses.asdict(CONFIG), **changes}
        )
    with pytest.raises(UserError, match="missing"):
        EncoderTaggerConfig.from_dict({"model_type": "encoder_tagger", "num_tags": 3})
