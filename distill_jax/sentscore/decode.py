"""Greedy SenTScore (Farina et al. 2023, arXiv 2302.05454, K = 1) in one loop under `jit`.

Each word costs one decoder pass: the sentinel before the word and all nodes of the label trie go
through the decoder as one block, every node attending to the cached prefix and to its own
ancestors. The best legal tag is chosen, and of the block's keys and values only those of the
sentinel and of that tag's tokens are written to the cache. Deviations from the paper: none in
`vocab` mode; the `trie` normaliser is ours (see `likelihood`).

Shape suffixes: B batch, L words, N nodes without the root, K tags, D tokens of the longest tag,
P cached slots (laid out as `layout` says).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distill_jax.models.attention import KeyValue
from distill_jax.models.t5 import T5, Cache
from distill_jax.sentscore.layout import SentScoreBatch
from distill_jax.sentscore.likelihood import (
    DEFAULT_MAX_LOGITS,
    Normaliser,
    check_model,
    check_normaliser,
    tag_log_likelihoods,
)
from distill_jax.sentscore.trie import OUTSIDE, LabelTrie


class SentScoreResult(NamedTuple):
    """Tags and score vectors. Beyond a sentence's words tags are 0 and log-likelihoods 0."""

    tags: Int[Array, "batch words"]
    """int32: indices in the sBIO order; never an illegal sequence."""
    log_likelihoods: Float[Array, "batch words tags"]
    """float32: u_i(t), natural logarithm; -inf for I at the start and after O."""


class _State(NamedTuple):
    """What the loop carries from word to word."""

    word: jax.Array
    """The word about to be tagged, from 0."""
    cache: Cache
    slot_positions: jax.Array
    slot_used: jax.Array
    root_position: jax.Array
    previous_tag: jax.Array
    result: SentScoreResult


def sentscore(
    model: T5,
    params: Any,
    batch: SentScoreBatch,
    trie: LabelTrie,
    *,
    normaliser: Normaliser = "vocab",
    max_logits: int = DEFAULT_MAX_LOGITS,
) -> SentScoreResult:
    """Tags a batch greedily and returns every word's log-likelihood of every tag.

    Pure: `params` (the collection of that name) is an argument, and the function may be jitted
    under any mesh. `model`, `trie`, `normaliser` and `max_logits` are static. Ties go to the lowest
    tag. The loop ends with the longest sentence of the batch, so a batch of short ones costs less
    than the L words its shape allows. For `max_logits` see `tag_log_likelihoods`.
    """
    check_normaliser(normaliser)
    check_model(model, trie)
    params = jax.tree.map(jnp.asarray, params)  # as loaded from a file: NumPy

    def apply(method: str, *arguments: Any, **keywords: Any) -> Any:
        return model.apply({"params": params}, *arguments, method=method, **keywords)

    rows = batch.encoder_tokens.shape[0]
    words = batch.max_words
    node_tokens = jnp.broadcast_to(jnp.asarray(trie.token), (rows, trie.num_nodes + 1))
    cross_mask = jnp.asarray(batch.encoder_mask)[:, None, :]
    encoded = apply(
        "encode",
        jnp.asarray(batch.encoder_tokens),
        jnp.asarray(batch.encoder_mask).astype(jnp.int32),
    )
    cross = apply("cross_key_value", encoded)
    num_words = jnp.asarray(batch.num_words)
    sentinel_ids = jnp.asarray(batch.sentinel_ids)

    def start() -> _State:
        """Runs the start token, which no tag's likelihood depends on but every token attends to."""
        _, first = apply(
            "decode_block",
            jnp.full((rows, 1), model.config.decoder_start_id, jnp.int32),
            jnp.zeros((rows, 1), jnp.int32),
            jnp.ones((rows, 1, 1), bool),
            cross,
            cross_mask,
        )
        slots = 1 + words * (1 + trie.max_length)
        return _State(
            word=jnp.zeros((), jnp.int32),
            cache=jax.tree.map(
                lambda x: jnp.pad(x, ((0, 0), (0, slots - 1), (0, 0), (0, 0))), first
            ),
            slot_positions=jnp.zeros((rows, slots), jnp.int32),
            slot_used=jnp.zeros((rows, slots), bool).at[:, 0].set(True),
            root_position=jnp.ones((rows,), jnp.int32),
            previous_tag=jnp.full((rows,), OUTSIDE, jnp.int32),  # the start forbids I, as O does
            result=SentScoreResult(
                jnp.zeros((rows, words), jnp.int32),
                jnp.zeros((rows, words, trie.num_tags), jnp.float32),
            ),
        )

    def unfinished(state: _State) -> jax.Array:
        return state.word < jnp.minimum(jnp.max(num_words), words)

    def step(state: _State) -> _State:
        hidden, block = apply(
            "decode_block",
            node_tokens.at[:, 0].set(sentinel_ids[state.word]),
            state.root_position[:, None] + trie.depth,
            jnp.concatenate(
                [
                    jnp.broadcast_to(
                        state.slot_used[:, None, :],
                        (rows, trie.num_nodes + 1, state.slot_used.shape[1]),
                    ),
                    jnp.broadcast_to(trie.ancestors, (rows, *trie.ancestors.shape)),
                ],
                axis=-1,
            ),
            cross,
            cross_mask,
            prefix=state.cache,
            prefix_positions=state.slot_positions,
        )
        u_BxK = tag_log_likelihoods(
            model,
            params,
            trie,
            hidden[:, None],
            sentinel_ids[state.word + 1][None],
            (state.previous_tag != OUTSIDE)[:, None],
            normaliser=normaliser,
            max_logits=max_logits,
        )[:, 0]
        tag = jnp.argmax(u_BxK, axis=-1).astype(jnp.int32)
        active = state.word < num_words
        tags_BxL, u_BxLxK = state.result
        return _append(trie, state, block, tag)._replace(
            result=SentScoreResult(
                tags_BxL.at[:, state.word].set(jnp.where(active, tag, 0)),
                u_BxLxK.at[:, state.word].set(jnp.where(active[:, None], u_BxK, 0.0)),
            )
        )

    return jax.lax.while_loop(unfinished, step, start()).result


