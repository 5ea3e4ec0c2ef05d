"""From the decoder's hidden states at the trie's nodes to every tag's log-likelihood.

u(t) of Farina et al. 2023 (arXiv 2302.05454, SenTScore): the sum of the log-probabilities of t's
tokens and of the sentinel that closes the word. One softmax per node serves all tags.

The paper's normaliser is `vocab`: a token's probability is its share of the whole vocabulary (all
rows of the model). `trie` is ours: its share among the continuations that lead to a legal tag.
Shape suffixes: B batch, W words, N nodes without the root (so N+1 with it), K tags, R rows.
"""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distill_jax.errors import UserError
from distill_jax.models.t5 import T5
from distill_jax.sentscore.trie import INSIDE, LabelTrie

Normaliser = Literal["vocab", "trie"]

DEFAULT_MAX_LOGITS = 2**24
"""Logits over the vocabulary that exist at a time (64 MiB); see `tag_log_likelihoods`."""

# Stands for minus infinity inside a logsumexp: finite, so that gradients stay free of NaNs.
_IMPOSSIBLE = -1e30


def check_normaliser(normaliser: str) -> None:
    """Raises UserError unless `normaliser` is one of those known."""
    if normaliser not in get_args(Normaliser):
        raise UserError(
            f"normaliser {normaliser!r} is unknown; use one of {', '.join(get_args(Normaliser))}"
        )


def check_model(model: T5, trie: LabelTrie) -> None:
    """Raises UserError where a tag's token has no row in the model's vocabulary."""
    largest = int(trie.row_tokens.max())
    if largest >= model.config.vocab_size or int(trie.row_tokens.min()) < 0:
        raise UserError(
            f"label trie: token id {largest} lies outside the model's {model.config.vocab_size} "
            "vocabulary rows; use the vocabulary the model was trained with"
        )


def tag_log_likelihoods(
    model: T5,
    params: Any,
    trie: LabelTrie,
    hidden: Float[Array, "batch words nodes embed"],
    closing_sentinels: Int[Array, " words"],
    inside_legal: Bool[Array, "batch words"],
    *,
    normaliser: Normaliser,
    max_logits: int = DEFAULT_MAX_LOGITS,
) -> Float[Array, "batch words tags"]:
    """The log-likelihood u of every tag at every word, float32; -inf for I where it is illegal.

    `hidden` holds the decoder's output at the root and at the trie's nodes, in the trie's order.
    `max_logits` bounds how many logits over the vocabulary are materialised at a time: beyond it
    nodes are taken in chunks (and recomputed in the backward pass instead of stored).
    """
    batch, words, nodes, _ = hidden.shape
    flat = hidden.reshape(batch, words * nodes, -1)
    # Next-token logits of the trie's own tokens; u needs only those of edges and of closings.
    rows_BxWxNxR = _apply(model, params, "logits_of", flat, jnp.asarray(trie.row_tokens)[None])
    rows_BxWxNxR = rows_BxWxNxR.reshape(batch, words, nodes, -1)
    edge_BxWxN = rows_BxWxNxR[:, :, trie.parent, trie.row]
    closing_BxWxK = _closing_logits(model, params, hidden[:, :, trie.terminal], closing_sentinels)

    if normaliser == "vocab":
        total_BxWxN = _logsumexp_vocabulary(model, params, flat, max_logits)
        total_BxWxN = total_BxWxN.reshape(batch, words, nodes)
    else:
        total_BxWxN = _logsumexp_trie(trie, rows_BxWxNxR, closing_BxWxK, inside_legal)

    # The root is no tag's token: with 0 there, padded paths add nothing.
    edge_BxWxN = (edge_BxWxN - total_BxWxN[:, :, trie.parent]).at[:, :, 0].set(0.0)
    closing_BxWxK = closing_BxWxK - total_BxWxN[:, :, trie.terminal]
    u_BxWxK = edge_BxWxN[:, :, trie.path].sum(-1) + closing_BxWxK
    illegal_BxWxK = ~inside_legal[:, :, None] & (jnp.arange(trie.num_tags) == INSIDE)
    return jnp.where(illegal_BxWxK, -jnp.inf, u_BxWxK)


def posteriors(
    log_likelihoods: Float[Array, "*rows tags"], *, temperature: float = 1.0
) -> Float[Array, "*rows tags"]:
    """Softmax of u / temperature over the tags; an illegal tag (u = -inf) gets exactly 0."""
    return jax.nn.softmax(log_likelihoods / temperature, axis=-1)


def _apply(model: T5, params: Any, method: str, *arguments: Any) -> jax.Array:
    return model.apply({"params": params}, *arguments, method=method)


def _closing_logits(
    model: T5,
    params: Any,
    terminal_BxWxKxD: jax.Array,
    closing_sentinels: jax.Array,
) -> jax.Array:
    """The logit of each word's own closing sentinel at the end of each tag, `[B, W, K]`."""
    batch, words, tags, width = terminal_BxWxKxD.shape
    # Words lead, so that each is multiplied with the one row it needs.
    by_word = jnp.moveaxis(terminal_BxWxKxD, 1, 0).reshape(words, batch * tags, width)
    logits = _apply(model, params, "logits_of", by_word, closing_sentinels[:, None])
    return jnp.moveaxis(logits.reshape(words, batch, tags), 0, 1)


def _logsumexp_vocabulary(
    model: T5, params: Any, hidden_BxQxD: jax.Array, max_logits: int
) -> jax.Array:
    """log of the sum over all V rows of exp(logit), `[B, Q]`, in chunks along Q."""

    def logsumexp(chunk_BxCxD: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(_apply(model, params, "logits", chunk_BxCxD), axis=-1)

    batch, queries, width = hidden_BxQxD.shape
    chunk = max(1, max_logits // (batch * model.config.vocab_size))
    if chunk >= queries:
        return logsumexp(hidden_BxQxD)
    chunks = -(-queries // chunk)
    chunk = -(-queries // chunks)  # even chunks: as little padding as can be
    padded = jnp.pad(hidden_BxQxD, ((0, 0), (0, chunks * chunk - queries), (0, 0)))
    stacked = jnp.moveaxis(padded.reshape(batch, chunks, chunk, width), 1, 0)
    totals = jax.lax.map(jax.checkpoint(logsumexp), stacked)
    return jnp.moveaxis(totals, 0, 1).reshape(batch, chunks * chunk)[:, :queries]


def _logsumexp_trie(
    trie: LabelTrie,
    rows_BxWxNxR: jax.Array,
    closing_BxWxK: jax.Array,
    inside_legal_BxW: jax.Array,
) -> jax.Array:
    """log of the sum over each node's legal continuations of exp(logit), `[B, W, N+1]`."""
    inside_legal = inside_legal_BxW[:, :, None]
    continues = jnp.where(inside_legal[..., None], trie.children, trie.children_without_inside)
    closes = jnp.where(inside_legal, trie.tag_at >= 0, (trie.tag_at >= 0) & (trie.tag_at != INSIDE))
    closing_BxWxN = closing_BxWxK[:, :, trie.tag_at.clip(0)]
    return jax.nn.logsumexp(
        jnp.concatenate(
            [
                jnp.where(continues, rows_BxWxNxR, _IMPOSSIBLE),
                jnp.where(closes, closing_BxWxN, _IMPOSSIBLE)[..., None],
            ],
            axis=-1,
        ),
        axis=-1,
    )
