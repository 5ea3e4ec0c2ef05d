"""SenTScore where it matters: the tags of `word_beam` with beam 1, without most of the trie.

Best-first search in the trie of every word (`frontier` holds the bounds and says when a word is
settled). Each pass runs a block of `width` nodes of each row through the decoder. Rows do not wait
for each other: each has a window of words of its own, which moves on as words are settled. A word
may be begun as soon as the tag before it is guessed; what was done for a wrong guess is dropped.

The keys and values of all blocks lie one behind the other in the cache, at the same place in every
row, and each slot says which word's node it holds: what a node attends to follows from that. A slot
that is of no more use is dead; when the cache is full, the live ones are moved together.

Rows differ in the passes they need. Once few are left of a large batch, these are taken out and
finished in wider blocks. A word that is not settled after `scratch` nodes is scored in full, as
`word_beam` scores all of them: no word costs much more than it does there.

Shape suffixes: B batch, L words, W words of the window, N nodes with the root, T tags, C nodes of a
block, P cached slots, D tokens of the longest tag.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distill_jax.errors import UserError
from distill_jax.models.t5 import T5
from distill_jax.models.t5_stacks import Cache
from distill_jax.sentscore.forward import (
    DEFAULT_MAX_NODES,
    Decoder,
    Encoded,
    Prefix,
    empty_cache,
    score_trie,
    take_slots,
)
from distill_jax.sentscore.frontier import Block, Frontier, Known, Logits, Verdict
from distill_jax.sentscore.layout import SentScoreBatch
from distill_jax.sentscore.likelihood import (
    DEFAULT_MAX_LOGITS,
    Normaliser,
    _logsumexp_vocabulary,
    tag_log_likelihoods,
)
from distill_jax.sentscore.trie import OUTSIDE, LabelTrie

DEFAULT_SCRATCH = 64
"""Nodes of one word after which, if it is not settled, all of them are scored."""

_DEAD = 2**30  # the word of a slot that is of no use
_BEGINNING = -1  # the word of the start token
_WINDOW = 8  # words looked at together
_LARGE_BATCH = 16
_PART = 4  # the rows taken out of a large batch are this part of it


class Search(NamedTuple):
    """What the search found, and what it took. Beyond a sentence's words all is 0."""

    tags: Int[Array, "batch words"]
    """int32: indices in the sBIO order."""
    log_likelihoods: Float[Array, "batch words tags"]
    """float32: u of the tags explored, -inf for others."""
    unexplored: Float[Array, "batch words"]
    """float32: M / (E + M)."""
    nodes: Int[Array, " batch"]
    """int32: nodes that went through the decoder."""
    passes: Int[Array, " batch"]
    """int32: passes until the row was done."""


class _Rows(NamedTuple):
    """What stays the same for each row."""

    encoded: Encoded
    num_words: Int[Array, " batch"]


class _Slots(NamedTuple):
    """What lies in the cache's slots, all int32 `[batch, slots]`."""

    word: jax.Array
    """Its word's number, `_BEGINNING` or `_DEAD`. Of words that are settled only the tag is left."""
    node: jax.Array
    position: jax.Array


