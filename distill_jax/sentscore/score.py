"""Teacher-forced SenTScore: the score vectors of all words, given the tags before each.

What `decode.sentscore` finds word by word, for tags that are known: the prefix runs once, then all
words' tries attend to it side by side. Differentiable, so a student T5 can be trained towards a
teacher's posteriors with it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distill_jax.models.incremental import BoundT5, Prefix
from distill_jax.models.partitioning import platform
from distill_jax.models.t5 import T5
from distill_jax.sentscore.forward import NO_BOUNDS_GIVEN, Bounds, Root, score_trie
from distill_jax.sentscore.layout import SentScoreBatch, prefix_slots, root_slots
from distill_jax.sentscore.likelihood import (
    NodeScores,
    Normaliser,
    check_model,
    check_normaliser,
    tag_log_likelihoods,
)
from distill_jax.sentscore.trie import OUTSIDE, LabelTrie

CPU_TOKENS = 1024
"""Activations of more decoder tokens than these fall out of a CPU's caches: half the speed."""


def score(
    model: T5,
    params: Any,
    batch: SentScoreBatch,
    tags: Int[Array, "batch words"],
    trie: LabelTrie,
    *,
    normaliser: Normaliser = "vocab",
    dropout_key: jax.Array | None = None,
    bounds: Bounds = NO_BOUNDS_GIVEN,
) -> Float[Array, "batch words tags"]:
    """u_i(t), float32, of every tag at every word, the words before it tagged as `tags` says.

    `tags` are indices in the sBIO order; those beyond a sentence's words are ignored, and u is 0
    there. As in `decode.sentscore` u is -inf for I at the start and after O: a loss over tags must
    not multiply it by a probability (0 * inf). With a `dropout_key`
    dropout is on; outside of attention weights a sentence's prefix and all of its tries
    share one mask per layer, as all tokens of a sequence do in T5.
    """
    check_normaliser(normaliser)
    check_model(model, trie)
    rngs = None if dropout_key is None else {"dropout": dropout_key}
    decoder = BoundT5(model, params, deterministic=dropout_key is None, rngs=rngs)
    blocks = trie.blocks(bounds.max_nodes)
    words = tags.shape[1]
    sentinel_ids = jnp.asarray(batch.sentinel_ids)
    in_sentence = jnp.arange(words) < jnp.asarray(batch.num_words)[:, None]
    tags = jnp.where(in_sentence, tags, OUTSIDE)
    encoded = decoder.encode(batch.encoder_tokens, batch.encoder_mask)

    slots = prefix_slots(trie, tags, sentinel_ids, model.config.decoder_start_id)
    order = jnp.arange(slots.tokens.shape[1])
    _, cache = decoder.block(
        slots.tokens,
        slots.positions,
        (order[:, None] >= order) & slots.used[:, None, :],
        encoded,
    )

    def score_word(word: tuple[jax.Array, jax.Array, jax.Array]) -> NodeScores:
        """One word's trie, whose root takes the place of the sentinel in the prefix."""
        root_slot, sentinel, closing = word
        scores, _ = score_trie(
            decoder,
            trie,
            blocks,
            Root(sentinel, slots.positions[:, root_slot], closing),
            encoded,
            Prefix(cache, slots.positions, slots.used & (order < root_slot)),
            normaliser=normaliser,
            max_logits=max(1, bounds.max_logits // group),
        )
        return scores

    max_tokens = bounds.max_tokens
    if max_tokens is None and platform() == "cpu":
        max_tokens = CPU_TOKENS
    group = words
    if max_tokens is not None:
        group = min(words, max(1, max_tokens // (tags.shape[0] * blocks.nodes.shape[1])))
    scores_LxBxN = jax.lax.map(
        score_word,
        (jnp.asarray(root_slots(trie, words)), sentinel_ids[:-1], sentinel_ids[1:]),
        batch_size=group,
    )
    scores_BxLxN = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), scores_LxBxN)
    previous_tags = jnp.pad(tags[:, :-1], ((0, 0), (1, 0)), constant_values=OUTSIDE)
    u_BxLxT = tag_log_likelihoods(trie, scores_BxLxN, previous_tags != OUTSIDE)
    return jnp.where(in_sentence[:, :, None], u_BxLxT, 0.0)
