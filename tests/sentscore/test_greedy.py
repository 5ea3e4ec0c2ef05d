import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.models.t5 import T5
from distill_jax.sentscore import (
    INSIDE,
    OUTSIDE,
    DecoderSettings,
    LabelTrie,
    SentScoreBatch,
    make_batch,
    make_decoder,
)
from distill_jax.sentscore.automaton import Automaton
from distill_jax.sentscore.greedy import cache_sizes, default_sizes, greedy
from distill_jax.sentscore.packing import decode_packed, pack_rows
from tests.sentscore.reference import (
    LABEL_SETS,
    LONGEST,
    SENTINELS,
    VOCAB,
    WORDS,
    Tags,
    random_batch,
    tiny_t5,
)
from tests.sentscore.stepwise import StepByStep, brute_force_greedy

# Also: every tag begins alike, so that a word's first token is never a choice; and no choice at all.
ALIKE: Tags = ((2, 3), (2, 3, 4), (2, 4, 3), (2, 4))
NO_CHOICE: Tags = ((2, 3), (4,))

Sizes = tuple[float, ...]
"""The width, and the share; where a group has less room than its rows' widths its tokens are packed."""


@functools.lru_cache(maxsize=64)
def make_greedy(
    model: T5, trie: LabelTrie, width: int | None = None, share: float | None = None
) -> Callable[[Any, SentScoreBatch], jax.Array]:
    return jax.jit(
        lambda params, batch: greedy(model, params, batch, trie, width=width, share=share)
    )


def expected(model: T5, params: Any, batch: SentScoreBatch, row: int, tags: Tags) -> StepByStep:
    words = int(batch.num_words[row])
    return brute_force_greedy(model, params, batch.encoder_tokens[row], words, tags, SENTINELS)


def assert_matches_brute_force(
    family: str, tags: Tags, seeds: Sequence[int], sizes: Sequence[Sizes]
) -> None:
    model, params = tiny_t5(family)
    num_words = [WORDS, 2, 0, 1, WORDS - 1]
    checked = 0
    for seed in seeds:
        batch = random_batch(seed, num_words)
        results = [
            np.asarray(make_greedy(model, LabelTrie.compile(tags), *size)(params, batch))
            for size in sizes
        ]
        for row, words in enumerate(num_words):
            by_hand = expected(model, params, batch, row, tags)
            if by_hand.margin < 1e-3:
                continue  # a tie: rounding may choose either token
            for result in results:
                np.testing.assert_array_equal(result[row, :words], by_hand.tags)
            checked += 1
        for result in results:
            assert result.dtype == np.int32
            assert not result[np.arange(WORDS) >= np.array(num_words)[:, None]].any()
    assert checked > len(seeds)


@pytest.mark.parametrize(
    ("family", "tags", "sizes"),
    [
        ("v1.0", LABEL_SETS[1], [(), (3, 1.3)]),
        ("v1.1", LABEL_SETS[2], [(1,), (6, 0.2), (2, 0.6)]),
        ("umt5", LABEL_SETS[3], [(3, 2)]),
        ("v1.1", ALIKE, [(1,), (4, 2)]),
        ("v1.1", NO_CHOICE, [(2,)]),
    ],
)
def test_matches_brute_force(family: str, tags: Tags, sizes: list[Sizes]) -> None:
    assert_matches_brute_force(family, tags, range(8), sizes)


@pytest.mark.slow
@given(
    tags=st.lists(
        st.lists(st.integers(2, 5), min_size=1, max_size=LONGEST).map(tuple),
        min_size=2,
        max_size=9,
        unique=True,
    ).map(tuple),
    size=st.sampled_from([(), (1,), (3,), (2, 1), (3, 0.4), (5, 2)]),
    seed=st.integers(0, 1000),
)
@settings(
    deadline=None,
    max_examples=5,  # each label set is a compile of its own
    derandomize=True,
)
def test_matches_brute_force_on_random_label_sets(tags: Tags, size: Sizes, seed: int) -> None:
    assert_matches_brute_force("v1.1", tags, range(seed, seed + 3), [size])


