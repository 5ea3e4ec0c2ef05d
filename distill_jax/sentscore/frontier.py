"""What is known of the words being tagged, what to look at next, and when a word is settled.

A node of the label trie is *expanded* once it has been through the decoder: then the probabilities
of its children and of closing the word behind it are known. The *frontier* are the nodes that are
not expanded but whose parent is. P(n), the product of the edges from the root to n, is what n's
tags can have at most together, because the tags below n are distinct continuations of n. So with

    E = Σ exp u(t) over the tags explored,    M = Σ P(n) over the frontier

the tags not explored have at most M, and a word is settled when

(a) no frontier node's P(n) reaches the largest u: no tag below can win; and
(b) M / (E + M) <= ε: then every posterior is off by at most ε. Let m <= M be what the tags not
    explored really have. An explored tag is given e^u / E instead of e^u / (E + m): too much by
    (e^u / E) · m / (E + m) <= M / (E + M). One not explored is given 0 and has at most m / (E + m).

Under the `trie` normaliser a node from which only one tag can be reached has that tag's likelihood:
the rest of the way has probability 1, and the tag is explored without being run. The `vocab`
normaliser knows no such thing: the tokens that must follow have a probability to be looked up.

Several words in a row are looked at together (a window): those whose tag is certain but whose
posterior is not, the one being decided, and, ahead of it, words that rest on a guess of its tag.

Shape suffixes: B batch, W words of the window, N nodes with the root, T tags, C nodes of a block,
K candidates of a word, U distinct tokens of the trie.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distill_jax.sentscore.likelihood import Normaliser
from distill_jax.sentscore.trie import INSIDE, OUTSIDE, LabelTrie

# Stands for minus infinity inside a logsumexp, which is finite where nothing is left to sum.
_IMPOSSIBLE = -1e30


class Tables(NamedTuple):
    """What the search looks up of a trie: computed once, static."""

    chain: np.ndarray
    """int32 [N]: how many nodes follow one another from each on, itself included, with no choice."""
    sole: np.ndarray
    """int32 [N]: the only tag that can be reached from a node, -1 where there are several."""
    lowest: np.ndarray
    """int32 [N]: the lowest tag that can be reached from a node."""
    nearest: np.ndarray
    """int32 [N]: the tag that ends nearest below a node (or at it)."""
    entry: np.ndarray
    """int32 [T]: the first node from which only this tag can be reached, 0 where there is none."""
    tokens: np.ndarray
    """int32 [U]: the distinct tokens."""
    row: np.ndarray
    """int32 [N]: which of them each node has (0 at the root, where it means nothing)."""


@functools.lru_cache(maxsize=64)
def make_tables(trie: LabelTrie) -> Tables:
    """The tables of a trie."""
    size = trie.num_nodes + 1
    chain = np.ones(size, np.int32)
    sole = np.where(trie.num_options == 1, trie.tag_at, -1).astype(np.int32)
    lowest = np.where(trie.tag_at >= 0, trie.tag_at, trie.num_tags).astype(np.int32)
    nearest = trie.tag_at.copy()
    for node in range(size - 1, -1, -1):  # children before their parents
        if trie.num_options[node] == 1 and trie.num_children[node] == 1:
            chain[node] = 1 + chain[node + 1]  # the only child is the next node
            sole[node] = sole[node + 1]
        parent = trie.parent[node]
        if node and trie.tag_at[parent] < 0:
            known, new = nearest[parent], nearest[node]
            if known < 0 or trie.length[new] <= trie.length[known]:
                nearest[parent] = new
        lowest[parent] = min(lowest[parent], lowest[node])
    entry = np.zeros(trie.num_tags, np.int32)
    for tag, end in enumerate(trie.terminal):
        if sole[end] == tag:
            entry[tag] = min(n for n in trie.path[tag, : trie.length[tag]] if sole[n] == tag)
    tokens, row = np.unique(trie.token[1:], return_inverse=True)
    return Tables(
        chain,
        sole,
        lowest,
        nearest,
        entry,
        tokens.astype(np.int32),
        np.pad(row, (1, 0)).astype(np.int32),
    )


class Known(NamedTuple):
    """Of each word of the window: the frontier's bounds and the tags explored."""

    bound: Float[Array, "batch window nodes"]
    """log P(n) of the frontier, -inf elsewhere. Of a word not looked at yet: the root's, 0."""
    u: Float[Array, "batch window tags"]
    """Log-likelihoods of the tags explored, -inf elsewhere."""


