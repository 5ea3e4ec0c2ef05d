"""SenTScore (Farina et al. 2023, arXiv 2302.05454): word-synchronous beam search, greedy with K = 1.

Each word costs one decoder pass: the sentinel before the word and all nodes of the label trie go
through the decoder as one block, every node attending to the cached prefix and to its own
ancestors. Of the K · |T̄| continuations the K best are kept, and of the block's keys and values only
those of the sentinel and of the chosen tags' tokens are written to the cache. Deviations from the
paper: the parent of beam entry Π[k] is Π[k] // |T̄|, as hypotheses are enumerated beam by beam (the
paper prints Π[k] mod K); the `trie` normaliser is ours (see `likelihood`).

Shape suffixes: B batch, K beam, R = B · K rows of the decoder, L words, T tags, D tokens of the
longest tag.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distill_jax.models.incremental import BoundT5, Prefix, take_slots, write_slots
from distill_jax.models.t5 import T5
from distill_jax.sentscore.forward import DEFAULT_MAX_NODES, Root, path_positions, score_trie
from distill_jax.sentscore.layout import SentScoreBatch
from distill_jax.sentscore.likelihood import DEFAULT_MAX_LOGITS, Normaliser, tag_log_likelihoods
from distill_jax.sentscore.trie import OUTSIDE, LabelTrie


class Beams(NamedTuple):
    """The best sequences of tags with their score vectors, best first; 0 beyond a sentence's words."""

    tags: Int[Array, "batch beam words"]
    """int32: indices in the sBIO order; never an illegal sequence."""
    log_likelihoods: Float[Array, "batch beam words tags"]
    """float32: u_i(t) given the sequence's own tags before word i, natural logarithm; -inf for I at
    the start and after O."""
    scores: Float[Array, "batch beam"]
    """float32: the sum of u_i(t_i); -inf where there are fewer legal sequences than the beam holds."""


class _State(NamedTuple):
    """What the loop carries from word to word."""

    word: jax.Array
    """The word about to be tagged, from 0."""
    prefix: Prefix
    root_position: Int[Array, " rows"]
    previous_tag: Int[Array, "batch beam"]
    beams: Beams


