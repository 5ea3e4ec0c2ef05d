import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.models.t5 import T5
from distill_jax.sentscore import (
    INSIDE,
    OUTSIDE,
    Decoded,
    DecoderSettings,
    LabelTrie,
    SentScoreBatch,
    make_batch,
    make_decoder,
    posteriors,
    score,
)
from tests.sentscore.reference import (
    LABEL_SETS,
    LONGEST,
    MAX_TAGS,
    SENTINELS,
    VOCAB,
    WORDS,
    Tags,
    brute_force_decode,
    brute_force_u,
    legal_tags,
    random_batch,
    spelled,
    tiny_t5,
)

NORMALISERS = ("vocab", "trie")


def make_sentscore(
    model: T5, trie: LabelTrie, normaliser: str = "vocab", **options: int
) -> Callable[[Any, SentScoreBatch], Decoded]:
    return make_decoder(model, trie, DecoderSettings(normaliser=normaliser, **options))  # type: ignore[arg-type]


def assert_matches_brute_force(
    family: str, tags: Tags, seed: int, normalisers: tuple[str, ...] = NORMALISERS
) -> None:
    model, params = tiny_t5(family)
    num_words = [WORDS, 2, 1]
    batch = random_batch(seed, num_words)
    for normaliser in normalisers:
        result = make_sentscore(model, LabelTrie.compile(tags), normaliser)(params, batch)
        for row, words in enumerate(num_words):
            expected_tags, expected_u, margin = brute_force_decode(
                model, params, batch.encoder_tokens[row], words, tags, normaliser
            )
            if margin < 1e-3:
                continue  # a tie: rounding may choose either tag
            np.testing.assert_array_equal(result.tags[row, :words], expected_tags)
            np.testing.assert_allclose(
                result.log_likelihoods[row, :words], expected_u, rtol=1e-4, atol=1e-5
            )
            assert not np.any(result.tags[row, words:])
            assert not np.any(result.log_likelihoods[row, words:])
            if normaliser == "trie":  # closed form: the legal tags share all of the probability
                total = np.exp(result.log_likelihoods[row, :words]).sum(-1)
                np.testing.assert_allclose(total, 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("family", "tags"),
    [("v1.0", LABEL_SETS[1]), ("v1.1", LABEL_SETS[2]), ("umt5", LABEL_SETS[3])],
)
def test_matches_brute_force(family: str, tags: Tags) -> None:
    for seed in range(3):
        assert_matches_brute_force(family, tags, seed)


