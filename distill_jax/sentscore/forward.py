"""What every decoder here does with a T5: encode once, then run blocks of trie nodes.

Shape suffixes: B batch, W words, M nodes of a block, N nodes without the root, P cached slots.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from distill_jax.models.attention import KeyValue
from distill_jax.models.t5 import T5
from distill_jax.models.t5_stacks import Cache
from distill_jax.sentscore.layout import SentScoreBatch
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


class Encoded(NamedTuple):
    """A batch as the decoder's cross-attention reads it."""

    cross: Cache
    mask: Bool[Array, "batch 1 source"]

    def repeat(self, times: int) -> "Encoded":
        """Every row `times` times in a row, as a beam needs it."""
        if times == 1:
            return self
        return jax.tree.map(lambda x: jnp.repeat(x, times, axis=0), self)


class Prefix(NamedTuple):
    """What has been decoded: cached slots, each with its true position, and whether it is in use."""

    cache: Cache
    positions: Int[Array, "batch slots"]
    used: Bool[Array, "batch slots"]


class BoundT5:
    """A T5 with its parameters, bound for the length of a traced function."""

    def __init__(
        self,
        model: T5,
        params: Any,
        *,
        deterministic: bool = True,
        rngs: dict[str, jax.Array] | None = None,
    ) -> None:
        self.model = model
        self.params = jax.tree.map(jnp.asarray, params)  # as loaded from a file: NumPy
        self._deterministic = deterministic
        self._rngs = rngs

    def apply(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        """Calls a method of the model."""
        return self.model.apply(
            {"params": self.params}, *arguments, method=method, rngs=self._rngs, **keywords
        )

    def encode(self, batch: SentScoreBatch) -> Encoded:
        """Encodes the batch, and projects it once for every decoder layer."""
        mask = jnp.asarray(batch.encoder_mask)
        encoded = self.apply(
            "encode",
            jnp.asarray(batch.encoder_tokens),
            mask.astype(jnp.int32),
            deterministic=self._deterministic,
        )
        return Encoded(self.apply("cross_key_value", encoded), mask[:, None, :])

    def block(
        self,
        tokens: Int[Array, "batch queries"],
        positions: Int[Array, "#batch queries"],
        mask: Bool[Array, "#batch queries queries"],
        encoded: Encoded,
        prefix: Prefix | None = None,
    ) -> tuple[jax.Array, Cache]:
        """Runs tokens that attend to the prefix's slots in use and, as `mask` says, to each other.

        Returns hidden states `[batch, queries, embed]` and the tokens' own keys and values.
        """
        if prefix is not None:
            rows, slots = prefix.used.shape
            queries = tokens.shape[1]
            mask = jnp.concatenate(
                [
                    jnp.broadcast_to(prefix.used[:, None, :], (rows, queries, slots)),
                    jnp.broadcast_to(mask, (rows, queries, queries)),
                ],
                axis=-1,
            )
        return self.apply(
            "decode_block",
            tokens,
            positions,
            mask,
            encoded.cross,
            encoded.mask,
            prefix=None if prefix is None else prefix.cache,
            prefix_positions=None if prefix is None else prefix.positions,
            deterministic=self._deterministic,
        )

    def start(self, encoded: Encoded, slots: int) -> Prefix:
        """A prefix of `slots` slots that holds the start token, which every token attends to."""
        rows = encoded.mask.shape[0]
        _, first = self.block(
            jnp.full((rows, 1), self.model.config.decoder_start_id, jnp.int32),
            jnp.zeros((rows, 1), jnp.int32),
            jnp.ones((rows, 1, 1), bool),
            encoded,
        )
        return Prefix(
            jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, slots - 1), (0, 0))), first),
            jnp.zeros((rows, slots), jnp.int32),
            jnp.zeros((rows, slots), bool).at[:, 0].set(True),
        )


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


def write_slots(
    prefix: Prefix,
    slot: jax.Array | int,
    cache: Cache,
    positions: Int[Array, "batch new"],
    used: Bool[Array, "batch new"],
) -> Prefix:
    """The prefix with the new keys and values in the slots from `slot` on."""

    def write(old: jax.Array, new: jax.Array, axis: int) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(old, new, slot, axis=axis)

    return Prefix(
        tuple(
            KeyValue(write(old.key, new.key, 2), write(old.value, new.value, 2))
            for old, new in zip(prefix.cache, cache, strict=True)
        ),
        write(prefix.positions, positions, 1),
        write(prefix.used, used, 1),
    )


def empty_cache(encoded: Encoded, slots: int) -> Cache:
    """A cache of so many slots, zeros."""
    return grow_cache(jax.tree.map(lambda x: x[:, :, :0], encoded.cross), slots)


def grow_cache(cache: Cache, slots: int) -> Cache:
    """The cache with zeros behind its slots, so that it has this many."""
    return jax.tree.map(
        lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, slots - x.shape[2]), (0, 0))), cache
    )


def write_rows(cache: Cache, slot: Int[Array, " batch"], new: Cache) -> Cache:
    """The cache with every row's new keys and values from its own slot on."""
    write = jax.vmap(lambda old, new, slot: jax.lax.dynamic_update_slice(old, new, (0, slot, 0)))
    return jax.tree.map(lambda old, new: write(old, new, slot), cache, new)


def take_slots(cache: Cache, slots: Int[Array, "batch chosen"]) -> Cache:
    """The keys and values of the chosen slots of each row."""
    return jax.tree.map(lambda x: jax.vmap(lambda row, chosen: row[:, chosen])(x, slots), cache)


def path_positions(
    trie: LabelTrie, tag: Int[Array, " batch"], root_position: Int[Array, " batch"]
) -> tuple[Int[Array, "batch 1_and_depth"], Bool[Array, "batch 1_and_depth"]]:
    """Positions of a sentinel and the chosen tag's tokens behind it, and which of the slots they use."""
    offsets = jnp.arange(1 + trie.max_length)
    return (
        root_position[:, None] + offsets,
        offsets <= jnp.asarray(trie.length)[tag][:, None],
    )
