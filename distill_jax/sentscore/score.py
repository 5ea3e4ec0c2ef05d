"""Teacher-forced SenTScore: the score vectors of all words, given the tags before each.

What `decode.sentscore` finds word by word, for tags that are known: the prefix runs once, then all
words' tries attend to it side by side. Differentiable, so a student T5 can be trained towards a
teacher's posteriors with it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distill_jax.models.t5 import T5
from distill_jax.sentscore.layout import SentScoreBatch, prefix_slots, root_slots
from distill_jax.sentscore.likelihood import (
    DEFAULT_MAX_LOGITS,
    Normaliser,
    check_model,
    check_normaliser,
    tag_log_likelihoods,
)
from distill_jax.sentscore.trie import OUTSIDE, LabelTrie


def score(
    model: T5,
    params: Any,
    batch: SentScoreBatch,
    tags: Int[Array, "batch words"],
    trie: LabelTrie,
    *,
    normaliser: Normaliser = "vocab",
    deterministic: bool = True,
    rngs: dict[str, jax.Array] | None = None,
    max_logits: int = DEFAULT_MAX_LOGITS,
) -> Float[Array, "batch words tags"]:
    """u_i(t), float32, of every tag at every word, the words before it tagged as `tags` says.

    `tags` are indices in the sBIO order; those beyond a sentence's words are ignored, and u is 0
    there. As in `decode.sentscore` u is -inf for I at the start and after O: a loss over tags must
    not multiply it by a probability (0 * inf). With dropout (`deterministic=False`) pass
    `rngs={"dropout": key}`; outside of attention weights a sentence's prefix and all of its tries
    share one mask per layer, as all tokens of a sequence do in T5.
    """
    check_normaliser(normaliser)
    check_model(model, trie)
    params = jax.tree.map(jnp.asarray, params)  # as loaded from a file: NumPy

    def apply(method: str, *arguments: Any, **keywords: Any) -> Any:
        return model.apply({"params": params}, *arguments, method=method, rngs=rngs, **keywords)

    rows, words = tags.shape
    sentinel_ids = jnp.asarray(batch.sentinel_ids)
    encoder_mask = jnp.asarray(batch.encoder_mask)
    in_sentence = jnp.arange(words) < jnp.asarray(batch.num_words)[:, None]
    tags = jnp.where(in_sentence, tags, OUTSIDE)
    encoded = apply(
        "encode",
        jnp.asarray(batch.encoder_tokens),
        encoder_mask.astype(jnp.int32),
        deterministic=deterministic,
    )
    cross = apply("cross_key_value", encoded)
    cross_mask = encoder_mask[:, None, :]

    slots = prefix_slots(trie, tags, sentinel_ids, model.config.decoder_start_id)
    order = jnp.arange(slots.tokens.shape[1])
    prefix_hidden, prefix = apply(
        "decode_block",
        slots.tokens,
        slots.positions,
        (order[:, None] >= order) & slots.used[:, None, :],
        cross,
        cross_mask,
        deterministic=deterministic,
    )

    def nodes_of_word(root_slot: jax.Array) -> jax.Array:
        """The hidden states `[B, N, D]` of one word's trie, the root left out."""
        before = slots.used & (order <= root_slot)
        hidden, _ = apply(
            "decode_block",
            jnp.broadcast_to(trie.token[1:], (rows, trie.num_nodes)),
            slots.positions[:, root_slot][:, None] + trie.depth[1:],
            jnp.concatenate(
                [
                    jnp.broadcast_to(before[:, None], (rows, trie.num_nodes, len(order))),
                    jnp.broadcast_to(trie.ancestors[1:, 1:], (rows, *(2 * [trie.num_nodes]))),
                ],
                axis=-1,
            ),
            cross,
            cross_mask,
            prefix=prefix,
            prefix_positions=slots.positions,
            deterministic=deterministic,
        )
        return hidden

    roots = root_slots(trie, words)
    node_hidden = jax.vmap(nodes_of_word, out_axes=1)(jnp.asarray(roots))
    previous_tags = jnp.pad(tags[:, :-1], ((0, 0), (1, 0)), constant_values=OUTSIDE)
    u_BxLxK = tag_log_likelihoods(
        model,
        params,
        trie,
        jnp.concatenate([prefix_hidden[:, roots, None], node_hidden], axis=2),
        sentinel_ids[1:],
        previous_tags != OUTSIDE,
        normaliser=normaliser,
        max_logits=max_logits,
    )
    return jnp.where(in_sentence[:, :, None], u_BxLxK, 0.0)
