"""Free greedy generation: whatever the model writes, to see how often it breaks the format.

Nothing is constrained and nothing is read: the caller parses the ids (`SenTFormat.parse_target`).
One token a pass, whose slot in the cache is its position. Shape suffixes: B batch, V vocabulary
rows.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from distill_jax.errors import UserError
from distill_jax.models.incremental import BoundT5, empty_cache, write_rows
from distill_jax.models.t5 import T5
from distill_jax.models.t5_stacks import Cache
from distill_jax.sentscore.layout import SentScoreBatch
from distill_jax.sentscore.trie import LabelTrie

PAD_ID = 0
"""Follows the end of sequence."""


class _State(NamedTuple):
    """What the loop carries from token to token."""

    step: jax.Array
    """Tokens written."""
    last: Int[Array, " batch"]
    """The token to be read next."""
    unfinished: Bool[Array, " batch"]
    cache: Cache
    tokens: Int[Array, "batch target"]


def free(
    model: T5,
    params: Any,
    batch: SentScoreBatch,
    *,
    max_length: int,
    eos_id: int = 1,
) -> Int[Array, "batch target"]:
    """The ids `[batch, max_length]`, int32, of the most likely token at every step.

    From the first token on (the start token is not part of it) up to the end of sequence, included,
    then padding; a row that has not ended after `max_length` tokens is cut off. A row with no words
    is padding and stays empty. Pure: everything but `params` and `batch` is static. Ties go to the
    lowest id.

    Raises:
        UserError: `max_length` is below 1, or `eos_id` is none of the model's rows.
    """
    if max_length < 1:
        raise UserError(f"a length of {max_length} leaves nothing to write; use at least 1")
    if not 0 <= eos_id < model.config.vocab_size:
        raise UserError(
            f"end of sequence {eos_id} lies outside the model's {model.config.vocab_size} "
            "vocabulary rows; use the id of the vocabulary the model was trained with"
        )
    decoder = BoundT5(model, params)
    encoded = decoder.encode(batch.encoder_tokens, batch.encoder_mask)
    rows = batch.encoder_tokens.shape[0]

    def step(state: _State) -> _State:
        logits_BxV, new = decoder.next_logits(state.last, state.step, encoded, state.cache)
        token = jnp.argmax(logits_BxV, axis=-1).astype(jnp.int32)
        written = write_rows(state.cache, state.step + jnp.minimum(token, 0), new)  # as in `greedy`
        token = jnp.where(state.unfinished, token, PAD_ID)
        return _State(
            step=state.step + 1,
            last=token,
            unfinished=state.unfinished & (token != eos_id),
            cache=written,
            tokens=state.tokens.at[:, state.step].set(token),
        )

    state = _State(
        step=jnp.zeros((), jnp.int32),
        last=jnp.full(rows, model.config.decoder_start_id, jnp.int32),
        unfinished=jnp.asarray(batch.num_words) > 0,
        cache=empty_cache(encoded, max_length),
        tokens=jnp.full((rows, max_length), PAD_ID, jnp.int32),
    )
    return jax.lax.while_loop(
        lambda state: (state.step < max_length) & jnp.any(state.unfinished), step, state
    ).tokens


def longest_target(trie: LabelTrie, words: int) -> int:
    """The tokens of `s_0 t_1 s_1 ... t_L s_L </s>` where every tag is the longest."""
    return 2 + words * (1 + trie.max_length)
