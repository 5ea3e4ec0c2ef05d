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

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from distill_jax.errors import UserError
from distill_jax.models.incremental import BoundT5
from distill_jax.models.t5 import T5
from distill_jax.sentscore.forward import NO_BOUNDS_GIVEN, Bounds
from distill_jax.sentscore.frontier import Frontier
from distill_jax.sentscore.layout import SentScoreBatch
from distill_jax.sentscore.likelihood import Normaliser
from distill_jax.sentscore.pruned_passes import DEFAULT_SCRATCH, PART, Passes
from distill_jax.sentscore.pruned_state import RowInputs, Search, State
from distill_jax.sentscore.trie import LabelTrie

_LARGE_BATCH = 16


class Speed(NamedTuple):
    """What changes speed and memory alone: nodes of a pass (None: `default_width`), and slots for them."""

    width: int | None = None
    scratch: int = DEFAULT_SCRATCH


def pruned(
    model: T5,
    params: Any,
    batch: SentScoreBatch,
    trie: LabelTrie,
    *,
    normaliser: Normaliser = "vocab",
    epsilon: float = 1e-4,
    bounds: Bounds = NO_BOUNDS_GIVEN,
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
        bounds=bounds,
        speed=Speed(width),
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
    bounds: Bounds = NO_BOUNDS_GIVEN,
    speed: Speed | None = None,
) -> Search:
    """`pruned`, with counts of what it took.

    Pure: `params` (the collection of that name) and `batch` are arguments, everything else is
    static, and the function may be jitted under any mesh.

    Raises:
        UserError: `width` or `scratch` is too small.
    """
    rows, words = batch.encoder_tokens.shape[0], batch.max_words
    width, scratch = speed or Speed()
    if width is None:
        width = default_width(rows)
    if width < 2 or scratch < 1:
        raise UserError(f"width {width}, scratch {scratch}: use a width of at least 2 and scratch")
    part = max(1, rows // PART) if rows >= _LARGE_BATCH else rows
    later_width = width * PART if part < rows else width
    passes = Passes(
        BoundT5(model, params),
        Frontier(trie, normaliser, epsilon),
        batch,
        normaliser=normaliser,
        max_logits=bounds.max_logits,
        max_nodes=bounds.max_nodes,
        widest=later_width,
        scratch=scratch,
    )
    inputs = RowInputs(
        passes.decoder.encode(batch.encoder_tokens, batch.encoder_mask),
        jnp.minimum(jnp.asarray(batch.num_words), words),
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