@given(
    tags=st.lists(
        st.lists(st.integers(2, 5), min_size=1, max_size=LONGEST).map(tuple),
        min_size=2,
        max_size=MAX_TAGS,
        unique=True,
    ).map(tuple),
    normaliser=st.sampled_from(NORMALISERS),
    seed=st.integers(0, 1000),
)
@settings(
    deadline=None,
    max_examples=3,  # each label set is a compile of its own
    derandomize=True,
)
def test_matches_brute_force_on_random_label_sets(tags: Tags, normaliser: str, seed: int) -> None:
    assert_matches_brute_force("v1.1", tags, seed, (normaliser,))


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_full_enumeration(normaliser: str) -> None:
    """Of all tag sequences: u adds up to the target's likelihood, greedy is best step by step."""
    model, params = tiny_t5("v1.1")
    tags, words = LABEL_SETS[1], 3
    trie = LabelTrie.compile(tags)
    sentence = random_batch(7, [words], max_words=words)
    sequences = np.array(list(itertools.product(range(len(tags)), repeat=words)))
    many = sentence._replace(
        encoder_tokens=np.repeat(sentence.encoder_tokens, len(sequences), 0),
        encoder_mask=np.repeat(sentence.encoder_mask, len(sequences), 0),
        num_words=np.repeat(sentence.num_words, len(sequences), 0),
    )
    u = np.asarray(
        jax.jit(lambda p, b, t: score(model, p, b, t, trie, normaliser=normaliser))(
            params, many, sequences
        )
    )
    picked = np.take_along_axis(u, sequences[:, :, None], axis=-1)[:, :, 0]
    before = np.pad(sequences[:, :-1], ((0, 0), (1, 0)))
    legal = ~((sequences == INSIDE) & (before == OUTSIDE)).any(1)
    np.testing.assert_array_equal(np.isfinite(picked).all(1), legal)
    total = np.where(legal, picked.sum(1), -np.inf)

    if normaliser == "trie":
        # Closed form: the legal sequences share all of the probability.
        assert np.exp(total).sum() == pytest.approx(1.0, abs=1e-5)
    else:
        # Closed form: the language model's likelihood of the whole target, s_0 not counted.
        targets = np.zeros((len(sequences), 1 + words * (1 + LONGEST)), np.int32)
        for row, sequence in enumerate(sequences):
            ids = spelled(tags, sequence)
            targets[row, : len(ids)] = ids
        decoder = np.pad(targets[:, :-1], ((0, 0), (1, 0)))
        logits = jax.jit(model.apply)(
            {"params": params},
            many.encoder_tokens,
            many.encoder_mask.astype(np.int32),
            decoder,
            np.ones_like(decoder),
        )
        log_p = np.take_along_axis(
            np.asarray(jax.nn.log_softmax(logits)), targets[:, :, None], axis=-1
        )[:, :, 0]
        whole = (log_p * (targets > 0))[:, 1:].sum(1)
        np.testing.assert_allclose(total[legal], whole[legal], rtol=1e-4)

    chosen = np.asarray(make_sentscore(model, trie, normaliser)(params, sentence).tags[0])
    for word in range(words):
        # u of a word depends on the tags before it only: any sequence that shares them will do.
        shares = np.flatnonzero((sequences[:, :word] == chosen[:word]).all(1))
        best = max(shares, key=lambda row: (picked[row, word], -sequences[row, word]))
        assert sequences[best, word] == chosen[word]


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_every_output_is_legal(normaliser: str) -> None:
    """I pushed up as far as a bias in the embedding can push it: still legal, and I is chosen."""
    model, params = tiny_t5("v1.1")
    kernel = params["decoder"]["logits_dense"]["kernel"]
    tag = make_sentscore(model, LabelTrie.compile(LABEL_SETS[0]), normaliser)
    chosen_inside = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=kernel.shape).astype(np.float32)
        noise[:, 3] *= 3
        loud = params | {"decoder": params["decoder"] | {"logits_dense": {"kernel": noise}}}
        num_words = rng.integers(0, WORDS + 1, 16)
        result = tag(loud, random_batch(seed, num_words))
        tags = np.asarray(result.tags)
        before = np.pad(tags[:, :-1], ((0, 0), (1, 0)))
        in_sentence = np.arange(WORDS) < num_words[:, None]
        assert not ((tags == INSIDE) & (before == OUTSIDE) & in_sentence).any()
        u = np.asarray(result.log_likelihoods)
        np.testing.assert_array_equal(np.isinf(u[:, :, INSIDE]), (before == OUTSIDE) & in_sentence)
        assert np.isfinite(np.delete(u, INSIDE, axis=-1)).all()
        probabilities = np.asarray(posteriors(result.log_likelihoods))
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
        chosen_inside += int((tags == INSIDE).sum())
    assert chosen_inside > 50


def test_ties_go_to_the_lowest_tag() -> None:
    """Two labels with equal rows in both embeddings: never the later one."""
    model, params = tiny_t5("v1.1")
    table = np.array(params["token_embedder"]["embedding"])
    kernel = np.array(params["decoder"]["logits_dense"]["kernel"])
    table[5], kernel[:, 5] = table[4], kernel[:, 4]
    params = params | {
        "token_embedder": {"embedding": table},
        "decoder": params["decoder"] | {"logits_dense": {"kernel": kernel}},
    }
    tag = make_sentscore(model, LabelTrie.compile(LABEL_SETS[0]))
    result = tag(params, random_batch(0, [WORDS] * 16))
    u = np.asarray(result.log_likelihoods)
    np.testing.assert_array_equal(u[:, :, 2], u[:, :, 3])
    tags = np.asarray(result.tags)
    assert (tags == 2).any() and not (tags == 3).any()


def test_batching_and_padding_change_nothing() -> None:
    model, params = tiny_t5("umt5")
    tag = make_sentscore(model, LabelTrie.compile(LABEL_SETS[3]))
    num_words = [WORDS, 0, 2]
    batch = random_batch(11, num_words)
    together = tag(params, batch)
    assert not np.any(together.tags[1]) and not np.any(together.log_likelihoods[1])
    for row in (2,):
        words = num_words[row]
        # Alone, in the smallest shapes that hold it.
        alone = make_batch(
            batch.encoder_tokens[row : row + 1, : 2 * words + 2],
            batch.num_words[row : row + 1],
            SENTINELS,
            max_words=words,
        )
        result = tag(params, alone)
        np.testing.assert_array_equal(result.tags[0], together.tags[row, :words])
        np.testing.assert_allclose(
            result.log_likelihoods[0], together.log_likelihoods[row, :words], rtol=1e-5
        )
    empty = tag(params, random_batch(0, [0, 0, 0]))
    assert not np.any(empty.tags) and not np.any(empty.log_likelihoods)