def test_many_long_tags() -> None:
    """A root of many children, below it tags of up to 16 tokens that part late.

    Some batches outgrow the cache that the loop begins with, some do not.
    """
    rng = np.random.default_rng(0)
    stems = rng.integers(2, 40, (30, 16))
    distinct = dict.fromkeys([(2,), (3, 4)])
    while len(distinct) < 100:
        tag = stems[rng.integers(30), : rng.choice([1, 2, 3, 4, 8, 16])].copy()
        tag[-1] = rng.integers(2, 40)
        distinct[tuple(tag.tolist())] = None
    tags = tuple(distinct)
    trie = LabelTrie.compile(tags)
    width = 4
    enough, most = cache_sizes(Automaton.build(trie), WORDS, width)
    assert enough < most == WORDS * (1 + 16) + width
    model, params = tiny_t5("v1.1")
    used = []
    for seed in (0, 2):
        batch = random_batch(seed, [WORDS, WORDS])
        found = make_greedy(model, trie, width)(params, batch)
        by_hand = [expected(model, params, batch, row, tags) for row in range(2)]
        for row in range(2):
            assert by_hand[row].margin > 1e-3
            np.testing.assert_array_equal(found[row], by_hand[row].tags)
        used.append(max(sum(result.chains) for result in by_hand))
    assert used[0] > enough and used[1] <= enough - width


