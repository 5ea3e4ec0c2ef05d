"""One pass of best-first search: a block of nodes through the decoder, and what it yields.

Shape suffixes are those of `pruned`; R output rows, K keys.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distill_jax.models.incremental import BoundT5
from distill_jax.models.t5_stacks import Cache
from distill_jax.sentscore.frontier import Block, Frontier, Logits, Verdict
from distill_jax.sentscore.layout import SentScoreBatch
from distill_jax.sentscore.likelihood import Normaliser, logsumexp_vocabulary
from distill_jax.sentscore.pruned_state import BEGINNING, DEAD, RowInputs, Slots, State, join


class BlockRunner:
    """Runs blocks of the nodes of a window of words."""

    def __init__(
        self,
        decoder: BoundT5,
        frontier: Frontier,
        batch: SentScoreBatch,
        *,
        window: int,
        normaliser: Normaliser,
        max_logits: int,
    ) -> None:
        self._decoder = decoder
        self._frontier = frontier
        self._trie = frontier.trie
        self._words = batch.max_words
        self._window = window
        self._normaliser = normaliser
        self._max_logits = max_logits
        self._sentinel_ids = jnp.asarray(batch.sentinel_ids)
        self._rows_RxD = decoder.apply(
            "output_rows", jnp.concatenate([frontier.tables.tokens, self._sentinel_ids])
        )

    def on_path(
        self, slots: Slots, base: Int[Array, " batch"], verdict: Verdict
    ) -> Bool[Array, "batch slots"]:
        """Whether later words attend to a slot: of settled words all that is left, else the guess's."""
        ahead = slots.word - base[:, None]
        guess = jnp.take_along_axis(verdict.guess, jnp.clip(ahead, 0, self._window - 1), axis=1)
        return (ahead < 0) | (self._frontier.on_path(slots.node, guess) & (ahead < self._window))

    def describe(self, state: State, verdict: Verdict, block: Block) -> Slots:
        """The block's slots."""
        word = jnp.where(block.used, state.word[:, None] + block.word, DEAD)
        lengths = 1 + jnp.asarray(self._trie.length)[verdict.guess]
        roots = state.root_position[:, None] + jnp.cumsum(lengths, axis=1) - lengths
        position = (
            jnp.take_along_axis(roots, block.word, axis=1)
            + jnp.asarray(self._trie.depth)[block.node]
        )
        return Slots(
            jnp.where(block.start, BEGINNING, word),
            block.node,
            jnp.where(block.start, 0, position),
        )

    def run(
        self, inputs: RowInputs, state: State, verdict: Verdict, block: Block, added: Slots
    ) -> tuple[Float[Array, "batch width embed"], Cache]:
        """Hidden states of the block's nodes, and their keys and values."""
        tokens = jnp.where(
            block.node == 0,
            self._sentinel_ids[jnp.clip(added.word, 0, self._words - 1)],
            jnp.asarray(self._trie.token)[block.node],
        )
        tokens = jnp.where(block.start, self._decoder.model.config.decoder_start_id, tokens)
        keys = join(state.slots, added)
        earlier = keys.word[:, None] < added.word[..., None]
        same = keys.word[:, None] == added.word[..., None]
        above = self._frontier.leads_to(keys.node[:, None], added.node[..., None])
        mask = (self.on_path(keys, state.word, verdict)[:, None] & earlier) | (same & above)
        hidden, cache = self._decoder.apply(
            "decode_block",
            tokens,
            added.position,
            mask,
            inputs.encoded.cross,
            inputs.encoded.mask,
            prefix=state.cache,
            prefix_positions=state.slots.position,
            deterministic=True,
        )
        return hidden, cache

    def logits(
        self, hidden: Float[Array, "batch width embed"], word: Int[Array, "batch width"]
    ) -> Logits:
        """What the search asks of the hidden states of nodes that stand in the given words."""
        logits = jnp.einsum(
            "bcd,rd->bcr", hidden, self._rows_RxD, preferred_element_type=jnp.float32
        )
        tokens = len(self._frontier.tables.tokens)
        closing = tokens + 1 + jnp.clip(word, 0, self._words - 1)
        total = None
        if self._normaliser == "vocab":
            total = logsumexp_vocabulary(
                self._decoder.model, self._decoder.params, hidden, self._max_logits
            )
        return Logits(
            logits[..., :tokens],
            jnp.take_along_axis(logits, closing[..., None], axis=2)[..., 0],
            total,
        )
