"""Sampling from a T5, token by token, in one program a shape.

What is drawn for a sample depends on the seed, the sample's number and the place in the target alone, so
it is the same in whatever batch, and on however many devices, a sample is drawn. (Logits may differ in
their last bits between batch shapes, as all sums of floats do; a draw differs where a uniform number falls
within that.) A target is text up to the end of sequence, or spans between sentinels, as span corruption
has it: then only the next sentinel is allowed and what is written is well formed. Or it is a tagged sentence
(`labelled`), which is spans as well, as many as the model likes, but for its end: `s_0 context s_1 label s_2
mention s_3 context …` and the end of sequence, which only a context may stand before.

Shape suffixes: B batch, T target, V vocabulary rows.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from distill_jax.generate.choice import choose
from distill_jax.generate.settings import SamplingSettings
from distill_jax.models.incremental import AnyArray, BoundT5, empty_cache, write_rows
from distill_jax.models.partitioning import Rules, constrain, partitioning
from distill_jax.models.t5 import T5
from distill_jax.models.t5_stacks import Cache
from distill_jax.sent.format import check_vocabulary_fits
from distill_jax.vocab import Vocabulary

TAGGED = -1
"""In place of the number of spans: a tagged sentence."""
PERIOD = 3
"""Sentinels from a context of a tagged sentence to the next."""
PAD_ID = 0
"""Follows the end of a target."""


class SamplingBatch(NamedTuple):
    """What samples are written from; a row with number -1 is padding and stays empty."""

    encoder_tokens: Int[AnyArray, "batch source"]
    encoder_mask: Bool[AnyArray, "batch source"]
    """False at padding."""
    numbers: Int[AnyArray, " batch"]
    """int32: which sample of the seed each row is."""
    spans: Int[AnyArray, " batch"]
    """int32: how many spans to write, `s_0 span s_1 … s_n`; 0: a text with the end of sequence behind it; or
    `TAGGED`."""


class Alphabet(NamedTuple):
    """What each of a model's rows is, to say which may be written."""

    is_text: Bool[AnyArray, " vocab"]
    rank: Int[AnyArray, " vocab"]
    """int32: n of the sentinel `s_n`, -1 of all others, and of sentinels that may not be written."""
    eos_id: Int[AnyArray, ""]

    @classmethod
    def of(cls, vocabulary: Vocabulary, rows: int, sentinels: int | None = None) -> "Alphabet":
        """That of a vocabulary for a model of so many rows, with its first `sentinels` (None: all).

        Raises `UserError` if it does not fit.
        """
        check_vocabulary_fits(vocabulary, rows)
        is_text, rank = np.zeros(rows, bool), np.full(rows, -1, np.int32)
        is_text[vocabulary.text_ids()] = True
        own = vocabulary.sentinel_ids[:sentinels]
        rank[own] = np.arange(len(own))
        return cls(is_text, rank, np.asarray(vocabulary.eos_id, np.int32))


class Samples(NamedTuple):
    """What was written."""

    tokens: Int[Array, "batch target"]
    """int32: the end (end of sequence, or last sentinel) included, then padding."""
    log_probabilities: Float[Array, "batch target"]
    """float32: of each token under the model's softmax as it is, without temperature, cuts and guard; 0
    at padding."""
    lengths: Int[Array, " batch"]
    """int32: tokens of each row, its end included."""
    ended: Bool[Array, " batch"]
    """False where `max_tokens` cut it off."""


class _State(NamedTuple):
    """What the loop carries from token to token."""

    step: jax.Array
    last: Int[Array, " batch"]
    rank: Int[Array, " batch"]
    """Sentinels written."""
    lengths: Int[Array, " batch"]
    unfinished: Bool[Array, " batch"]
    cache: Cache
    tokens: Int[Array, "batch target"]
    log_probabilities: Float[Array, "batch target"]