class Verdict(NamedTuple):
    """What `Known` says of each word: the tag to go on with, and whether it is settled."""

    guess: Int[Array, "batch window"]
    """int32: the best tag, once that is certain; before, the likeliest: what later words rest on."""
    best: Float[Array, "batch window"]
    """The largest u explored."""
    log_mass: Float[Array, "batch window"]
    """log(E + M)."""
    unexplored: Float[Array, "batch window"]
    """M / (E + M)."""
    done: Bool[Array, "batch window"]
    """Whether the word is settled."""


class Block(NamedTuple):
    """Nodes to be run through the decoder next, `[batch, width]`."""

    used: jax.Array
    """bool: whether there is a node."""
    start: jax.Array
    """bool: whether it is the start token instead."""
    word: jax.Array
    """int32: the node's word, counted from the window's first."""
    node: jax.Array
    """int32: the node, 0 for the sentinel before the word."""


class Logits(NamedTuple):
    """What a block's nodes say about what follows them, float32."""

    tokens: Float[Array, "batch width tokens"]
    """The logits of the trie's distinct tokens."""
    closing: Float[Array, "batch width"]
    """The logit of the sentinel that closes the node's word."""
    total: Float[Array, "batch width"] | None
    """log Σ exp of all of the vocabulary's logits; None where it is not needed."""