def sentscore(
    model: T5,
    params: Any,
    batch: SentScoreBatch,
    trie: LabelTrie,
    *,
    beam: int = 1,
    normaliser: Normaliser = "vocab",
    max_nodes: int = DEFAULT_MAX_NODES,
    max_logits: int = DEFAULT_MAX_LOGITS,
) -> Beams:
    """Tags a batch and returns every word's log-likelihood of every tag, for the `beam` best sequences.

    Pure: `params` (the collection of that name) is an argument, and the function may be jitted
    under any mesh; everything but `params` and `batch` is static. Ties go to the better beam entry,
    then to the lowest tag. The loop ends with the longest sentence of the batch, so a batch of
    short ones costs less than the L words its shape allows. `max_nodes` and `max_logits` bound
    memory: see `LabelTrie.blocks` and `likelihood.node_scores`.
    """
    decoder = BoundT5(model, params)
    blocks = trie.blocks(max_nodes)
    rows, words, tags = batch.encoder_tokens.shape[0], batch.max_words, trie.num_tags
    encoded = decoder.encode(batch.encoder_tokens, batch.encoder_mask).repeat(beam)
    num_words = jnp.asarray(batch.num_words)
    sentinel_ids = jnp.asarray(batch.sentinel_ids)

    state = _State(
        word=jnp.zeros((), jnp.int32),
        prefix=decoder.start(encoded, slots=1 + words * (1 + trie.max_length)),
        root_position=jnp.ones((rows * beam,), jnp.int32),
        previous_tag=jnp.full((rows, beam), OUTSIDE, jnp.int32),  # the start forbids I, as O does
        beams=Beams(
            jnp.zeros((rows, beam, words), jnp.int32),
            jnp.zeros((rows, beam, words, tags), jnp.float32),
            # The same sequence K times is one sequence: only the first entry starts alive.
            jnp.where(jnp.arange(beam) == 0, 0.0, -jnp.inf) * jnp.ones((rows, 1)),
        ),
    )

    def unfinished(state: _State) -> jax.Array:
        return state.word < jnp.minimum(jnp.max(num_words), words)

    def step(state: _State) -> _State:
        scores, block = score_trie(
            decoder,
            trie,
            blocks,
            Root(sentinel_ids[state.word], state.root_position, sentinel_ids[state.word + 1]),
            encoded,
            state.prefix,
            normaliser=normaliser,
            max_logits=max_logits,
        )
        u_RxT = tag_log_likelihoods(trie, scores, state.previous_tag.reshape(-1) != OUTSIDE)
        u_BxKxT = u_RxT.reshape(rows, beam, tags)
        active = state.word < num_words
        totals, parent, tag = _best(state.beams.scores, u_BxKxT)
        if beam > 1:
            parent = jnp.where(active[:, None], parent, jnp.arange(beam))
            u_BxKxT = _take(u_BxKxT, parent)
            state, block = _reorder((state, block), parent)
        positions, used = path_positions(trie, tag.reshape(-1), state.root_position)
        if block is None:  # the trie came in several blocks: the chosen path is run again
            path = jnp.asarray(trie.path_with_root)[tag.reshape(-1)]
            tokens = jnp.where(path == 0, sentinel_ids[state.word], jnp.asarray(trie.token)[path])
            causal = jnp.tri(path.shape[1], dtype=bool)[None]
            _, chosen = decoder.block(tokens, positions, causal, encoded, state.prefix)
        else:
            chosen = take_slots(block, jnp.asarray(trie.path_with_root)[tag.reshape(-1)])
        tags_BxKxL, history_BxKxLxT, before_BxK = state.beams
        return _State(
            word=state.word + 1,
            prefix=write_slots(
                state.prefix, 1 + state.word * (1 + trie.max_length), chosen, positions, used
            ),
            root_position=state.root_position + used.sum(-1),
            previous_tag=tag,
            beams=Beams(
                tags_BxKxL.at[:, :, state.word].set(jnp.where(active[:, None], tag, 0)),
                history_BxKxLxT.at[:, :, state.word].set(
                    jnp.where(active[:, None, None], u_BxKxT, 0.0)
                ),
                jnp.where(active[:, None], totals, before_BxK),
            ),
        )

    return jax.lax.while_loop(unfinished, step, state).beams


def _best(
    scores_BxK: jax.Array, u_BxKxT: jax.Array
) -> tuple[Float[Array, "batch beam"], Int[Array, "batch beam"], Int[Array, "batch beam"]]:
    """The sums, parents and tags of the K best continuations."""
    rows, beam, tags = u_BxKxT.shape
    totals = (scores_BxK[:, :, None] + u_BxKxT).reshape(rows, beam * tags)
    if beam == 1:  # on the scores themselves: a sum would round differences away
        tag = jnp.argmax(u_BxKxT, axis=-1).astype(jnp.int32)
        return jnp.take_along_axis(totals, tag, axis=-1), jnp.zeros_like(tag), tag
    best, index = jax.lax.top_k(totals, beam)
    return best, index // tags, index % tags


def _take(array_BxKx: jax.Array, parent_BxK: jax.Array) -> jax.Array:
    return jax.vmap(lambda row, chosen: row[chosen])(array_BxKx, parent_BxK)


def _reorder(tree: Any, parent_BxK: jax.Array) -> Any:
    """The beam's entries replaced by their parents, in arrays of leading axes B, K or B · K alike."""
    rows, beam = parent_BxK.shape

    def reorder(array: jax.Array) -> jax.Array:
        if not array.ndim:
            return array
        return _take(array.reshape(rows, beam, *_inner(array, rows, beam)), parent_BxK).reshape(
            array.shape
        )

    return jax.tree.map(reorder, tree)


def _inner(array: jax.Array, rows: int, beam: int) -> tuple[int, ...]:
    return array.shape[2:] if array.shape[:2] == (rows, beam) else array.shape[1:]
