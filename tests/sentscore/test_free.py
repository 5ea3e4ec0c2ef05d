import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.models.t5 import T5
from distill_jax.sent.format import Malformation, SenTFormat
from distill_jax.sentscore import DecoderSettings, LabelTrie, SentScoreBatch, make_decoder
from distill_jax.sentscore.free import free, longest_target
from distill_jax.tagging.labels import LabelSet
from distill_jax.vocab import Vocabulary
from tests.sentscore.reference import (
    LABEL_SETS,
    SENTINELS,
    VOCAB,
    WORDS,
    random_batch,
    spelled,
    tiny_t5,
)
from tests.sentscore.stepwise import brute_force_free

END = 1


@functools.cache
def make_free(model: T5, max_length: int) -> Callable[[Any, SentScoreBatch], jax.Array]:
    return jax.jit(
        lambda params, batch: free(model, params, batch, max_length=max_length, eos_id=END)
    )


def eager_to_end(params: Any, times: float) -> Any:
    """The parameters with the end of sequence made more likely wherever it is likely at all."""
    kernel = np.array(params["decoder"]["logits_dense"]["kernel"])
    kernel[:, END] *= times
    return params | {"decoder": params["decoder"] | {"logits_dense": {"kernel": kernel}}}


@pytest.mark.parametrize("family", ["v1.1", "umt5"])
def test_matches_brute_force(family: str) -> None:
    model, params = tiny_t5(family)
    params = eager_to_end(params, 2.0)
    length = 18
    num_words = [WORDS, 2, 0, 1, 3, 3]
    lengths = set()
    for seed in range(4):
        batch = random_batch(seed, num_words)
        tokens = np.asarray(make_free(model, length)(params, batch))
        assert tokens.dtype == np.int32
        assert not tokens[2].any()  # a row without words is padding
        for row, words in enumerate(num_words):
            written, margin = brute_force_free(
                model, params, batch.encoder_tokens[row], length, END
            )
            if words and margin > 1e-3:
                padded = written + [0] * (length - len(written))
                np.testing.assert_array_equal(tokens[row], padded)
                lengths.add(len(written))
    assert length in lengths and len(lengths) > 2  # cut off, and ended at several places


def scripted(target: list[int]) -> tuple[T5, Any]:
    """A model that writes `target` (no id twice), whatever the sentence.

    Without attention and MLP a token decides the next one: the output row of each is the embedding
    of the one before.
    """
    model, params = tiny_t5("v1.1", d_model=64)

    def silence(path: tuple[Any, ...], value: np.ndarray) -> np.ndarray:
        name = jax.tree_util.keystr(path)
        return np.zeros_like(value) if "'out'" in name or "'wo'" in name else value

    params = jax.tree_util.tree_map_with_path(silence, params)
    table = params["token_embedder"]["embedding"]
    kernel = np.zeros((64, VOCAB), np.float32)
    for before, after in zip([0, *target[:-1]], target, strict=True):
        kernel[:, after] = table[before]
    return model, params | {"decoder": params["decoder"] | {"logits_dense": {"kernel": kernel}}}


class _Letters(Vocabulary):
    """o, i, a, b, c, ... are 2, 3, 4, 5, 6, ..."""

    kind = "letters"
    files = ()

    def __init__(self) -> None:
        super().__init__(size=VOCAB, sentinel_ids=SENTINELS.tolist())

    def _encode_text(self, text: str) -> list[int]:
        return ["oiabcdefgh".index(letter) + 2 for letter in text.lower()]

    def _decode_text(self, ids: list[int]) -> str:
        raise NotImplementedError

    def content_hash(self) -> str:
        raise NotImplementedError

    def save(self, directory: object) -> None:
        raise NotImplementedError