def _append(trie: LabelTrie, state: _State, block: Cache, tag: jax.Array) -> _State:
    """Writes the block's sentinel and the chosen tag's tokens to the word's slots."""
    path_BxS = jnp.asarray(trie.path_with_root)[tag]
    length_B = jnp.asarray(trie.length)[tag]
    offsets = jnp.arange(1 + trie.max_length)
    slot = 1 + state.word * (1 + trie.max_length)

    def write(cached: jax.Array, new: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(cached, new, slot, axis=1)

    def write_nodes(cached_BxPxHxE: jax.Array, nodes_BxNxHxE: jax.Array) -> jax.Array:
        return write(
            cached_BxPxHxE, jnp.take_along_axis(nodes_BxNxHxE, path_BxS[:, :, None, None], axis=1)
        )

    return state._replace(
        word=state.word + 1,
        cache=tuple(
            KeyValue(
                write_nodes(old.key, new.key),
                write_nodes(old.value, new.value),
            )
            for old, new in zip(state.cache, block, strict=True)
        ),
        slot_positions=write(state.slot_positions, state.root_position[:, None] + offsets),
        slot_used=write(state.slot_used, offsets <= length_B[:, None]),
        root_position=state.root_position + 1 + length_B,
        previous_tag=tag,
    )


@functools.lru_cache(maxsize=64)
def make_sentscore(
    model: T5,
    trie: LabelTrie,
    normaliser: Normaliser = "vocab",
    *,
    max_logits: int = DEFAULT_MAX_LOGITS,
) -> Callable[[Any, SentScoreBatch], SentScoreResult]:
    """`sentscore` jitted: a function of (params, batch) that compiles once per batch shape.

    Equal arguments give the same function, so its compiled programs are shared by all callers.
    """
    check_normaliser(normaliser)
    check_model(model, trie)

    @jax.jit
    def tag(params: Any, batch: SentScoreBatch) -> SentScoreResult:
        return sentscore(model, params, batch, trie, normaliser=normaliser, max_logits=max_logits)

    return tag
