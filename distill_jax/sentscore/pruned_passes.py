"""The loop of best-first search: choose a block, run it, settle words, keep the cache in order.

`pruned` says what it is for; shape suffixes are those of `pruned`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from distill_jax.models.incremental import BoundT5, Encoded, Prefix, empty_cache, take_slots
from distill_jax.models.t5_stacks import Cache
from distill_jax.sentscore.forward import Root, score_trie
from distill_jax.sentscore.frontier import Block, Frontier, Known, Verdict
from distill_jax.sentscore.layout import SentScoreBatch
from distill_jax.sentscore.likelihood import Normaliser, tag_log_likelihoods
from distill_jax.sentscore.pruned_block import BlockRunner
from distill_jax.sentscore.pruned_state import (
    BEGINNING,
    DEAD,
    RowInputs,
    Search,
    Slots,
    State,
    join,
)
from distill_jax.sentscore.trie import OUTSIDE

DEFAULT_SCRATCH = 64
"""Nodes of one word after which, if it is not settled, all of them are scored."""

PART = 4
"""The rows taken out of a large batch are this part of it."""

_WINDOW = 8  # words looked at together


class Passes:
    """The loop over passes, with all that stays the same in it."""

    def __init__(
        self,
        decoder: BoundT5,
        frontier: Frontier,
        batch: SentScoreBatch,
        *,
        normaliser: Normaliser,
        max_logits: int,
        max_nodes: int,
        widest: int,
        scratch: int,
    ) -> None:
        self.decoder = decoder
        self._frontier = frontier
        self._trie = trie = frontier.trie
        self._normaliser = normaliser
        self._max_logits = max_logits
        self._blocks = trie.blocks(max(max_nodes, trie.max_length + 1))
        self._words = batch.max_words
        self._widest = widest
        self._sentinel_ids = jnp.asarray(batch.sentinel_ids)
        self._window = min(batch.max_words, _WINDOW)
        # The path of a word scored in full is run afterwards: it must not count as too much.
        self._scratch = max(scratch, trie.max_length + 2)
        most = min(self._scratch, trie.num_nodes + 1) + widest
        self._held = max(most, min(DEFAULT_SCRATCH, self._window * (trie.num_nodes + 1)))
        self._slots = 1 + batch.max_words * (1 + trie.max_length) + self._held + widest
        self._runner = BlockRunner(
            decoder,
            frontier,
            batch,
            window=self._window,
            normaliser=normaliser,
            max_logits=max_logits,
        )

    def begin(self, rows: int, encoded: Encoded) -> State:
        """Nothing tagged, nothing cached."""
        words, tags = self._words, self._trie.num_tags
        int_BxP = jnp.zeros((rows, self._slots), jnp.int32)
        int_B = jnp.zeros(rows, jnp.int32)
        return State(
            word=int_B,
            previous_tag=jnp.full(rows, OUTSIDE, jnp.int32),  # the start forbids I, as O does
            root_position=jnp.ones(rows, jnp.int32),
            known=self._frontier.fresh(rows, self._window),
            cache=empty_cache(encoded, self._slots),
            slots=Slots(jnp.full_like(int_BxP, DEAD), int_BxP, int_BxP),
            fill=jnp.zeros((), jnp.int32),
            result=Search(
                jnp.zeros((rows, words), jnp.int32),
                jnp.zeros((rows, words, tags), jnp.float32),
                jnp.zeros((rows, words), jnp.float32),
                int_B,
                int_B,
            ),
        )

    def reduce(self, inputs: RowInputs, state: State, width: int, left: int) -> State:
        """Passes until at most `left` rows can go on without being scored in full."""

        def more(state: State) -> jax.Array:
            return (self._unfinished(inputs, state) & ~self._stalled(inputs, state)).sum() > left

        def go_on(state: State) -> State:
            state = jax.lax.while_loop(
                lambda state: more(state) & self._has_room(state, width),
                lambda state: self._step(inputs, state, width),
                state,
            )
            return self._make_room(inputs, state, width)

        return jax.lax.while_loop(more, go_on, state)

    def finish(self, inputs: RowInputs, state: State, width: int) -> State:
        """Passes until all rows are done."""

        def many_stalled(state: State) -> jax.Array:
            stalled = self._stalled(inputs, state).sum()
            return (stalled > 0) & (PART * stalled >= self._unfinished(inputs, state).sum())

        def more(state: State) -> jax.Array:
            return self._unfinished(inputs, state).any()

        def go_on(state: State) -> State:
            state = jax.lax.while_loop(
                lambda state: more(state) & ~many_stalled(state) & self._has_room(state, width),
                lambda state: self._step(inputs, state, width),
                state,
            )
            state = jax.lax.cond(
                many_stalled(state),
                lambda state: self._score_in_full(inputs, state),
                lambda state: state,
                state,
            )
            return self._make_room(inputs, state, width)

        return jax.lax.while_loop(more, go_on, state)

    def _unfinished(self, inputs: RowInputs, state: State) -> Bool[Array, " batch"]:
        return state.word < inputs.num_words

    def _stalled(self, inputs: RowInputs, state: State) -> Bool[Array, " batch"]:
        """RowInputs whose word has used up its nodes and waits to be scored in full."""
        nodes = (state.slots.word == state.word[:, None]).sum(-1)
        return self._unfinished(inputs, state) & (nodes >= self._scratch)

    def _has_room(self, state: State, width: int) -> jax.Array:
        return state.fill + width <= self._slots

    def _make_room(self, inputs: RowInputs, state: State, width: int) -> State:
        """Moves the live slots together, if there is no room for another block."""

        def move(state: State) -> State:
            live = (state.slots.word < DEAD) & self._unfinished(inputs, state)[:, None]
            order = jnp.argsort(~live, axis=1, stable=True)
            slots = state.slots._replace(word=jnp.where(live, state.slots.word, DEAD))
            return state._replace(
                cache=take_slots(state.cache, order),
                slots=jax.tree.map(lambda x: jnp.take_along_axis(x, order, axis=1), slots),
                fill=live.sum(-1).max(),
            )

        return jax.lax.cond(self._has_room(state, width), lambda state: state, move, state)

    def _step(self, inputs: RowInputs, state: State, width: int) -> State:
        """One pass: chooses a block, runs it, and settles what can be settled."""
        verdict = self._frontier.judge(state.known, state.previous_tag)
        words = state.word[:, None] + jnp.arange(self._window)
        active = (words < inputs.num_words[:, None]) & ~self._stalled(inputs, state)[:, None]
        run = (
            self._runner.on_path(state.slots, state.word, verdict)[:, None]
            & (state.slots.word[:, None] == words[..., None])
        ).sum(-1)
        begin = ~(state.slots.word == BEGINNING).any(-1)
        block = self._frontier.choose(state.known, verdict, run, active, begin, width)
        added = self._runner.describe(state, verdict, block)
        hidden, cache = self._runner.run(inputs, state, verdict, block, added)
        before = jnp.concatenate([state.previous_tag[:, None], verdict.guess[:, :-1]], axis=1)
        known = self._frontier.learn(
            state.known, block, self._runner.logits(hidden, added.word), before != OUTSIDE
        )
        return self._settle(state, verdict, known, active, block, added, cache)

    def _settle(
        self,
        state: State,
        verdict: Verdict,
        known: Known,
        active: Bool[Array, "batch window"],
        block: Block,
        added: Slots,
        cache: Cache,
    ) -> State:
        """Moves each row's window over the words that are settled, and drops what is of no use."""
        ahead = jnp.arange(self._window)
        words = state.word[:, None] + ahead
        keys = join(state.slots, added)
        after = self._frontier.judge(known, state.previous_tag)
        tag, trie = after.guess, self._trie

        # A word settles when later words have all of its tag to attend to, and in its turn. What
        # rests on a guess that has changed is void.
        cached = (
            (keys.word[:, None] == words[..., None])
            & (keys.node[:, None] == jnp.asarray(trie.terminal)[tag][..., None])
        ).any(-1)
        # Nothing to run is left where everything is known, and where numbers are not finite.
        exhausted = ~block.used.any(-1, keepdims=True) & (ahead == 0)
        settled = ((after.done & cached) | exhausted) & active
        void = jnp.cumsum(tag != verdict.guess, axis=1) > 0
        valid = ~jnp.pad(void[:, :-1], ((0, 0), (1, 0)))
        moves = jnp.cumprod(settled & valid, axis=1).astype(bool)
        moved = moves.sum(-1, keepdims=True)
        first = state.word[:, None] + moved

        offset = keys.word - state.word[:, None]
        live = jnp.where(
            keys.word < first,
            self._runner.on_path(keys, state.word, after),
            jnp.take_along_axis(valid, jnp.clip(offset, 0, self._window - 1), axis=1),
        )
        slot_word = jnp.where(live, keys.word, DEAD)
        held = ((slot_word >= first) & (slot_word < DEAD)).sum(-1, keepdims=True)
        crowded = held > self._held - self._widest
        slot_word = jnp.where(crowded & (slot_word > first), DEAD, slot_word)

        source = jnp.minimum(ahead + moved, self._window - 1)
        kept = (ahead + moved < self._window) & jnp.take_along_axis(valid, source, axis=1)
        kept &= ~crowded | (ahead == 0)
        slid = jax.tree.map(
            lambda x, fresh: jnp.where(
                kept[..., None], jnp.take_along_axis(x, source[..., None], axis=1), fresh
            ),
            known,
            self._frontier.fresh(*tag.shape),
        )

        def write(old: jax.Array, new: jax.Array, axis: int) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(old, new, state.fill, axis=axis)

        # Dead slots are zeroed because it makes what is written depend on all that has been read:
        # otherwise XLA may write first, and copies the whole cache, in every pass.
        old = state.slots.word.shape[1]
        useful = (slot_word[:, old:] < DEAD)[:, None, :, None]
        row, at = jnp.arange(len(tag))[:, None], jnp.where(moves, words, self._words)
        result = state.result
        last = jnp.take_along_axis(tag, jnp.maximum(moved - 1, 0), axis=1)[:, 0]
        return State(
            word=first[:, 0],
            previous_tag=jnp.where(moved[:, 0] > 0, last, state.previous_tag),
            root_position=state.root_position
            + jnp.where(moves, 1 + jnp.asarray(trie.length)[tag], 0).sum(-1),
            known=slid,
            cache=jax.tree.map(
                lambda x, new: write(x, jnp.where(useful, new, 0), 2), state.cache, cache
            ),
            slots=Slots(
                write(slot_word[:, :old], slot_word[:, old:], 1),
                write(state.slots.node, added.node, 1),
                write(state.slots.position, added.position, 1),
            ),
            fill=state.fill + added.word.shape[1],
            result=Search(
                result.tags.at[row, at].set(tag, mode="drop"),
                result.log_likelihoods.at[row, at].set(known.u, mode="drop"),
                result.unexplored.at[row, at].set(after.unexplored, mode="drop"),
                result.nodes + block.used.sum(-1),
                result.passes + active[:, 0],
            ),
        )

    def _score_in_full(self, inputs: RowInputs, state: State) -> State:
        """Scores all nodes of the stalled rows' first word; what is ahead of it is dropped."""

        def score(
            root: jax.Array,
            position: jax.Array,
            closing: jax.Array,
            encoded: Encoded,
            prefix: Prefix,
        ) -> Any:
            encoded, prefix = jax.tree.map(lambda x: x[None], (encoded, prefix))
            scores, _ = score_trie(
                self.decoder,
                self._trie,
                self._blocks,
                Root(root, position[None], closing),
                encoded,
                prefix,
                normaliser=self._normaliser,
                max_logits=max(1, self._max_logits // len(state.word)),
            )
            return jax.tree.map(lambda x: x[0], scores)

        # A row at a time, as every row is at another word.
        at = jnp.minimum(state.word, self._words - 1)
        used = state.slots.word < state.word[:, None]
        scores = jax.vmap(score)(
            self._sentinel_ids[at],
            state.root_position,
            self._sentinel_ids[at + 1],
            inputs.encoded,
            Prefix(state.cache, state.slots.position, used),
        )
        u = tag_log_likelihoods(self._trie, scores, state.previous_tag != OUTSIDE)
        stalled = self._stalled(inputs, state)[:, None, None]
        first = (jnp.arange(self._window) == 0)[:, None]
        fresh = self._frontier.fresh(len(u), self._window)
        known = Known(
            jnp.where(stalled, jnp.where(first, -jnp.inf, fresh.bound), state.known.bound),
            jnp.where(stalled, jnp.where(first, u[:, None], fresh.u), state.known.u),
        )
        # Only the best tag's path is kept, so that the row is not stalled any more.
        tag = jnp.argmax(u, axis=-1).astype(jnp.int32)[:, None]
        kept = used | (
            (state.slots.word == state.word[:, None])
            & self._frontier.on_path(state.slots.node, tag)
        )
        word = jnp.where(stalled[..., 0] & ~kept, DEAD, state.slots.word)
        count = jnp.where(stalled[:, 0, 0], self._trie.num_nodes + 1, 0)
        return state._replace(
            known=known,
            slots=state.slots._replace(word=word),
            result=state.result._replace(nodes=state.result.nodes + count),
        )
