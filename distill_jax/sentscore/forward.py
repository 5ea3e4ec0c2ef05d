"""How the decoders here run a trie: its nodes as blocks behind what has been decoded.

Shape suffixes: B batch, W words, M nodes of a block, N nodes without the root, P cached slots.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from distill_jax.models.incremental import BoundT5, Encoded, Prefix
from distill_jax.models.t5_stacks import Cache
from distill_jax.sentscore.likelihood import DEFAULT_MAX_LOGITS, NodeScores, node_scores
from distill_jax.sentscore.trie import LabelTrie, TrieBlocks

DEFAULT_MAX_NODES = 512
"""Nodes of a trie that go through the decoder at a time; see `LabelTrie.blocks`."""


class Bounds(NamedTuple):
    """Bounds of memory: see `LabelTrie.blocks` and `likelihood.node_scores`.

    `max_tokens` is how many decoder tokens (rows x words x nodes) `score.score` has in flight:
    beyond it words are taken in groups. None: all at once, but on a CPU `score.CPU_TOKENS`.
    """

    max_nodes: int = DEFAULT_MAX_NODES
    max_logits: int = DEFAULT_MAX_LOGITS
    max_tokens: int | None = None


NO_BOUNDS_GIVEN = Bounds()


class Root(NamedTuple):
    """Where a trie is scored: the sentinel that its root stands for, at which position, and the
    next sentinel."""

    token: Int[Array, ""]
    position: Int[Array, " batch"]
    closing: Int[Array, ""]


def score_trie(
    decoder: BoundT5,
    trie: LabelTrie,
    blocks: TrieBlocks,
    root: Root,
    encoded: Encoded,
    prefix: Prefix,
    **options: Any,
) -> tuple[NodeScores, Cache | None]:
    """Scores `[batch, nodes]` of all nodes behind a prefix, whose end is the sentinel of the root.

    Also returns the keys and values of the nodes, if the trie is one block. `options` are those of
    `likelihood.node_scores`.
    """

    def run(
        nodes_M: jax.Array, parent_M: jax.Array, attends_MxM: jax.Array
    ) -> tuple[NodeScores, Cache]:
        tokens_M = jnp.where(nodes_M == 0, root.token, jnp.asarray(trie.token)[nodes_M])
        hidden, cache = decoder.block(
            jnp.broadcast_to(tokens_M, (root.position.shape[0], len(nodes_M))),
            root.position[:, None] + jnp.asarray(trie.depth)[nodes_M],
            attends_MxM[None],
            encoded,
            prefix,
        )
        scores = node_scores(
            decoder.model,
            decoder.params,
            hidden[:, None],
            tokens_M,
            parent_M,
            root.closing[None],
            **options,
        )
        return jax.tree.map(lambda x: x[:, 0], scores), cache

    if len(blocks.nodes) == 1:
        return run(*(jnp.asarray(array[0]) for array in blocks[:3]))
    scores_GxBxM = jax.lax.map(lambda block: run(*block)[0], tuple(map(jnp.asarray, blocks[:3])))
    return (
        jax.tree.map(
            lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1)[:, blocks.place], scores_GxBxM
        ),
        None,
    )


def path_positions(
    trie: LabelTrie, tag: Int[Array, " batch"], root_position: Int[Array, " batch"]
) -> tuple[Int[Array, "batch 1_and_depth"], Bool[Array, "batch 1_and_depth"]]:
    """Positions of a sentinel and the chosen tag's tokens behind it, and which of the slots they use."""
    offsets = jnp.arange(1 + trie.max_length)
    return (
        root_position[:, None] + offsets,
        offsets <= jnp.asarray(trie.length)[tag][:, None],
    )