@pytest.mark.parametrize("tags", [LABEL_SETS[2], ALIKE])
def test_no_pass_without_a_decision(tags: Tags, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass a decision where blocks are wide enough, else as many as its tokens need."""
    passes: list[None] = []

    def counting(*arguments: Any) -> Any:
        jax.debug.callback(lambda: passes.append(None))
        return decode_packed(*arguments)

    monkeypatch.setattr("distill_jax.sentscore.greedy.decode_packed", counting)
    model, params = tiny_t5("v1.1")
    trie = LabelTrie.compile(tags)
    for width in (1, max(map(max, Automaton.build(trie).chains))):
        run = jax.jit(lambda batch, width=width: greedy(model, params, batch, trie, width=width))
        for seed in range(4):
            batch = random_batch(seed, [WORDS])
            passes.clear()
            jax.block_until_ready(run(batch))
            jax.effects_barrier()
            chains = expected(model, params, batch, 0, tags).chains
            assert len(passes) == sum(math.ceil(chain / width) for chain in chains)
            if width > 1 and tags != ALIKE:
                assert len(passes) == len(chains)


def test_rows_change_nothing_for_each_other() -> None:
    """Alone, in the smallest shapes that hold it, a sentence gets the same tags."""
    model, params = tiny_t5("umt5")
    trie = LabelTrie.compile(LABEL_SETS[3])
    num_words = [WORDS, 0, 2, 3, 1, WORDS]
    batch = random_batch(11, num_words)
    together = make_greedy(model, trie)(params, batch)
    for row in (2,):
        words = num_words[row]
        alone = make_batch(
            batch.encoder_tokens[row : row + 1, : 2 * words + 2],
            batch.num_words[row : row + 1],
            SENTINELS,
            max_words=words,
        )
        np.testing.assert_array_equal(
            make_greedy(model, trie)(params, alone)[0], together[row, :words]
        )
    assert not np.any(make_greedy(model, trie)(params, random_batch(0, [0] * 6)))


@pytest.mark.parametrize("tags", [LABEL_SETS[0], LABEL_SETS[2], LABEL_SETS[3]])
def test_every_output_is_legal(tags: Tags) -> None:
    """I pushed up as far as a bias in the embedding can push it: still legal, and I is chosen."""
    model, params = tiny_t5("v1.1")
    kernel = params["decoder"]["logits_dense"]["kernel"]
    tag = make_greedy(model, LabelTrie.compile(tags))
    chosen_inside = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=kernel.shape).astype(np.float32)
        noise[:, tags[INSIDE]] *= 3
        if seed == 0:
            noise *= np.inf  # no logit is a number
        loud = params | {"decoder": params["decoder"] | {"logits_dense": {"kernel": noise}}}
        num_words = rng.integers(0, WORDS + 1, 16)
        found = np.asarray(tag(loud, random_batch(seed, num_words)))
        before = np.pad(found[:, :-1], ((0, 0), (1, 0)))
        in_sentence = np.arange(WORDS) < num_words[:, None]
        assert not ((found == INSIDE) & (before == OUTSIDE) & in_sentence).any()
        assert ((found >= 0) & (found < len(tags))).all()
        assert not found[~in_sentence].any()
        chosen_inside += int((found == INSIDE).sum())
    assert chosen_inside > 50


def test_ties_go_to_the_lowest_token() -> None:
    """Two labels with equal rows in both embeddings: never the later one."""
    model, params = tiny_t5("v1.1")
    table = np.array(params["token_embedder"]["embedding"])
    kernel = np.array(params["decoder"]["logits_dense"]["kernel"])
    table[5], kernel[:, 5] = table[4], kernel[:, 4]
    params = params | {
        "token_embedder": {"embedding": table},
        "decoder": params["decoder"] | {"logits_dense": {"kernel": kernel}},
    }
    tags = ((2,), (3,), (5,), (4,))
    found = np.asarray(
        make_greedy(model, LabelTrie.compile(tags))(params, random_batch(0, [WORDS] * 16))
    )
    assert (found == 3).any() and not (found == 2).any()


def test_one_compile_per_bucket() -> None:
    model, params = tiny_t5("v1.1", d_ff=8)  # a model that no other test has compiled
    greedily = DecoderSettings("greedy")
    tag = make_decoder(model, LabelTrie.compile(LABEL_SETS[1]), greedily)
    for seed in range(3):
        result = tag(params, random_batch(seed, [seed, WORDS]))
    assert tag._cache_size() == 1
    assert result.log_likelihoods is None and result.tokens is None and result.beams is None
    assert make_decoder(model, LabelTrie.compile(LABEL_SETS[1]), greedily) is tag


@pytest.mark.parametrize("shape", [(8, 1), (2, 4)])
def test_sharded_equals_unsharded(shape: tuple[int, int]) -> None:
    if jax.device_count() < 8:
        pytest.skip("needs 8 devices (tests/conftest.py asks for 8 virtual ones)")
    model, params = tiny_t5("v1.1")
    tag = make_greedy(model, LabelTrie.compile(LABEL_SETS[2]), 3, 1.5)
    batch = random_batch(2, [4, 3, 2, 1, 0, 4, 4, 1])
    automatic = 2 * (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh(shape, ("data", "model"), axis_types=automatic)

    def put(value: Any, *axes: str | None) -> jax.Array:
        spec = jax.sharding.PartitionSpec(*axes)
        return jax.device_put(value, jax.sharding.NamedSharding(mesh, spec))

    def put_parameter(path: tuple[object, ...], value: jax.Array) -> jax.Array:
        split = "logits" in jax.tree_util.keystr(path) or "wi" in jax.tree_util.keystr(path)
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
    np.testing.assert_array_equal(sharded, tag(params, batch))


def test_bfloat16_agrees_where_it_can() -> None:
    """The tags of sentences in which no choice is close."""
    model, params = tiny_t5("v1.1")
    half = T5(model.config.replace(dtype="bfloat16"))
    tags = LABEL_SETS[1]
    batch = random_batch(5, [WORDS] * 16)
    rough = make_greedy(half, LabelTrie.compile(tags))(params, batch)
    clear = 0
    for row in range(16):
        by_hand = expected(model, params, batch, row, tags)
        if by_hand.margin > 0.5:
            np.testing.assert_array_equal(rough[row], by_hand.tags)
            clear += 1
    assert clear > 2


def test_sizes_follow_the_batch() -> None:
    """Few rows are run as wide as they come; many share room for what they need on average."""
    automaton = Automaton.build(LabelTrie.compile([(2,), (3,), (4, 5), (5, 4, 3, 2), (5, 4)]))
    # (5, 4) closes the word or goes on: its decisions bring 2 tokens and 1, or 2 and 3.
    assert automaton.chains == ((2,), (2,), (3,), (2, 3), (2, 1))
    assert default_sizes(automaton, 1) == (3, 3)
    tokens, decisions = (0.75 * o + 0.25 * rest / 4 for o, rest in ((2, 13), (1, 6)))
    assert default_sizes(automaton, 32) == (3, pytest.approx(tokens / decisions))


def test_packing_takes_what_fits_and_puts_it_back() -> None:
    """Two groups of three rows: the row that is behind comes first, the last one is cut short."""
    own, progress = np.array([3, 2, 4, 1, 0, 4]), np.array([5, 1, 2, 3, 0, 3])
    packing = pack_rows(own, progress, width=4, group=3, capacity=7)
    np.testing.assert_array_equal(packing.taken, [1, 2, 4, 1, 0, 4])
    values = np.arange(6 * 4).reshape(6, 4, 1)
    packed = packing.pack(values)
    assert packed.shape == (2, 7, 1)
    np.testing.assert_array_equal(packed[0, :, 0], [4, 5, 8, 9, 10, 11, 0])
    np.testing.assert_array_equal(packed[1, :5, 0], [12, 20, 21, 22, 23])
    taken = np.arange(4) < np.asarray(packing.taken)[:, None]
    np.testing.assert_array_equal(packing.unpack(packed)[taken], values[taken])


def test_bad_input() -> None:
    model, params = tiny_t5("v1.1")
    with pytest.raises(UserError, match="width of 0"):
        greedy(model, params, random_batch(0, [1]), LabelTrie.compile([[2], [3]]), width=0)
    with pytest.raises(UserError, match="share of 0"):
        greedy(model, params, random_batch(0, [1]), LabelTrie.compile([[2], [3]]), share=0)
    with pytest.raises(UserError, match=f"within the model's {VOCAB}"):
        make_decoder(model, LabelTrie.compile([[2], [VOCAB]]), DecoderSettings("greedy"))