def test_what_is_written_can_be_parsed() -> None:
    """A model that keeps the format, one that forgets a sentinel, one that never ends."""
    form = SenTFormat(_Letters(), LabelSet(("a", "bc")))
    trie = LabelTrie.compile(form.tag_token_ids)
    batch = random_batch(0, [3, 2])
    good = [*spelled(form.tag_token_ids, [2, 1, 3]), END]

    def write(target: list[int]) -> np.ndarray:
        model, params = scripted(target)
        decoded = make_decoder(model, trie, DecoderSettings("free"))(params, batch)
        assert decoded.tags is None and decoded.log_likelihoods is None
        return np.asarray(decoded.tokens)

    tokens = write(good)
    assert tokens.shape == (2, longest_target(trie, WORDS)) == (2, 2 + WORDS * 3)
    np.testing.assert_array_equal(tokens[:, : len(good)], [good, good])
    assert not tokens[:, len(good) :].any()
    right, wrong = (
        form.parse_target(row, num_words=n) for row, n in zip(tokens, (3, 2), strict=True)
    )
    assert right.tags == ["a", "I", "bc"] and not right.problems
    assert [problem.kind for problem in wrong.problems] == [Malformation.WORD_COUNT]

    forgetful = form.parse_target(write([good[0], *good[3:]])[0])
    assert Malformation.WRONG_SENTINEL in [problem.kind for problem in forgetful.problems]
    endless = form.parse_target(write([*good[:-1], *range(10, 30)])[0])
    assert Malformation.NO_END in [problem.kind for problem in endless.problems]


def test_rows_change_nothing_for_each_other() -> None:
    model, params = tiny_t5("v1.1")
    params = eager_to_end(params, 2.0)
    batch = random_batch(3, [4, 3, 2, 1, 4, 4])
    together = np.asarray(make_free(model, 12)(params, batch))
    pair = batch._replace(
        encoder_tokens=batch.encoder_tokens[2:4],
        encoder_mask=batch.encoder_mask[2:4],
        num_words=batch.num_words[2:4],
    )
    np.testing.assert_array_equal(make_free(model, 12)(params, pair), together[2:4])


def test_one_compile_per_bucket_and_end_of_sequence() -> None:
    """The settings say which id ends a sequence."""
    model, params = tiny_t5("v1.1", d_ff=8)  # a model that no other test has compiled
    trie = LabelTrie.compile(LABEL_SETS[0])
    first = None
    for end in (END, 7):
        write = make_decoder(model, trie, DecoderSettings("free", eos_id=end))
        for seed in range(3):
            decoded = write(eager_to_end(params, 0.0), random_batch(seed, [seed + 1, WORDS]))
        assert write._cache_size() == 1
        tokens = np.asarray(decoded.tokens)
        if first is None:
            first = tokens
            continue
        for row, before in zip(tokens, first, strict=True):
            kept = np.cumsum(before == end) - (before == end) == 0
            np.testing.assert_array_equal(row, np.where(kept, before, 0))


def test_sharded_equals_unsharded() -> None:
    if jax.device_count() < 8:
        pytest.skip("needs 8 devices (tests/conftest.py asks for 8 virtual ones)")
    model, params = tiny_t5("v1.1")
    batch = random_batch(2, [4, 3, 2, 1, 0, 4, 4, 1])
    automatic = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((8,), ("data",), axis_types=automatic)
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    sharded = batch._replace(
        encoder_tokens=jax.device_put(batch.encoder_tokens, split),
        encoder_mask=jax.device_put(batch.encoder_mask, split),
        num_words=jax.device_put(batch.num_words, split),
    )
    write = make_free(model, 10)
    np.testing.assert_array_equal(write(params, sharded), write(params, batch))


def test_bad_input() -> None:
    model, params = tiny_t5("v1.1")
    with pytest.raises(UserError, match="length of 0"):
        free(model, params, random_batch(0, [1]), max_length=0)
    with pytest.raises(UserError, match=f"end of sequence {VOCAB} lies outside"):
        free(model, params, random_batch(0, [1]), max_length=2, eos_id=VOCAB)
