"""Greedy decoding, token by token, constrained to SenT′ (the paper's SenT′ column; no posteriors).

Where a row of the batch can go on in several ways, the one with the highest logit is taken: an
arg max needs no softmax, and only the output rows of the label trie's tokens and of the sentinels.
Where it can go on in one way only, the model is not asked: after a decision the chosen token and
all that must follow it go through the decoder in one block, so that the next decision is asked of
the block's last token. Rows do not wait for each other: each has a word and a block of its own, and
where many rows are to share a pass, their tokens run side by side without padding (see `packing`).

A row's tokens lie in its cache without gaps, so that a slot's number is its token's position; what
is written beyond a row's own tokens is overwritten by the next pass.

Shape suffixes: B batch, W tokens of a row's block, P cached slots, R output rows, D model width.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distill_jax.errors import UserError
from distill_jax.models.incremental import BoundT5, Prefix, empty_cache, grow_cache, write_rows
from distill_jax.models.t5 import T5
from distill_jax.models.t5_stacks import Cache
from distill_jax.sentscore.automaton import Automaton, Place, Walk
from distill_jax.sentscore.layout import SentScoreBatch
from distill_jax.sentscore.packing import decode_packed, pack_rows
from distill_jax.sentscore.trie import OUTSIDE, LabelTrie

_UNPACKED_ROWS = 4
"""With so few rows a pass costs the reading of the weights, however many tokens it takes."""

_GROUP = 8
"""The most rows whose tokens are packed together. Where the batch is sharded and a device holds a
multiple of this, the loop exchanges nothing between devices but whether it is done."""

_PACKED_WIDTH = 8
"""The widest block of a row that is packed: attention is not, and costs what the block is wide."""


class _Block(NamedTuple):
    """Tokens that are to go through the decoder."""

    tokens: Int[Array, "batch places"]
    own: Int[Array, " batch"]
    """How many of them are the row's; 0 where all of its words are tagged."""


class _State(NamedTuple):
    """What the loop carries from pass to pass."""

    place: Place
    """Behind the block's own tokens."""
    block: _Block
    length: Int[Array, " batch"]
    """Slots in use, from the first on."""
    cache: Cache


def greedy(
    model: T5,
    params: Any,
    batch: SentScoreBatch,
    trie: LabelTrie,
    *,
    width: int | None = None,
    share: float | None = None,
) -> Int[Array, "batch words"]:
    """Tags `[batch, words]`, int32, 0 beyond a sentence's words; never an illegal sequence.

    Pure: `params` (the collection of that name) and `batch` are arguments, everything else is
    static, and the function may be jitted under any mesh. Ties go to the closing sentinel, then to
    the child that comes first in the trie. The loop ends when the last tag is certain.

    `width` is the number of tokens that a pass takes at most from each row, `share` how many it has
    room for per row, on average over the rows of a group (defaults: see `default_sizes`). Both
    change speed and memory, but not the tags. The cache holds L (1 + D) + width slots at most, where
    D is the number of tokens of the longest tag.

    Raises:
        UserError: `width` is below 1, or `share` is not above 0.
    """
    automaton = Automaton.build(trie)
    rows, words = batch.encoder_tokens.shape[0], batch.max_words
    widest, roomy = default_sizes(automaton, rows)
    width = widest if width is None else width
    share = roomy if share is None else share
    if width < 1 or share <= 0:
        raise UserError(
            f"a width of {width} and a share of {share} take no token; use a width of at least 1 "
            "and a share above 0"
        )
    group = next(size for size in range(min(rows, _GROUP), 0, -1) if rows % size == 0)
    capacity = math.ceil(group * share)
    decoder = BoundT5(model, params)
    walk = Walk(automaton, batch)
    chooser = _Chooser(decoder, walk, batch)
    encoded = decoder.encode(batch.encoder_tokens, batch.encoder_mask)
    offsets = jnp.arange(width)

    def step(state: _State) -> _State:
        place, block, length, cache = state
        packing = pack_rows(block.own, place.word, width=width, group=group, capacity=capacity)
        slots = jnp.arange(cache[0].key.shape[2])
        hidden_BxWxD, new = model.apply(
            {"params": decoder.params},
            block.tokens,
            length[:, None] + offsets,
            packing,
            Prefix(cache, slots[None], slots < length[:, None]),
            encoded,
            method=decode_packed,
        )
        taken = packing.taken
        way = chooser.best(place, _at(hidden_BxWxD, taken - 1))
        # Rows that have more tokens to run go on with those, the others decide.
        decides = walk.unfinished(place) & (taken == block.own)
        token, place = walk.go(place, way, decides)
        place, following = _chain(walk, place, token, decides, width)
        rest = _at(block.tokens, jnp.minimum(taken[:, None] + offsets, width - 1))
        following = _Block(
            jnp.where(decides[:, None], following.tokens, rest),
            jnp.where(decides, following.own, block.own - taken),
        )
        # The minimum is 0. Without it nothing says that the slots are written after they have been
        # read, and XLA copies the whole cache, twice a pass.
        written = write_rows(cache, length + jnp.minimum(way, 0), new)
        return _State(place, following, length + taken, written)

    start = jnp.full(rows, model.config.decoder_start_id, jnp.int32)
    place = walk.begin()
    place, block = _chain(walk, place, start, walk.unfinished(place), width)
    state = _State(place, block, jnp.zeros(rows, jnp.int32), empty_cache(encoded, 0))
    for slots in cache_sizes(automaton, words, width):

        def goes_on(state: _State, slots: int = slots) -> jax.Array:
            fits = jnp.max(state.length) + width <= slots
            return fits & jnp.any(state.block.own > 0)

        state = state._replace(cache=grow_cache(state.cache, slots))
        state = jax.lax.while_loop(goes_on, step, state)
    return state.place.tags


