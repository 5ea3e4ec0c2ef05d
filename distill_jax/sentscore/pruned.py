"""SenTScore where it matters: the tags of `word_beam` with beam 1, without most of the trie.

Best-first search in the trie of every word (`frontier` holds the bounds and says when a word is
settled). Each pass runs a block of `width` nodes of each row through the decoder. RowInputs do not wait
for each other: each has a window of words of its own, which moves on as words are settled. A word
may be begun as soon as the tag before it is guessed; what was done for a wrong guess is dropped.

The keys and values of all blocks lie one behind the other in the cache, at the same place in every
row, and each slot says which word's node it holds: what a node attends to follows from that. A slot
that is of no more use is dead; when the cache is full, the live ones are moved together.

RowInputs differ in the passes they need. Once few are left of a large batch, these are taken out and
finished in wider blocks. A word that is not settled after `scratch` nodes is scored in full, as
`word_beam` scores all of them: no word costs much more than it does there.

Shape suffixes: B batch, L words, W words of the window, N nodes with the root, T tags, C nodes of a
block, P cached slots, D tokens of the longest tag.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distill_jax.errors import UserError
from distill_jax.models.t5 import T5
from distill_jax.sentscore.forward import DEFAULT_MAX_NODES, Decoder
from distill_jax.sentscore.frontier import Frontier
from distill_jax.sentscore.layout import SentScoreBatch
from distill_jax.sentscore.likelihood import DEFAULT_MAX_LOGITS, Normaliser
from distill_jax.sentscore.pruned_passes import DEFAULT_SCRATCH, PART, Passes
from distill_jax.sentscore.pruned_state import RowInputs, Search, State
from distill_jax.sentscore.trie import LabelTrie

_LARGE_BATCH = 16


def pruned(
    model: T5,
    params: Any,
    batch: SentScoreBatch,
    trie: LabelTrie,
    *,
    normaliser: Normaliser = "vocab",
    epsilon: float = 1e-4,
    max_nodes: int = DEFAULT_MAX_NODES,
    max_logits: int = DEFAULT_MAX_LOGITS,
    width: int | None = None,
) -> tuple[
    Int[Array, "batch words"], Float[Array, "batch words tags"], Float[Array, "batch words"]
]:
    """Tags, log-likelihoods of the tags explored, and a bound on the posterior mass of the others.

    The tags are those of `sentscore` with beam 1. So are the log-likelihoods, but -inf for tags
    that were not explored, which together have a posterior of at most `unexplored` <= `epsilon`;
    no posterior is off by more. Which tags are explored may depend on the other rows of the batch.
    See `search` for the rest.
    """
    result = search(
        model,
        params,
        batch,
        trie,
        normaliser=normaliser,
        epsilon=epsilon,
        max_nodes=max_nodes,
        max_logits=max_logits,
        width=width,
    )
    return result.tags, result.log_likelihoods, result.unexplored


def search(
    model: T5,
    params: Any,
    batch: SentScoreBatch,
    trie: LabelTrie,
    *,
    normaliser: Normaliser,
    epsilon: float,
    max_logits: int = DEFAULT_MAX_LOGITS,
    max_nodes: int = DEFAULT_MAX_NODES,
    width: int | None = None,
    scratch: int = DEFAULT_SCRATCH,
) -> Search:
    """`pruned`, with counts of what it took.

    Pure: `params` (the collection of that name) and `batch` are arguments, everything else is
    static, and the function may be jitted under any mesh. `width` (default: `default_width`) and
    `scratch` change speed and memory. `max_nodes` and `max_logits` bound memory: see
    `LabelTrie.blocks` and `likelihood.node_scores`.

    Raises:
        UserError: `width` or `scratch` is too small.
    """
    rows, words = batch.encoder_tokens.shape[0], batch.max_words
    if width is None:
        width = default_width(rows)
    if width < 2 or scratch < 1:
        raise UserError(f"width {width}, scratch {scratch}: use a width of at least 2 and scratch")
    part = max(1, rows // PART) if rows >= _LARGE_BATCH else rows
    later_width = width * PART if part < rows else width
    passes = Passes(
        Decoder(model, params),
        Frontier(trie, normaliser, epsilon),
        batch,
        normaliser=normaliser,
        max_logits=max_logits,
        max_nodes=max_nodes,
        widest=later_width,
        scratch=scratch,
    )
    inputs = RowInputs(
        passes.decoder.encode(batch), jnp.minimum(jnp.asarray(batch.num_words), words)
    )
    state = passes.begin(rows, inputs.encoded)
    if part == rows:
        return passes.finish(inputs, state, width).result

    def take_out(state: State) -> State:
        chosen = jnp.argsort(state.word >= inputs.num_words, stable=True)[:part]
        taken_inputs, taken = jax.tree.map(lambda x: x[chosen] if x.ndim else x, (inputs, state))
        taken = passes.finish(taken_inputs, taken, later_width)
        result = jax.tree.map(lambda old, new: old.at[chosen].set(new), state.result, taken.result)
        return state._replace(word=state.word.at[chosen].set(taken.word), result=result)

    state = passes.reduce(inputs, state, width, left=part)
    return jax.lax.while_loop(
        lambda state: (state.word < inputs.num_words).any(), take_out, state
    ).result


def default_width(rows: int) -> int:
    """Nodes of a row in one pass.

    Few rows: a pass costs what reading the weights costs, so it should take in much. Many: what
    its nodes cost, and a wide block holds more guesses that turn out wrong.
    """
    return min(16, max(6, 192 // rows))