class Frontier:
    """The search through one label set's trie."""

    def __init__(self, trie: LabelTrie, normaliser: Normaliser, epsilon: float) -> None:
        self.trie = trie
        self.tables = make_tables(trie)
        self._normaliser = normaliser
        self._epsilon = epsilon
        self._end_N = jnp.asarray(trie.end)
        self._terminal_T = jnp.asarray(trie.terminal)
        self._nodes = jnp.arange(trie.num_nodes + 1)
        self._fresh_N = jnp.where(self._nodes == 0, 0.0, -jnp.inf)

    def fresh(self, rows: int, window: int) -> Known:
        """Nothing: the frontier of each word is its root."""
        return Known(
            jnp.broadcast_to(self._fresh_N, (rows, window, len(self._nodes))),
            jnp.full((rows, window, self.trie.num_tags), -jnp.inf),
        )

    def leads_to(self, node: jax.Array, below: jax.Array) -> jax.Array:
        """Whether `node` is an ancestor of node `below`, or is it."""
        return (node <= below) & (below < self._end_N[node])

    def on_path(self, node: jax.Array, tag: jax.Array) -> jax.Array:
        """Whether a node is the root or one of a tag's."""
        return self.leads_to(node, self._terminal_T[tag])

    def judge(self, known: Known, previous_tag: Int[Array, " batch"]) -> Verdict:
        """Which tags are likeliest, and which words are settled; `previous_tag` is the window's."""
        best, bound = known.u.max(-1), known.bound.max(-1)
        tag = jnp.argmax(known.u, axis=-1).astype(jnp.int32)
        reached = (known.bound > best[..., None]) | (
            # An equal likelihood wins if its tag comes first, as in an arg max over all tags.
            (known.bound == best[..., None]) & (self.tables.lowest < tag[..., None])
        )
        explored = best > -jnp.inf
        log_e = jax.nn.logsumexp(known.u, axis=-1)
        log_m = jax.nn.logsumexp(known.bound, axis=-1)
        unexplored = jax.nn.sigmoid(log_m - jnp.where(explored, log_e, 0.0))
        unexplored = jnp.where(explored, unexplored, 1.0)
        likely = jnp.asarray(self.tables.nearest)[jnp.argmax(known.bound, axis=-1)]
        guess = jnp.where(best >= bound, tag, likely)
        # Words not looked at yet come last. After a label's first word its next one is likely.
        started = known.bound[..., 0] == -jnp.inf
        before = jnp.concatenate([previous_tag[:, None], guess], axis=1)
        last = jnp.take_along_axis(before, started.sum(-1, keepdims=True), axis=1)
        guess = jnp.where(started, guess, jnp.where(last == OUTSIDE, OUTSIDE, INSIDE))
        return Verdict(
            guess,
            best,
            jnp.logaddexp(log_e, log_m),
            unexplored,
            (explored & ~reached.any(-1) & (unexplored <= self._epsilon))
            # Nothing is left to look at; of NaN nothing ever is, and the search must end.
            | ~(known.bound > -jnp.inf).any(-1),
        )

    def choose(
        self,
        known: Known,
        verdict: Verdict,
        run: Int[Array, "batch window"],
        active: Bool[Array, "batch window"],
        begin: Bool[Array, " batch"],
        width: int,
    ) -> Block:
        """The next nodes, word by word until `width` is used up.

        Of each word: what is missing of the guess's path (`run` of its nodes, the root counted,
        are expanded already), so that the next word can follow in the same block; then, unless the
        word is settled, the frontier's nodes of highest bound, as many as leave no more than ε of
        the mass, each with the nodes that must follow it. Only words that are `active`, and the
        start token first where a row is to `begin` with it.
        """
        trie, tables = self.trie, self.tables
        rows, window, _ = known.bound.shape
        path_BxW = jnp.where(active, 1 + jnp.asarray(trie.length)[verdict.guess] - run, 0)
        others = jnp.where(
            self.on_path(self._nodes, verdict.guess[..., None]), -jnp.inf, known.bound
        )
        log_mass = jnp.where(verdict.log_mass > -jnp.inf, verdict.log_mass, 0.0)[..., None]
        bound_BxWxK, node_BxWxK = jax.lax.top_k(others, min(width, len(self._nodes)))
        share_BxWxK = jnp.exp(bound_BxWxK - log_mass)
        left = jnp.exp(others - log_mass).sum(-1, keepdims=True) - (
            jnp.cumsum(share_BxWxK, axis=-1) - share_BxWxK
        )
        first = jnp.arange(node_BxWxK.shape[2]) == 0
        needed = (
            (left > self._epsilon)
            | (bound_BxWxK >= verdict.best[..., None])
            | (first & (path_BxW == 0)[..., None])  # rounding must not stop the search
        )
        taken = needed & (bound_BxWxK > -jnp.inf) & (active & ~verdict.done)[..., None]
        chain_BxWxK = jnp.where(taken, jnp.asarray(tables.chain)[node_BxWxK], 0)

        # Laid end to end: of each word its path, then its candidates with their chains.
        lengths = jnp.concatenate([path_BxW[..., None], chain_BxWxK], axis=-1)
        pieces = lengths.shape[2]
        lengths = lengths.reshape(rows, window * pieces)
        ends = begin[:, None] + jnp.cumsum(lengths, axis=1)
        place = jnp.arange(width)
        piece_BxC = (ends[:, None, :] <= place[:, None]).sum(-1)
        start_BxC = (place == 0) & begin[:, None]
        used_BxC = (piece_BxC < window * pieces) & ~start_BxC
        piece_BxC = jnp.minimum(piece_BxC, window * pieces - 1)
        word_BxC = piece_BxC // pieces
        along = place - jnp.take_along_axis(ends - lengths, piece_BxC, axis=1)
        depth = run[jnp.arange(rows)[:, None], word_BxC] + along
        path_node = jnp.asarray(trie.path_with_root)[
            jnp.take_along_axis(verdict.guess, word_BxC, axis=1),
            jnp.clip(depth, 0, trie.max_length),
        ]
        heads = jnp.pad(node_BxWxK, ((0, 0), (0, 0), (1, 0))).reshape(rows, -1)
        candidate = jnp.take_along_axis(heads, piece_BxC, axis=1) + along
        node_BxC = jnp.where(piece_BxC % pieces == 0, path_node, candidate)
        return Block(used_BxC, start_BxC, word_BxC, jnp.where(used_BxC, node_BxC, 0))

    def learn(
        self,
        known: Known,
        block: Block,
        logits: Logits,
        inside_legal: Bool[Array, "batch window"],
    ) -> Known:
        """What is known after the block; `inside_legal` says of each word whether it may be I."""
        trie, tables = self.trie, self.tables
        window = known.bound.shape[1]
        parent_N, tag_at_N = jnp.asarray(trie.parent), jnp.asarray(trie.tag_at)
        node_BxC, tag_BxC = block.node, tag_at_N[block.node]
        inside_BxC = jnp.take_along_axis(inside_legal, block.word, axis=1)
        child_BxCxN = (
            (parent_N == node_BxC[..., None])
            & (self._nodes > 0)
            & (inside_BxC[..., None] | ~trie.only_inside)
            & block.used[..., None]
        )
        closes_BxC = block.used & (tag_BxC >= 0) & (inside_BxC | (tag_BxC != INSIDE))
        logit_BxCxN = logits.tokens[..., tables.row]
        total_BxC = logits.total
        if total_BxC is None:  # over the legal continuations
            total_BxC = jnp.logaddexp(
                jax.nn.logsumexp(jnp.where(child_BxCxN, logit_BxCxN, _IMPOSSIBLE), axis=-1),
                jnp.where(closes_BxC, logits.closing, _IMPOSSIBLE),
            )
        log_p_BxC = self._log_p(known, block, logits, total_BxC)

        lead_BxC = log_p_BxC - total_BxC
        of_word_BxWxC = block.used[:, None] & (block.word[:, None] == jnp.arange(window)[:, None])
        bound = jnp.where(
            of_word_BxWxC[..., None] & child_BxCxN[:, None],
            (lead_BxC[..., None] + logit_BxCxN)[:, None],
            -jnp.inf,
        ).max(2)
        tags_T = jnp.arange(trie.num_tags)
        u = jnp.where(
            of_word_BxWxC[..., None]
            & ((tag_BxC[..., None] == tags_T) & closes_BxC[..., None])[:, None],
            (lead_BxC + logits.closing)[:, None, :, None],
            -jnp.inf,
        ).max(2)
        if self._normaliser == "trie":
            reached = jnp.where(tables.entry > 0, bound[..., tables.entry], -jnp.inf)
            u = jnp.maximum(u, reached)
            bound = jnp.where(tables.sole >= 0, -jnp.inf, bound)
        before = known.u != -jnp.inf
        legal = inside_legal[..., None] | (tags_T != INSIDE)
        # Once all tags are explored, nodes are run only because later words attend to them.
        all_before = (before | ~legal).all(-1, keepdims=True)
        expanded = (of_word_BxWxC[..., None] & (node_BxC[..., None] == self._nodes)[:, None]).any(2)
        bound = jnp.maximum(known.bound, jnp.where(all_before, -jnp.inf, bound))
        return Known(jnp.where(expanded, -jnp.inf, bound), jnp.where(before, known.u, u))

    def _log_p(
        self, known: Known, block: Block, logits: Logits, total: jax.Array
    ) -> Float[Array, "batch width"]:
        """log P of the block's nodes, whose parents are in the block or expanded before."""
        node, rows = block.node, jnp.arange(len(block.node))[:, None]
        together = (
            (block.word[:, :, None] == block.word[:, None, :])
            & block.used[:, :, None]
            & block.used[:, None, :]
        )
        parent_BxCxC = (
            together
            & (jnp.asarray(self.trie.parent)[node][:, :, None] == node[:, None, :])
            & (node > 0)[:, :, None]
        )
        row = jnp.asarray(self.tables.row)[node]
        # At [b, c, p]: the logit of node c's token after node p.
        logit_BxCxC = jnp.swapaxes(
            jnp.take_along_axis(
                logits.tokens, jnp.broadcast_to(row[:, None, :], parent_BxCxC.shape), axis=2
            ),
            1,
            2,
        )
        edge = jnp.where(parent_BxCxC, logit_BxCxC - total[:, None, :], 0.0).sum(-1)
        own = jnp.where(parent_BxCxC.any(-1), edge, known.bound[rows, block.word, node])
        above = together & self.leads_to(node[:, None, :], node[:, :, None])
        return jnp.where(above, own[:, None, :], 0.0).sum(-1)