def sample(
    model: T5,
    params: Any,
    batch: SamplingBatch,
    alphabet: Alphabet,
    key: jax.Array,
    settings: SamplingSettings,
) -> Samples:
    """Draws a target for every row. Pure; `settings` are static.

    The loop ends when all rows have ended.
    """
    decoder = BoundT5(model, params)
    encoded = decoder.encode(batch.encoder_tokens, batch.encoder_mask)
    rows, length = batch.encoder_tokens.shape[0], settings.max_tokens
    numbers, spans = jnp.asarray(batch.numbers), jnp.asarray(batch.spans)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)

    def step(state: _State) -> _State:
        logits_BxV, new = decoder.next_logits(state.last, state.step, encoded, state.cache)
        logits_BxV = constrain(logits_BxV, "batch", None)
        masked_BxV = jnp.where(_allowed(alphabet, spans, state.rank), logits_BxV, -jnp.inf)
        if settings.no_repeat_ngram:
            masked_BxV = _without_repeats(
                masked_BxV, state.tokens, state.step, settings.no_repeat_ngram
            )
        uniform_Bx2 = jax.vmap(
            lambda key: jax.random.uniform(jax.random.fold_in(key, state.step), (2,))
        )(keys)
        token = choose(masked_BxV, uniform_Bx2, settings)
        # Of the likelihood under the model itself, as it is.
        chosen = jnp.take_along_axis(logits_BxV, token[:, None], axis=1)[:, 0]
        log_p = chosen - jax.nn.logsumexp(logits_BxV, axis=1)
        written = write_rows(state.cache, state.step + jnp.minimum(token, 0), new)  # as in `greedy`
        token = jnp.where(state.unfinished, token, PAD_ID)
        log_p = jnp.where(state.unfinished, log_p, 0.0)
        rank = state.rank + ((jnp.asarray(alphabet.rank)[token] >= 0) & state.unfinished)
        ends = jnp.where(spans > 0, rank > spans, token == alphabet.eos_id)
        return _State(
            step=state.step + 1,
            last=token,
            rank=rank,
            lengths=state.lengths + state.unfinished,
            unfinished=state.unfinished & ~ends,
            cache=written,
            tokens=state.tokens.at[:, state.step].set(token),
            log_probabilities=state.log_probabilities.at[:, state.step].set(log_p),
        )

    state = _State(
        step=jnp.zeros((), jnp.int32),
        last=jnp.full(rows, model.config.decoder_start_id, jnp.int32),
        rank=jnp.zeros(rows, jnp.int32),
        lengths=jnp.zeros(rows, jnp.int32),
        unfinished=numbers >= 0,
        cache=empty_cache(encoded, length),
        tokens=jnp.full((rows, length), PAD_ID, jnp.int32),
        log_probabilities=jnp.zeros((rows, length), jnp.float32),
    )
    state = jax.lax.while_loop(
        lambda state: (state.step < length) & jnp.any(state.unfinished), step, state
    )
    return Samples(state.tokens, state.log_probabilities, state.lengths, ~state.unfinished)


def _allowed(
    alphabet: Alphabet, spans: Int[Array, " batch"], rank: Int[Array, " batch"]
) -> Bool[Array, "batch vocab"]:
    """What each row may write, of which `rank` sentinels are there."""
    ids = jnp.arange(alphabet.rank.shape[0])
    has_spans = (spans != 0)[:, None]
    may_text = ~has_spans | (rank > 0)[:, None]
    is_context = (spans == TAGGED) & (rank % PERIOD == 1)
    may_end = ~has_spans | is_context[:, None]
    return (
        (may_text & jnp.asarray(alphabet.is_text)[None])
        | (may_end & (ids == alphabet.eos_id)[None])
        | (has_spans & (jnp.asarray(alphabet.rank)[None] == rank[:, None]))
    )


def _without_repeats(
    logits_BxV: Float[Array, "batch vocab"],
    tokens_BxT: Int[Array, "batch target"],
    step: jax.Array,
    n: int,
) -> Float[Array, "batch vocab"]:
    """The logits with -inf for each token that would end an n-gram that is there already."""
    length = tokens_BxT.shape[1]
    if n > length:
        return logits_BxV
    starts = jnp.arange(length - n + 1)
    same = jnp.broadcast_to(starts + n <= step, (tokens_BxT.shape[0], len(starts)))
    for place in range(n - 1):
        last = tokens_BxT[:, jnp.maximum(step - (n - 1) + place, 0)]
        same &= tokens_BxT[:, place : place + len(starts)] == last[:, None]
    banned = jnp.where(same, -jnp.inf, jnp.inf)
    put = jax.vmap(lambda logits, ends, bound: logits.at[ends].min(bound))
    return put(logits_BxV, tokens_BxT[:, n - 1 :], banned)


@functools.lru_cache(maxsize=64)
def make_sampler(
    model: T5, settings: SamplingSettings, mesh: Mesh | None = None, rules: Rules = ()
) -> Callable[[Any, SamplingBatch, Alphabet, jax.Array], Samples]:
    """`sample` jitted: a function of (params, batch, alphabet, key), compiled once a batch shape.

    With a mesh activations are placed there by `rules`. Equal arguments give the same function.
    """

    @jax.jit
    def run(params: Any, batch: SamplingBatch, alphabet: Alphabet, key: jax.Array) -> Samples:
        with partitioning(mesh, rules):
            return sample(model, params, batch, alphabet, key, settings)

    return run