def default_sizes(automaton: Automaton, rows: int) -> tuple[int, float]:
    """Width and share.

    Few rows take their widest blocks. With many, room is for as many tokens as a decision brings on
    average. The limits were measured with a T5 v1.1 "small" in float32 on CPU cores.
    """
    longest = max(max(chains) for chains in automaton.chains)
    if rows <= _UNPACKED_ROWS:
        return longest, longest
    tokens, decisions = _per_word(automaton)
    return min(longest, _PACKED_WIDTH), tokens / decisions


def cache_sizes(automaton: Automaton, words: int, width: int) -> list[int]:
    """The slots that the loop begins with, and those it goes on with where they do not suffice.

    Attention costs as much as there are slots, so where the longest tag is much longer than most,
    what all words need if they get that tag is not taken from the start.
    """
    most = words * max(sum(chains) for chains in automaton.chains) + width
    enough = math.ceil(1.5 * words * _per_word(automaton)[0]) + width
    return [enough, most] if 2 * enough <= most else [most]


def _per_word(automaton: Automaton) -> tuple[float, float]:
    """Tokens and decisions, where three words in four are O and the rest any other tag."""
    tokens = [sum(chains) for chains in automaton.chains]
    decisions = [len(chains) for chains in automaton.chains]

    def mean(per_tag: list[int]) -> float:
        return float(0.75 * per_tag[OUTSIDE] + 0.25 * np.delete(per_tag, OUTSIDE).mean())

    return mean(tokens), mean(decisions)


class _Chooser:
    """Picks the way on with the highest logit."""

    def __init__(self, decoder: BoundT5, walk: Walk, batch: SentScoreBatch) -> None:
        self._walk = walk
        automaton = walk.automaton
        tokens, column = np.unique(automaton.token[automaton.children], return_inverse=True)
        self._column_of_child = jnp.asarray(column.astype(np.int32))
        self._first_sentinel = len(tokens)
        self._rows_RxD = decoder.apply(
            "output_rows", jnp.concatenate([jnp.asarray(tokens), jnp.asarray(batch.sentinel_ids)])
        )

    def best(self, place: Place, hidden_BxD: Float[Array, "batch embed"]) -> Int[Array, " batch"]:
        """The way on from each place, given the decoder's output there."""
        logits_BxR = jnp.einsum(
            "bd,rd->br", hidden_BxD, self._rows_RxD, preferred_element_type=jnp.float32
        )
        ways = self._walk.ways(place)
        columns = jnp.concatenate(
            [
                self._first_sentinel + self._walk.closing(place)[:, None],
                self._column_of_child[ways.child],
            ],
            axis=1,
        )
        logits = jnp.take_along_axis(logits_BxR, columns, axis=1)
        # Even a logit of minus infinity beats what is not allowed.
        logits = jnp.maximum(logits, jnp.finfo(jnp.float32).min)
        best = jnp.argmax(jnp.where(ways.allowed, logits, -jnp.inf), axis=1)
        return jnp.take_along_axis(ways.way, best[:, None], axis=1)[:, 0]


def _chain(
    walk: Walk, place: Place, token: Int[Array, " batch"], moves: Bool[Array, " batch"], width: int
) -> tuple[Place, _Block]:
    """A token that leads to `place`, with all that must follow it, as far as the width goes.

    Rows that do not move stay where they are.
    """

    def go_on(
        carry: tuple[Place, jax.Array], _: None
    ) -> tuple[tuple[Place, jax.Array], tuple[jax.Array, jax.Array]]:
        place, goes_on = carry
        only = walk.only(place)
        goes_on &= walk.unfinished(place) & (only >= 0)
        token, place = walk.go(place, jnp.maximum(only, 0), goes_on)
        return (place, goes_on), (token, goes_on)

    (place, _), (tokens, forced) = jax.lax.scan(go_on, (place, moves), None, width - 1)
    tokens = jnp.concatenate([token[None], tokens]).T
    own = jnp.where(walk.unfinished(place), moves + forced.sum(0, dtype=jnp.int32), 0)
    return place, _Block(tokens, own)


def _at(values_BxWx: jax.Array, index: Int[Array, "batch *chosen"]) -> jax.Array:
    """Each row's values at the given places, the first where an index is negative."""
    return jax.vmap(lambda values, index: values[index])(values_BxWx, jnp.maximum(index, 0))
