import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distill_jax.sentscore import DecoderSettings, LabelTrie, make_decoder, score
from distill_jax.sentscore.forward import Bounds
from tests.sentscore.reference import (
    LABEL_SETS,
    WORDS,
    brute_force_u,
    legal_tags,
    random_batch,
    tiny_t5,
)


@pytest.mark.parametrize(
    ("family", "labels", "normaliser"),
    [("v1.0", 1, "vocab"), ("v1.1", 2, "trie"), ("umt5", 3, "vocab")],
)
def test_score_equals_decode(family: str, labels: int, normaliser: str) -> None:
    model, params = tiny_t5(family)
    trie = LabelTrie.compile(LABEL_SETS[labels])
    batch = random_batch(1, [WORDS, 2, 1])
    result = make_decoder(model, trie, DecoderSettings(normaliser=normaliser))(params, batch)
    # Tags beyond a sentence's words must not matter.
    junk = np.where(np.arange(WORDS) < batch.num_words[:, None], result.tags, trie.num_tags - 1)
    u = jax.jit(lambda p, b, t: score(model, p, b, t, trie, normaliser=normaliser))(
        params, batch, junk
    )
    assert u.dtype == jnp.float32
    np.testing.assert_allclose(u, result.log_likelihoods, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("normaliser", "max_logits"), [("vocab", 256), ("trie", 2**24)])
def test_gradients_equal_those_of_brute_force(normaliser: str, max_logits: int) -> None:
    model, params = tiny_t5("v1.0", num_decoder_layers=1)
    tags, sequence = LABEL_SETS[2], [3, 1, 0, 4]
    trie, batch = LabelTrie.compile(tags), random_batch(5, [WORDS])
    weights = np.random.default_rng(0).normal(size=(WORDS, trie.num_tags)).astype(np.float32)
    queries = [
        (word, tag)
        for word in range(WORDS)
        for tag in legal_tags(tags, sequence[word - 1] if word else 0)
    ]

    def fast(params: Any) -> jax.Array:
        u = score(
            model,
            params,
            batch,
            jnp.array([sequence]),
            trie,
            normaliser=normaliser,  # type: ignore[arg-type]
            bounds=Bounds(max_logits=max_logits),
        )
        return (jnp.where(jnp.isfinite(u[0]), u[0], 0.0) * weights).sum()

    def slow(params: Any) -> jax.Array:
        u = brute_force_u(
            model,
            params,
            batch.encoder_tokens[0],
            tags,
            [(sequence[:word], tag) for word, tag in queries],
            normaliser,
        )
        return (u * weights[tuple(np.array(queries).T)]).sum()

    value, gradient = jax.jit(jax.value_and_grad(fast))(params)
    expected_value, expected = jax.value_and_grad(slow)(params)
    assert float(value) == pytest.approx(float(expected_value), rel=1e-4)
    for (path, got), want in zip(
        jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(expected), strict=True
    ):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(got).all(), name
        assert np.abs(got).max() > 0, name
        np.testing.assert_allclose(
            got, want, rtol=1e-3, atol=1e-4 * np.abs(want).max(), err_msg=name
        )


def test_dropout_follows_its_key() -> None:
    model, params = tiny_t5("v1.1", dropout_rate=0.3)
    trie, batch = LabelTrie.compile(LABEL_SETS[1]), random_batch(1, [WORDS, 2])
    tags = np.array([[2, 1, 0, 3], [3, 0, 0, 0]])

    @functools.partial(jax.jit, static_argnames="still")
    def jitted(params: Any, key: jax.Array, still: bool) -> jax.Array:
        return score(model, params, batch, tags, trie, dropout_key=None if still else key)

    def run(seed: int, still: bool = False) -> np.ndarray:
        return np.asarray(jitted(params, jax.random.key(seed), still))

    one, again, other = (run(seed) for seed in (1, 1, 2))
    still = run(1, still=True)
    np.testing.assert_array_equal(one, again)
    finite = np.isfinite(one)
    assert np.abs(one[finite] - other[finite]).max() > 1e-2
    assert np.abs(one[finite] - still[finite]).max() > 1e-2
