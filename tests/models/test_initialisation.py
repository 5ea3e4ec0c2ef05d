"""The initialisation that points at equal tokens: what it changes, and that it does what it says."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from distill_jax.models.attention import relative_position_bucket
from distill_jax.models.initialisation import OFFSETS, point_at_equal_tokens
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config


@functools.cache
def make(**changes: Any) -> tuple[T5Config, Any]:
    fields: dict[str, Any] = {
        "vocab_size": 30,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 16,
        "num_heads": 3,
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
    }
    config = T5Config(**(fields | changes))
    one = jnp.ones((1, 2), jnp.int32)
    boxed = jax.jit(T5(config).init)(jax.random.key(0), one, one, one, one)
    return config, nn.unbox(boxed)["params"]


def changed(before: Any, after: Any) -> set[str]:
    differences = jax.tree_util.tree_map_with_path(
        lambda path, x, y: (
            None if np.array_equal(x, y) else jax.tree_util.keystr(path, simple=True, separator="/")
        ),
        before,
        after,
    )
    return set(jax.tree.leaves(differences))


@pytest.mark.slow
@pytest.mark.parametrize("per_layer", [False, True])
def test_it_changes_what_it_says_and_nothing_else(per_layer: bool) -> None:
    config, params = make(relative_bias_per_layer=per_layer)
    copy = jax.tree.map(np.array, params)
    after = point_at_equal_tokens(params, config, cross_scale=0.25, neighbour_bias=4.0)
    assert not changed(copy, params), "the old tree must stay as it was"
    owners = ["encoder/layers_0/", "encoder/layers_1/"] if per_layer else ["encoder/"]
    queries = {f"decoder/layers_{layer}/encoder_decoder_attention/query/kernel" for layer in (0, 1)}
    assert changed(params, after) == queries | {
        f"{owner}relpos_bias/rel_embedding" for owner in owners
    }
    for layer in (0, 1):
        cross = after["decoder"][f"layers_{layer}"]["encoder_decoder_attention"]
        np.testing.assert_array_equal(cross["query"]["kernel"], 0.25 * cross["key"]["kernel"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heads", "biased"), [(1, 1), (2, 1), (3, 2), (4, 2), (6, 4), (8, 5), (12, 6)]
)
def test_each_biased_head_prefers_its_neighbour(heads: int, biased: int) -> None:
    config, params = make(num_heads=heads, num_encoder_layers=1, num_decoder_layers=1)
    after = point_at_equal_tokens(params, config, neighbour_bias=50.0)
    added = np.asarray(
        after["encoder"]["relpos_bias"]["rel_embedding"]
        - params["encoder"]["relpos_bias"]["rel_embedding"]
    )
    assert (added.sum(axis=1) > 0).sum() == biased
    positions = np.arange(12)
    buckets = relative_position_bucket(
        jnp.asarray(positions[None, :] - positions[:, None]),  # key minus query
        bidirectional=True,
        num_buckets=config.relative_buckets,
        max_distance=config.relative_max_distance,
    )
    for head in range(biased):
        preferred = added[head][buckets].argmax(axis=1)
        middle = slice(3, 9)  # whose neighbours all exist
        np.testing.assert_array_equal(preferred[middle], positions[middle] + OFFSETS[head])


def test_cross_attention_goes_to_equal_tokens() -> None:
    """With the tokens' embeddings as states, a decoder token attends to its like in the encoder."""
    config, params = make(d_model=64, d_kv=16)
    after = point_at_equal_tokens(params, config, cross_scale=1.0)
    table = np.asarray(params["token_embedder"]["embedding"])
    states = table[:20] / np.sqrt((table[:20] ** 2).mean(axis=1, keepdims=True))  # as normed

    def hits(tree: Any) -> float:
        found = []
        for layer in ("layers_0", "layers_1"):
            cross = tree["decoder"][layer]["encoder_decoder_attention"]
            query, key = (
                (states @ np.asarray(cross[name]["kernel"])).reshape(20, config.num_heads, -1)
                for name in ("query", "key")
            )
            found.append(np.einsum("qhd,khd->hqk", query, key).argmax(-1) == np.arange(20))
        return float(np.mean(found))

    assert hits(after) > 0.8
    assert hits(params) < 0.3


def test_the_model_still_runs() -> None:
    config, params = make()
    after = point_at_equal_tokens(params, config)
    tokens = jnp.array([[3, 4, 5, 0]])
    segments = (tokens > 0).astype(jnp.int32)
    logits = jax.jit(T5(config).apply)({"params": after}, tokens, segments, tokens, segments)
    assert np.isfinite(logits).all()