class _State(NamedTuple):
    """What the loop carries from pass to pass."""

    word: Int[Array, " batch"]
    """The first of the window; the number of words settled."""
    previous_tag: Int[Array, " batch"]
    root_position: Int[Array, " batch"]
    """Where the sentinel before the window's first word stands."""
    known: Known
    cache: Cache
    slots: _Slots
    fill: Int[Array, ""]
    """Slots written, the same in every row."""
    found: Search


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
    found = search(
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
    return found.tags, found.log_likelihoods, found.unexplored


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
    part = max(1, rows // _PART) if rows >= _LARGE_BATCH else rows
    later_width = width * _PART if part < rows else width
    passes = _Passes(
        Decoder(model, params),
        Frontier(trie, normaliser, epsilon),
        batch,
        normaliser=normaliser,
        max_logits=max_logits,
        max_nodes=max_nodes,
        widest=later_width,
        scratch=scratch,
    )
    given = _Rows(passes.decoder.encode(batch), jnp.minimum(jnp.asarray(batch.num_words), words))
    state = passes.begin(rows, given.encoded)
    if part == rows:
        return passes.finish(given, state, width).found

    def take_out(state: _State) -> _State:
        chosen = jnp.argsort(state.word >= given.num_words, stable=True)[:part]
        taken_given, taken = jax.tree.map(lambda x: x[chosen] if x.ndim else x, (given, state))
        taken = passes.finish(taken_given, taken, later_width)
        found = jax.tree.map(lambda old, new: old.at[chosen].set(new), state.found, taken.found)
        return state._replace(word=state.word.at[chosen].set(taken.word), found=found)

    state = passes.reduce(given, state, width, left=part)
    return jax.lax.while_loop(
        lambda state: (state.word < given.num_words).any(), take_out, state
    ).found


def default_width(rows: int) -> int:
    """Nodes of a row in one pass.

    Few rows: a pass costs what reading the weights costs, so it should take in much. Many: what
    its nodes cost, and a wide block holds more guesses that turn out wrong.
    """
    return min(16, max(6, 192 // rows))


class _Passes:
    """The loop over passes, with all that stays the same in it."""

    def __init__(
        self,
        decoder: Decoder,
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
        self._rows_RxD = decoder.apply(
            "output_rows", jnp.concatenate([frontier.tables.tokens, self._sentinel_ids])
        )

    def begin(self, rows: int, encoded: Encoded) -> _State:
        """Nothing tagged, nothing cached."""
        words, tags = self._words, self._trie.num_tags
        int_BxP = jnp.zeros((rows, self._slots), jnp.int32)
        int_B = jnp.zeros(rows, jnp.int32)
        return _State(
            word=int_B,
            previous_tag=jnp.full(rows, OUTSIDE, jnp.int32),  # the start forbids I, as O does
            root_position=jnp.ones(rows, jnp.int32),
            known=self._frontier.fresh(rows, self._window),
            cache=empty_cache(encoded, self._slots),
            slots=_Slots(jnp.full_like(int_BxP, _DEAD), int_BxP, int_BxP),
            fill=jnp.zeros((), jnp.int32),
            found=Search(
                jnp.zeros((rows, words), jnp.int32),
                jnp.zeros((rows, words, tags), jnp.float32),
                jnp.zeros((rows, words), jnp.float32),
                int_B,
                int_B,
            ),
        )

    def reduce(self, given: _Rows, state: _State, width: int, left: int) -> _State:
        """Passes until at most `left` rows can go on without being scored in full."""

        def more(state: _State) -> jax.Array:
            return (self._unfinished(given, state) & ~self._stalled(given, state)).sum() > left

        def go_on(state: _State) -> _State:
            state = jax.lax.while_loop(
                lambda state: more(state) & self._has_room(state, width),
                lambda state: self._step(given, state, width),
                state,
            )
            return self._make_room(given, state, width)

        return jax.lax.while_loop(more, go_on, state)

    def finish(self, given: _Rows, state: _State, width: int) -> _State:
        """Passes until all rows are done."""

        def many_stalled(state: _State) -> jax.Array:
            stalled = self._stalled(given, state).sum()
            return (stalled > 0) & (_PART * stalled >= self._unfinished(given, state).sum())

        def more(state: _State) -> jax.Array:
            return self._unfinished(given, state).any()

        def go_on(state: _State) -> _State:
            state = jax.lax.while_loop(
                lambda state: more(state) & ~many_stalled(state) & self._has_room(state, width),
                lambda state: self._step(given, state, width),
                state,
            )
            state = jax.lax.cond(
                many_stalled(state),
                lambda state: self._score_in_full(given, state),
                lambda state: state,
                state,
            )
            return self._make_room(given, state, width)

        return jax.lax.while_loop(more, go_on, state)

    def _unfinished(self, given: _Rows, state: _State) -> Bool[Array, " batch"]:
        return state.word < given.num_words

    def _stalled(self, given: _Rows, state: _State) -> Bool[Array, " batch"]:
        """Rows whose word has used up its nodes and waits to be scored in full."""
        nodes = (state.slots.word == state.word[:, None]).sum(-1)
        return self._unfinished(given, state) & (nodes >= self._scratch)

    def _has_room(self, state: _State, width: int) -> jax.Array:
        return state.fill + width <= self._slots

    def _make_room(self, given: _Rows, state: _State, width: int) -> _State:
        """Moves the live slots together, if there is no room for another block."""

        def move(state: _State) -> _State:
            live = (state.slots.word < _DEAD) & self._unfinished(given, state)[:, None]
            order = jnp.argsort(~live, axis=1, stable=True)
            slots = state.slots._replace(word=jnp.where(live, state.slots.word, _DEAD))
            return state._replace(
                cache=take_slots(state.cache, order),
                slots=jax.tree.map(lambda x: jnp.take_along_axis(x, order, axis=1), slots),
                fill=live.sum(-1).max(),
            )

        return jax.lax.cond(self._has_room(state, width), lambda state: state, move, state)

    def _step(self, given: _Rows, state: _State, width: int) -> _State:
        """One pass: chooses a block, runs it, and settles what can be settled."""
        verdict = self._frontier.judge(state.known, state.previous_tag)
        words = state.word[:, None] + jnp.arange(self._window)
        active = (words < given.num_words[:, None]) & ~self._stalled(given, state)[:, None]
        run = (
            self._on_path(state.slots, state.word, verdict)[:, None]
            & (state.slots.word[:, None] == words[..., None])
        ).sum(-1)
        begin = ~(state.slots.word == _BEGINNING).any(-1)
        block = self._frontier.choose(state.known, verdict, run, active, begin, width)
        added = self._describe(state, verdict, block)
        hidden, cache = self._run(given, state, verdict, block, added)
        before = jnp.concatenate([state.previous_tag[:, None], verdict.guess[:, :-1]], axis=1)
        known = self._frontier.learn(
            state.known, block, self._logits(hidden, added.word), before != OUTSIDE
        )
        return self._settle(state, verdict, known, active, block, added, cache)

    def _on_path(
        self, slots: _Slots, base: Int[Array, " batch"], verdict: Verdict
    ) -> Bool[Array, "batch slots"]:
        """Whether later words attend to a slot: of settled words all that is left, else the guess's."""
        ahead = slots.word - base[:, None]
        guess = jnp.take_along_axis(verdict.guess, jnp.clip(ahead, 0, self._window - 1), axis=1)
        return (ahead < 0) | (self._frontier.on_path(slots.node, guess) & (ahead < self._window))

    def _describe(self, state: _State, verdict: Verdict, block: Block) -> _Slots:
        """The block's slots."""
        word = jnp.where(block.used, state.word[:, None] + block.word, _DEAD)
        lengths = 1 + jnp.asarray(self._trie.length)[verdict.guess]
        roots = state.root_position[:, None] + jnp.cumsum(lengths, axis=1) - lengths
        position = (
            jnp.take_along_axis(roots, block.word, axis=1)
            + jnp.asarray(self._trie.depth)[block.node]
        )
        return _Slots(
            jnp.where(block.start, _BEGINNING, word),
            block.node,
            jnp.where(block.start, 0, position),
        )

    def _run(
        self, given: _Rows, state: _State, verdict: Verdict, block: Block, added: _Slots
    ) -> tuple[Float[Array, "batch width embed"], Cache]:
        """Hidden states of the block's nodes, and their keys and values."""
        tokens = jnp.where(
            block.node == 0,
            self._sentinel_ids[jnp.clip(added.word, 0, self._words - 1)],
            jnp.asarray(self._trie.token)[block.node],
        )
        tokens = jnp.where(block.start, self.decoder.model.config.decoder_start_id, tokens)
        keys = _join(state.slots, added)
        earlier = keys.word[:, None] < added.word[..., None]
        same = keys.word[:, None] == added.word[..., None]
        above = self._frontier.leads_to(keys.node[:, None], added.node[..., None])
        mask = (self._on_path(keys, state.word, verdict)[:, None] & earlier) | (same & above)
        hidden, cache = self.decoder.apply(
            "decode_block",
            tokens,
            added.position,
            mask,
            given.encoded.cross,
            given.encoded.mask,
            prefix=state.cache,
            prefix_positions=state.slots.position,
            deterministic=True,
        )
        return hidden, cache

    def _logits(
        self, hidden: Float[Array, "batch width embed"], word: Int[Array, "batch width"]
    ) -> Logits:
        logits = jnp.einsum(
            "bcd,rd->bcr", hidden, self._rows_RxD, preferred_element_type=jnp.float32
        )
        tokens = len(self._frontier.tables.tokens)
        closing = tokens + 1 + jnp.clip(word, 0, self._words - 1)
        total = None
        if self._normaliser == "vocab":
            total = _logsumexp_vocabulary(
                self.decoder.model, self.decoder.params, hidden, self._max_logits
            )
        return Logits(
            logits[..., :tokens],
            jnp.take_along_axis(logits, closing[..., None], axis=2)[..., 0],
            total,
        )

    def _settle(
        self,
        state: _State,
        verdict: Verdict,
        known: Known,
        active: Bool[Array, "batch window"],
        block: Block,
        added: _Slots,
        cache: Cache,
    ) -> _State:
        """Moves each row's window over the words that are settled, and drops what is of no use."""
        ahead = jnp.arange(self._window)
        words = state.word[:, None] + ahead
        keys = _join(state.slots, added)
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
            self._on_path(keys, state.word, after),
            jnp.take_along_axis(valid, jnp.clip(offset, 0, self._window - 1), axis=1),
        )
        slot_word = jnp.where(live, keys.word, _DEAD)
        held = ((slot_word >= first) & (slot_word < _DEAD)).sum(-1, keepdims=True)
        crowded = held > self._held - self._widest
        slot_word = jnp.where(crowded & (slot_word > first), _DEAD, slot_word)

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
        useful = (slot_word[:, old:] < _DEAD)[:, None, :, None]
        row, at = jnp.arange(len(tag))[:, None], jnp.where(moves, words, self._words)
        found = state.found
        last = jnp.take_along_axis(tag, jnp.maximum(moved - 1, 0), axis=1)[:, 0]
        return _State(
            word=first[:, 0],
            previous_tag=jnp.where(moved[:, 0] > 0, last, state.previous_tag),
            root_position=state.root_position
            + jnp.where(moves, 1 + jnp.asarray(trie.length)[tag], 0).sum(-1),
            known=slid,
            cache=jax.tree.map(
                lambda x, new: write(x, jnp.where(useful, new, 0), 2), state.cache, cache
            ),
            slots=_Slots(
                write(slot_word[:, :old], slot_word[:, old:], 1),
                write(state.slots.node, added.node, 1),
                write(state.slots.position, added.position, 1),
            ),
            fill=state.fill + added.word.shape[1],
            found=Search(
                found.tags.at[row, at].set(tag, mode="drop"),
                found.log_likelihoods.at[row, at].set(known.u, mode="drop"),
                found.unexplored.at[row, at].set(after.unexplored, mode="drop"),
                found.nodes + block.used.sum(-1),
                found.passes + active[:, 0],
            ),
        )

    def _score_in_full(self, given: _Rows, state: _State) -> _State:
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
                root,
                position[None],
                closing,
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
            given.encoded,
            Prefix(state.cache, state.slots.position, used),
        )
        u = tag_log_likelihoods(self._trie, scores, state.previous_tag != OUTSIDE)
        stalled = self._stalled(given, state)[:, None, None]
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
        word = jnp.where(stalled[..., 0] & ~kept, _DEAD, state.slots.word)
        count = jnp.where(stalled[:, 0, 0], self._trie.num_nodes + 1, 0)
        return state._replace(
            known=known,
            slots=state.slots._replace(word=word),
            found=state.found._replace(nodes=state.found.nodes + count),
        )


def _join(first: _Slots, second: _Slots) -> _Slots:
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=1), first, second)