def test_one_compile_per_bucket() -> None:
    model, params = tiny_t5("v1.1", d_ff=8)  # a model that no other test has compiled
    tag = make_sentscore(model, LabelTrie.compile(LABEL_SETS[0]))
    assert make_sentscore(model, LabelTrie.compile([list(ids) for ids in LABEL_SETS[0]])) is tag
    for seed in range(3):
        tag(params, random_batch(seed, [seed, WORDS]))
    assert tag._cache_size() == 1
    tag(params, random_batch(0, [1, 2, 3]))
    tag(jax.tree.map(lambda x: x * 1.5, params), random_batch(1, [3, 2, 1]))
    assert tag._cache_size() == 2


def test_chunked_vocabulary_sum_changes_nothing() -> None:
    model, params = tiny_t5("v1.1")
    trie, batch = LabelTrie.compile(LABEL_SETS[2]), random_batch(4, [WORDS, 3, 2])
    whole = make_sentscore(model, trie)(params, batch)
    # Seven nodes with the root in chunks of at most two, so the last chunk is padded.
    chunked = make_sentscore(model, trie, max_logits=3 * 2 * VOCAB)(params, batch)
    np.testing.assert_array_equal(whole.tags, chunked.tags)
    np.testing.assert_allclose(whole.log_likelihoods, chunked.log_likelihoods, rtol=1e-6)


def test_sharded_equals_unsharded() -> None:
    if jax.device_count() < 4:
        pytest.skip("needs 4 devices (tests/conftest.py asks for 8 virtual ones)")
    model, params = tiny_t5("v1.1")
    tag = make_sentscore(model, LabelTrie.compile(LABEL_SETS[1]))
    batch = random_batch(2, [4, 3, 2, 1])
    expected = tag(params, batch)
    automatic = 2 * (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((2, 2), ("data", "model"), axis_types=automatic)

    def put(value: np.ndarray, *axes: str | None) -> jax.Array:
        spec = jax.sharding.PartitionSpec(*axes)
        return jax.device_put(value, jax.sharding.NamedSharding(mesh, spec))

    def put_parameter(path: tuple[object, ...], value: jax.Array) -> jax.Array:
        split = "kernel" in jax.tree_util.keystr(path) and "logits" in jax.tree_util.keystr(path)
        return put(value, *((None, "model") if split else ()))

    sharded = tag(
        jax.tree_util.tree_map_with_path(put_parameter, params),
        batch._replace(
            encoder_tokens=put(batch.encoder_tokens, "data"),
            encoder_mask=put(batch.encoder_mask, "data"),
            num_words=put(batch.num_words, "data"),
            sentinel_ids=put(batch.sentinel_ids),
        ),
    )
    np.testing.assert_array_equal(sharded.tags, expected.tags)
    np.testing.assert_allclose(sharded.log_likelihoods, expected.log_likelihoods, rtol=1e-5)


def test_bfloat16_stays_close() -> None:
    model, params = tiny_t5("v1.1")
    half = T5(model.config.replace(dtype="bfloat16"))
    trie, batch = LabelTrie.compile(LABEL_SETS[1]), random_batch(2, [4, 3, 2, 1])
    exact = make_sentscore(model, trie)(params, batch)
    rough = make_sentscore(half, trie)(params, batch)
    assert rough.log_likelihoods.dtype == jnp.float32
    u, v = exact.log_likelihoods[:, 0], rough.log_likelihoods[:, 0]  # same prefix in both
    finite = np.isfinite(u)
    np.testing.assert_allclose(v[finite], u[finite], rtol=0.1)


def test_bad_input() -> None:
    model, _ = tiny_t5("v1.1")
    trie = LabelTrie.compile(LABEL_SETS[0])
    with pytest.raises(UserError, match="normaliser 'words' is unknown"):
        make_sentscore(model, trie, "words")
    with pytest.raises(UserError, match="within the model's 48"):
        make_sentscore(model, LabelTrie.compile([[2], [VOCAB]]))
    tokens = np.ones((1, 4), np.int32)
    with pytest.raises(UserError, match="needs 9 sentinels"):
        make_batch(tokens, np.array([1]), SENTINELS, max_words=8)
    with pytest.raises(UserError, match="3 words does not fit"):
        make_batch(tokens, np.array([3]), SENTINELS, max_words=2)


def test_brute_force_knows_illegal_tags() -> None:
    """A check of the reference itself: forbidding I changes what is left under `trie`."""
    model, params = tiny_t5("v1.1")
    row = random_batch(0, [2]).encoder_tokens[0]
    assert legal_tags(LABEL_SETS[0], OUTSIDE) == [0, 2, 3]
    after_label = brute_force_u(
        model, params, row, LABEL_SETS[0], [((2,), tag) for tag in range(4)], "trie"
    )
    assert np.exp(after_label).sum() == pytest.approx(1, abs=1e-5)
