import functools
import itertools
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.models.t5 import T5
from distill_jax.sentscore import Decoded, DecoderSettings, LabelTrie, make_decoder
from tests.sentscore.reference import (
    LABEL_SETS,
    WORDS,
    Tags,
    brute_force_u,
    legal_tags,
    random_batch,
    tiny_t5,
)

CLOSE = 2e-3
"""Sums of two beam entries nearer than this may change places by rounding."""


def brute_force_beam(
    model: T5, params: Any, row: np.ndarray, words: int, tags: Tags, normaliser: str, beam: int
) -> tuple[list[tuple[float, list[int]]], float]:
    """The best sequences with their sums, best first, and the smallest margin of any choice."""
    entries: list[tuple[float, list[int]]] = [(0.0, [])]
    margin = np.inf
    for _ in range(words):
        grown = []
        for total, chosen in entries:
            legal = legal_tags(tags, chosen[-1] if chosen else 0)
            u = brute_force_u(model, params, row, tags, [(chosen, t) for t in legal], normaliser)
            grown += [(total + float(v), [*chosen, t]) for v, t in zip(u, legal, strict=True)]
        grown.sort(key=lambda entry: -entry[0])
        sums = np.array([total for total, _ in grown[: beam + 1]])
        margin = min(margin, float(np.min(-np.diff(sums), initial=np.inf)))
        entries = grown[:beam]
    return entries, margin


def run(model: T5, params: Any, batch: Any, tags: Tags, **options: Any) -> Decoded:
    return make_decoder(model, LabelTrie.compile(tags), DecoderSettings(**options))(params, batch)


@pytest.mark.parametrize(
    ("tags", "beam", "normaliser"),
    [(LABEL_SETS[1], 2, "vocab"), (LABEL_SETS[2], 3, "trie"), (LABEL_SETS[3], 4, "vocab")],
)
def test_matches_brute_force(tags: Tags, beam: int, normaliser: str) -> None:
    model, params = tiny_t5("v1.1")
    num_words = [WORDS, 2, 0]
    compared = 0
    for seed in range(3):
        batch = random_batch(seed, num_words)
        found = run(model, params, batch, tags, beam=beam, normaliser=normaliser)
        assert found.beams is not None
        for row, words in enumerate(num_words[:2]):
            expected, margin = brute_force_beam(
                model, params, batch.encoder_tokens[row], words, tags, normaliser, beam
            )
            if margin < CLOSE:
                continue
            compared += 1
            for entry, (total, chosen) in enumerate(expected):
                np.testing.assert_array_equal(found.beams.tags[row, entry, :words], chosen)
                assert found.beams.scores[row, entry] == pytest.approx(total, rel=1e-4)
                u = brute_force_u(
                    model,
                    params,
                    batch.encoder_tokens[row],
                    tags,
                    [(chosen[:i], chosen[i]) for i in range(words)],
                    normaliser,
                )
                own = np.take_along_axis(
                    np.asarray(found.beams.log_likelihoods[row, entry, :words]),
                    np.array(chosen)[:, None],
                    axis=-1,
                )[:, 0]
                np.testing.assert_allclose(own, u, rtol=1e-4, atol=1e-5)
            assert not np.any(found.beams.tags[row, :, words:])
        np.testing.assert_array_equal(found.tags, found.beams.tags[:, 0])
        np.testing.assert_array_equal(found.log_likelihoods, found.beams.log_likelihoods[:, 0])
    assert compared > 2


def test_a_beam_that_holds_every_sequence_finds_the_best_of_all() -> None:
    """Closed form under `trie`: the kept sequences are all legal ones and share all probability."""
    model, params = tiny_t5("v1.1")
    tags, words = LABEL_SETS[0], 3
    legal = [
        sequence
        for sequence in itertools.product(range(len(tags)), repeat=words)
        if all(
            tag in legal_tags(tags, before) for before, tag in itertools.pairwise((0, *sequence))
        )
    ]
    beam = len(tags) ** words
    found = run(model, params, random_batch(5, [words]), tags, beam=beam, normaliser="trie")
    assert found.beams is not None
    alive = np.isfinite(np.asarray(found.beams.scores[0]))
    kept = [tuple(sequence) for sequence in np.asarray(found.beams.tags[0, alive, :words])]
    assert sorted(kept) == sorted(legal)
    scores = np.asarray(found.beams.scores[0, alive])
    assert (np.diff(scores) <= 0).all()
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-5)


@functools.lru_cache
def many_tags() -> Tags:
    """Shared prefixes, tags that begin others, and an I that shares its first token."""
    rng = np.random.default_rng(1)
    rest = {tuple(rng.integers(2, 9, rng.integers(1, 4)).tolist()) for _ in range(30)}
    return tuple(dict.fromkeys([(2,), (3, 4), (3,), (3, 4, 5), *sorted(rest)]))


@pytest.mark.parametrize(
    ("beam", "normaliser", "max_nodes"), [(1, "vocab", 7), (2, "trie", 4), (1, "trie", 19)]
)
def test_blocks_of_any_size_give_the_same(beam: int, normaliser: str, max_nodes: int) -> None:
    model, params = tiny_t5("v1.1")
    options = {"beam": beam, "normaliser": normaliser}
    for seed in range(3):
        batch = random_batch(seed, [WORDS, 1, 3])
        whole = run(model, params, batch, many_tags(), **options)
        parts = run(model, params, batch, many_tags(), max_nodes=max_nodes, **options)
        np.testing.assert_array_equal(whole.tags, parts.tags)
        for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "a beam of 0"),
        ({"name": "greedy", "beam": 2}, "has no beam"),
        ({"epsilon": 0.0}, "epsilon is 0.0"),
        ({"epsilon": 1.0}, "epsilon is 1.0"),
        ({"name": "viterbi"}, "decoder 'viterbi' is unknown"),
        ({"max_nodes": 0}, "max_nodes is 0"),
    ],
)
def test_bad_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DecoderSettings(**options)
