"""Where a decoder sequence `start s_0 t_1 s_1 t_2 ...` lies in slots of static shape.

Slot 0 holds the start token. Word i (from 1) owns the 1 + D slots that follow those of word i - 1:
the sentinel s_{i-1} before it (the trie's root), then its tag's tokens. A tag shorter than D leaves
slots unused: they are masked, and `positions` tell where each token truly stands, so relative
biases are those of the sequence without gaps. Shape suffixes: B batch, L words, D tokens of the
longest tag, P slots.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer

from distill_jax.errors import UserError
from distill_jax.sentscore.trie import LabelTrie

AnyArray = Array | np.ndarray


class SentScoreBatch(NamedTuple):
    """Sentences to be tagged. L, the largest number of words, is `len(sentinel_ids) - 1`.

    A row with no words is padding: allowed, and its results are those of padded words.
    """

    encoder_tokens: Int[AnyArray, "batch source"]
    """int32: `s_0 w_1 s_1 ... w_L s_L </s>`, padded."""
    encoder_mask: Bool[AnyArray, "batch source"]
    """False at padding."""
    num_words: Int[AnyArray, " batch"]
    """int32: words of each sentence, at most L."""
    sentinel_ids: Int[AnyArray, " words_and_one"]
    """int32: the ids of s_0 ... s_L."""

    @property
    def max_words(self) -> int:
        """L."""
        return self.sentinel_ids.shape[0] - 1


def make_batch(
    encoder_tokens: Integer[np.ndarray, "batch source"],
    num_words: Integer[np.ndarray, " batch"],
    sentinel_ids: Integer[np.ndarray, " sentinels"],
    *,
    max_words: int,
    pad_id: int = 0,
) -> SentScoreBatch:
    """A batch from NumPy arrays; `sentinel_ids` may hold more than the `max_words` + 1 needed.

    Raises UserError where a sentence has more words than `max_words`, or there are too few
    sentinels for it.
    """
    encoder_tokens = np.asarray(encoder_tokens, np.int32)
    num_words = np.asarray(num_words, np.int32)
    if len(sentinel_ids) < max_words + 1:
        raise UserError(
            f"a sentence of {max_words} words needs {max_words + 1} sentinels, the vocabulary has "
            f"{len(sentinel_ids)}; split long sentences into windows"
        )
    if num_words.size and (num_words.max() > max_words or num_words.min() < 0):
        raise UserError(
            f"a sentence of {num_words.max()} words does not fit a batch of at most {max_words}; "
            "split it into windows or choose a larger bucket"
        )
    return SentScoreBatch(
        encoder_tokens=encoder_tokens,
        encoder_mask=encoder_tokens != pad_id,
        num_words=num_words,
        sentinel_ids=np.asarray(sentinel_ids[: max_words + 1], np.int32),
    )


class Slots(NamedTuple):
    """What lies in the slots, all `[batch, slots]`."""

    tokens: jax.Array
    positions: jax.Array
    used: jax.Array


def prefix_slots(
    trie: LabelTrie,
    tags: Int[Array, "batch words"],
    sentinel_ids: Int[Array, " words_and_one"],
    start_id: int,
) -> Slots:
    """The slots of `start s_0 t_1 ... t_{L-1} s_{L-1}`: all that the L words' tags attend to."""
    batch, words = tags.shape
    block = 1 + trie.max_length
    roots = jnp.broadcast_to(sentinel_ids[:words, None], (batch, words, 1))
    tokens = jnp.concatenate([roots, jnp.asarray(trie.token[trie.path])[tags]], axis=-1)
    length = jnp.asarray(trie.length)[tags]
    position_of_root = 1 + jnp.cumsum(1 + length, axis=1) - (1 + length)
    offsets = jnp.arange(block)
    positions = position_of_root[:, :, None] + offsets
    used = offsets <= length[:, :, None]

    def with_start(values_BxLxS: jax.Array, start: int) -> jax.Array:
        # The last word's tag comes after every sentinel that is attended to: left out.
        flat = values_BxLxS.reshape(batch, words * block)[:, : words * block - trie.max_length]
        return jnp.pad(flat, ((0, 0), (1, 0)), constant_values=start)

    return Slots(with_start(tokens, start_id), with_start(positions, 0), with_start(used, True))


def root_slots(trie: LabelTrie, words: int) -> np.ndarray:
    """int32 [L]: the slot of the sentinel before each word."""
    return 1 + np.arange(words, dtype=np.int32) * (1 + trie.max_length)
