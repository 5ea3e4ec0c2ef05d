"""The pruned decoder against the exact one: same tags, posteriors within epsilon, a true certificate."""

import functools
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.sentscore import (
    INSIDE,
    OUTSIDE,
    DecoderSettings,
    LabelTrie,
    make_decoder,
    posteriors,
)
from distill_jax.sentscore.pruned import Search, Speed, search
from tests.sentscore.reference import LABEL_SETS, WORDS, Tags, random_batch, tiny_t5

MARGIN = 1e-3
"""Scores nearer than this may be ranked either way by rounding."""


def sharpened(params: Any, factor: float) -> Any:
    """Output rows scaled up: the more, the more peaked the distributions."""
    kernel = params["decoder"]["logits_dense"]["kernel"]
    return params | {"decoder": params["decoder"] | {"logits_dense": {"kernel": kernel * factor}}}


@functools.lru_cache
def compiled_decoder(tags: Tags, **settings: Any) -> Any:
    model, _ = tiny_t5("v1.1")
    return make_decoder(model, LabelTrie.compile(tags), DecoderSettings(**settings))


def assert_certified(
    params: Any,
    tags: Tags,
    num_words: list[int],
    *,
    normaliser: str,
    epsilon: float,
    seed: int,
) -> None:
    batch = random_batch(seed, num_words)
    exact, found = (
        compiled_decoder(tags, name=name, normaliser=normaliser, epsilon=epsilon)(params, batch)
        for name in ("sentscore", "pruned")
    )
    u, v = np.asarray(exact.log_likelihoods), np.asarray(found.log_likelihoods)
    p, q = np.asarray(posteriors(u)), np.asarray(posteriors(v))
    unexplored = np.asarray(found.unexplored)
    for row, words in enumerate(num_words):
        assert not np.any(found.tags[row, words:]) and not np.any(v[row, words:])
        for word in range(words):
            best = np.sort(u[row, word])[::-1]
            explored = np.isfinite(v[row, word])
            np.testing.assert_allclose(
                v[row, word, explored], u[row, word, explored], rtol=1e-4, atol=1e-4
            )
            mass = p[row, word, ~explored].sum()
            assert mass <= unexplored[row, word] + 1e-6
            assert unexplored[row, word] <= epsilon
            assert np.abs(p[row, word] - q[row, word]).max() <= epsilon + 1e-5
            before = exact.tags[row, word - 1] if word else OUTSIDE
            assert not (before == OUTSIDE and explored[INSIDE])
            if best[0] - best[1] < MARGIN:
                break  # a tie: the words after it may differ
            assert found.tags[row, word] == exact.tags[row, word]


@pytest.mark.parametrize("normaliser", ["vocab", "trie"])
@pytest.mark.parametrize("tags", [LABEL_SETS[2], LABEL_SETS[3]])
def test_same_tags_and_a_true_certificate(tags: Tags, normaliser: str) -> None:
    _, params = tiny_t5("v1.1")
    for factor in (0.3, 1.0, 4.0):
        for seed in range(4):
            assert_certified(
                sharpened(params, factor),
                tags,
                [WORDS, 2, 0],
                normaliser=normaliser,
                epsilon=1e-3,
                seed=seed,
            )


@pytest.mark.slow
@given(
    tags=st.lists(
        st.lists(st.integers(2, 9), min_size=1, max_size=4).map(tuple),
        min_size=2,
        max_size=12,
        unique=True,
    ).map(tuple),
    normaliser=st.sampled_from(["vocab", "trie"]),
    epsilon=st.sampled_from([1e-6, 1e-2, 0.3]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=4, derandomize=True)  # a compile each
def test_random_label_sets(tags: Tags, normaliser: str, epsilon: float, seed: int) -> None:
    _, params = tiny_t5("v1.1")
    for factor in (1.0, 4.0):
        assert_certified(
            sharpened(params, factor),
            tags,
            [WORDS, 1, 3],
            normaliser=normaliser,
            epsilon=epsilon,
            seed=seed,
        )


@functools.lru_cache
def forty_tags() -> Tags:
    rng = np.random.default_rng(2)
    rest = {tuple(rng.integers(4, 30, rng.integers(1, 4)).tolist()) for _ in range(60)}
    return ((2,), (3,), *sorted(rest)[:38])


@functools.lru_cache
def compiled_search(**options: Any) -> Any:
    model, _ = tiny_t5("v1.1")
    trie = LabelTrie.compile(forty_tags())
    fixed = {"normaliser": "trie", "epsilon": 1e-3} | options
    return jax.jit(lambda params, batch: search(model, params, batch, trie, **fixed))


def run_search(params: Any, batch: Any, **options: Any) -> Search:
    found: Search = compiled_search(**options)(params, batch)
    return found


def test_fewer_nodes_where_the_model_is_sure() -> None:
    _, params = tiny_t5("v1.1")
    batch = random_batch(0, [WORDS] * 4)
    sure = run_search(sharpened(params, 12.0), batch)
    nodes = LabelTrie.compile(forty_tags()).num_nodes + 1
    assert np.sum(sure.nodes) < 0.5 * nodes * WORDS * 4
    assert np.all(np.asarray(sure.passes) >= 1)


@pytest.mark.slow
def test_width_and_scratch_change_nothing() -> None:
    """A word that is not settled after so few nodes is scored in full."""
    _, params = tiny_t5("v1.1")
    for factor in (0.1, 4.0):
        batch = random_batch(3, [WORDS, 2, 3])
        usual = run_search(sharpened(params, factor), batch)
        other = run_search(sharpened(params, factor), batch, speed=Speed(3, 4))
        np.testing.assert_array_equal(usual.tags, other.tags)
        both = np.isfinite(usual.log_likelihoods) & np.isfinite(other.log_likelihoods)
        np.testing.assert_allclose(
            np.asarray(usual.log_likelihoods)[both],
            np.asarray(other.log_likelihoods)[both],
            rtol=1e-4,
            atol=1e-4,
        )


@pytest.mark.slow
def test_a_large_batch_equals_small_ones() -> None:
    """Rows are taken out of a large batch towards its end: tags must not depend on that."""
    _, params = tiny_t5("v1.1")
    lengths = [WORDS, 1, 3, 2] * 4
    large = random_batch(7, lengths)
    together = run_search(params, large)
    for first in range(0, 16, 8):
        part = large._replace(
            encoder_tokens=large.encoder_tokens[first : first + 8],
            encoder_mask=large.encoder_mask[first : first + 8],
            num_words=large.num_words[first : first + 8],
        )
        np.testing.assert_array_equal(
            run_search(params, part).tags, together.tags[first : first + 8]
        )


def test_one_compile_per_shape() -> None:
    model, params = tiny_t5("v1.1", d_ff=16)
    decoder = make_decoder(model, LabelTrie.compile(LABEL_SETS[0]), DecoderSettings(name="pruned"))
    for seed in range(3):
        decoder(params, random_batch(seed, [seed, WORDS]))
    assert decoder._cache_size() == 1
