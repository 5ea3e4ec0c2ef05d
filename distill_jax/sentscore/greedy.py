"""Greedy decoding, token by token, constrained to SenT′ (the paper's SenT′ column; no posteriors).

Where a row of the batch can go on in several ways, the one with the highest logit is taken: an
arg max needs no softmax, and only the output rows of the label trie's tokens and of the sentinels.
Where it can go on in one way only, the model is not asked: after a decision the chosen token and
all that must follow it go through the decoder in one block, so that the next decision is asked of
the block's last token. Rows do not wait for each other, each has a word and a block of its own.

A row's tokens lie in its cache without gaps, so that a slot's number is its token's position; what
a block holds beyond a row's own tokens is overwritten by the next one.

Shape suffixes: B batch, L words, Q tokens of a block, P cached slots, R output rows, D model width,
C the most children that a node of the trie has.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from distill_jax.errors import UserError
from distill_jax.models.t5 import T5, Cache
from distill_jax.sentscore.automaton import Automaton, Place, Walk
from distill_jax.sentscore.forward import Decoder, Encoded, Prefix
from distill_jax.sentscore.layout import SentScoreBatch
from distill_jax.sentscore.trie import OUTSIDE, LabelTrie


class _Block(NamedTuple):
    """Tokens about to go through the decoder."""

    tokens: Int[Array, "batch queries"]
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
) -> Int[Array, "batch words"]:
    """Tags `[batch, words]`, int32, 0 beyond a sentence's words; never an illegal sequence.

    Pure: `params` (the collection of that name) and `batch` are arguments, everything else is
    static, and the function may be jitted under any mesh. Ties go to the closing sentinel, then to
    the child that comes first in the trie. The loop ends when the last tag is certain.

    `width` is the number of tokens that a pass takes at most from each row (default:
    `default_width`); it changes speed and memory, but not the tags. The cache holds
    L (1 + D) + width slots, where D is the number of tokens of the longest tag.

    Raises:
        UserError: `width` is below 1.
    """
    automaton = Automaton.build(trie)
    rows, words = batch.encoder_tokens.shape[0], batch.max_words
    if width is None:
        width = default_width(automaton, rows)
    if width < 1:
        raise UserError(f"a width of {width} takes no token; use at least 1")
    decoder = Decoder(model, params)
    walk = Walk(automaton, batch)
    chooser = _Chooser(decoder, walk, batch)
    encoded = decoder.encode(batch)

    def step(state: _State) -> _State:
        place, block, length, cache = state
        slots = jnp.arange(cache[0].key.shape[2])
        hidden_BxQxD, new = decoder.block(
            block.tokens,
            length[:, None] + jnp.arange(width),
            jnp.tri(width, dtype=bool)[None],
            encoded,
            Prefix(cache, slots[None], slots < length[:, None]),
        )
        way = chooser.best(place, _take_last(hidden_BxQxD, block.own))
        token, place = walk.go(place, way, walk.unfinished(place))
        place, following = _chain(walk, place, token, width)
        # The minimum is 0. Without it nothing says that the slots are written after they have been
        # read, and XLA copies the whole cache, twice a pass.
        written = write_rows(cache, length + jnp.minimum(way, 0), new)
        return _State(place, following, length + block.own, written)

    start = jnp.full(rows, model.config.decoder_start_id, jnp.int32)
    place, block = _chain(walk, walk.begin(), start, width)
    cache = empty_cache(encoded, words * (1 + trie.max_length) + width)
    state = _State(place, block, jnp.zeros(rows, jnp.int32), cache)
    return jax.lax.while_loop(lambda state: jnp.any(state.block.own > 0), step, state).place.tags


def default_width(automaton: Automaton, rows: int) -> int:
    """The width of least work, for texts of which half the words are O and the rest any other tag.

    A pass costs as much as its columns (one token of every row each) and, for reading the weights
    and the caches, as much as 2 + 32 / rows more. Measured with a T5 v1.1 "small" in float32 on two
    CPU cores; so few rows take the widest block and many a narrow one.
    """
    longest = max(max(chains) for chains in automaton.chains)

    def cost(width: int) -> float:
        passes = [sum(-(-chain // width) for chain in chains) for chains in automaton.chains]
        rest = np.delete(passes, OUTSIDE)
        return float(passes[OUTSIDE] + rest.mean()) * (2 + 32 / rows + width)

    return min(range(1, longest + 1), key=cost)


def empty_cache(encoded: Encoded, slots: int) -> Cache:
    """A cache of so many slots, zeros."""
    return jax.tree.map(
        lambda x: jnp.zeros((*x.shape[:2], slots, x.shape[3]), x.dtype), encoded.cross
    )


def write_rows(cache: Cache, slot: Int[Array, " batch"], new: Cache) -> Cache:
    """The cache with every row's new keys and values from its own slot on."""
    write = jax.vmap(lambda old, new, slot: jax.lax.dynamic_update_slice(old, new, (0, slot, 0)))
    return jax.tree.map(lambda old, new: write(old, new, slot), cache, new)


class _Chooser:
    """Picks the way on with the highest logit."""

    def __init__(self, decoder: Decoder, walk: Walk, batch: SentScoreBatch) -> None:
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
    walk: Walk, place: Place, token: Int[Array, " batch"], width: int
) -> tuple[Place, _Block]:
    """A token that leads to `place`, with all that must follow it, as far as the width goes."""
    moves = walk.unfinished(place)
    tokens, count = [token], moves.astype(jnp.int32)
    for _ in range(width - 1):
        only = walk.only(place)
        moves = moves & (only >= 0)
        token, place = walk.go(place, jnp.maximum(only, 0), moves)
        tokens.append(jnp.where(moves, token, 0))
        count += moves
        moves &= walk.unfinished(place)
    return place, _Block(jnp.stack(tokens, axis=1), jnp.where(walk.unfinished(place), count, 0))


def _take_last(hidden_BxQxD: jax.Array, count: Int[Array, " batch"]) -> Float[Array, "batch embed"]:
    last = jnp.maximum(count - 1, 0)[:, None, None]
    return jnp.take_along_axis(hidden_BxQxD, last, axis=1)[:, 0]
