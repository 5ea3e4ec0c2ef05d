"""From the decoder's hidden states at the trie's nodes to every tag's log-likelihood.

u(t) of Farina et al. 2023 (arXiv 2302.05454, SenTScore): the sum of the log-probabilities of t's
tokens and of the sentinel that closes the word. One softmax per node serves all tags.

The paper's normaliser is `vocab`: a token's probability is its share of the whole vocabulary (all
rows of the model). `trie` is ours: its share among the continuations that lead to a legal tag.
Shape suffixes: B batch, W words, M nodes of a block, D model width, Q queries.
"""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from distill_jax.errors import UserError
from distill_jax.integers import ceil_divide
from distill_jax.models.t5 import T5
from distill_jax.sentscore.trie import INSIDE, LabelTrie

Normaliser = Literal["vocab", "trie"]

DEFAULT_MAX_LOGITS = 2**26
"""Logits over the vocabulary that exist at a time (256 MiB); see `tag_log_likelihoods`."""

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
    ids = [token for tag in trie.tag_token_ids for token in tag]
    if max(ids) >= model.config.vocab_size or min(ids) < 0:
        raise UserError(
            f"label trie: token ids {min(ids)} to {max(ids)} do not all lie within the model's "
            f"{model.config.vocab_size} vocabulary rows; use the vocabulary the model was trained with"
        )


class NodeScores(NamedTuple):
    """What a softmax at every node of the trie is made of, before it is normalised; all float32."""

    edge: Float[Array, "*words nodes"]
    """The logit of each node's token after its parent; nothing that is used at the root."""
    closing: Float[Array, "*words nodes"]
    """The logit of the word's closing sentinel after each node."""
    total: Float[Array, "*words nodes"] | None
    """log Σ exp of the logits of the whole vocabulary after each node; None where not needed."""


def node_scores(
    model: T5,
    params: Any,
    hidden: Float[Array, "batch words nodes embed"],
    tokens: Int[Array, " nodes"],
    parent: Int[Array, " nodes"],
    closing_sentinels: Int[Array, " words"],
    *,
    normaliser: Normaliser,
    max_logits: int = DEFAULT_MAX_LOGITS,
) -> NodeScores:
    """Scores a block of nodes from the decoder's output at them.

    `tokens` are the nodes' own tokens and `parent` says where in the block each one's parent
    stands; `closing_sentinels` holds the id of s_i for each word. `max_logits` bounds how many
    logits over the vocabulary are materialised at a time: beyond it nodes are taken in chunks (and
    recomputed in the backward pass instead of stored).
    """
    rows_MxD = _apply(model, params, "output_rows", tokens)
    closing_WxD = _apply(model, params, "output_rows", closing_sentinels)
    batch, words, nodes, _ = hidden.shape
    total = None
    if normaliser == "vocab":
        flat = hidden.reshape(batch, words * nodes, -1)
        total = logsumexp_vocabulary(model, params, flat, max_logits)
        total = total.reshape(batch, words, nodes)
    return NodeScores(
        _product("bwmd,md->bwm", hidden[:, :, parent], rows_MxD),
        _product("bwmd,wd->bwm", hidden, closing_WxD),
        total,
    )


def tag_log_likelihoods(
    trie: LabelTrie, scores: NodeScores, inside_legal: Bool[Array, " *words"]
) -> Float[Array, "*words tags"]:
    """u of every tag from the scores of all nodes, in the trie's order; -inf for I where illegal.

    Scores without totals are normalised over the trie's legal continuations.
    """
    total = scores.total
    if total is None:
        total = _logsumexp_trie(trie, scores, inside_legal)
    # The root is no tag's token: with 0 there, padded paths add nothing.
    edge = (scores.edge - total[..., trie.parent]).at[..., 0].set(0.0)
    closing = (scores.closing - total)[..., trie.terminal]
    u = edge[..., trie.path].sum(-1) + closing
    illegal = ~inside_legal[..., None] & (jnp.arange(trie.num_tags) == INSIDE)
    return jnp.where(illegal, -jnp.inf, u)


def posteriors(
    log_likelihoods: Float[Array, "*rows tags"], *, temperature: float = 1.0
) -> Float[Array, "*rows tags"]:
    """Softmax of u / temperature over the tags; an illegal tag (u = -inf) gets exactly 0."""
    return jax.nn.softmax(log_likelihoods / temperature, axis=-1)


def _logsumexp_trie(
    trie: LabelTrie, scores: NodeScores, inside_legal: jax.Array
) -> Float[Array, "*words nodes"]:
    """log of the sum over each node's legal continuations of exp(logit)."""
    inside_legal = inside_legal[..., None]
    edge = jnp.where(inside_legal | ~trie.only_inside, scores.edge, _IMPOSSIBLE)[..., 1:]
    closes = (trie.tag_at >= 0) & (inside_legal | (trie.tag_at != INSIDE))
    closing = jnp.where(closes, scores.closing, _IMPOSSIBLE)
    parent = trie.parent[1:]
    largest = jax.lax.stop_gradient(closing.at[..., parent].max(edge))
    total = jnp.exp(closing - largest).at[..., parent].add(jnp.exp(edge - largest[..., parent]))
    return largest + jnp.log(total)


def _product(subscripts: str, *operands: jax.Array) -> jax.Array:
    return jnp.einsum(subscripts, *operands, preferred_element_type=jnp.float32)


def _apply(model: T5, params: Any, method: str, *arguments: Any) -> jax.Array:
    return model.apply({"params": params}, *arguments, method=method)


def logsumexp_vocabulary(
    model: T5, params: Any, hidden_BxQxD: jax.Array, max_logits: int
) -> jax.Array:
    """log of the sum over all V rows of exp(logit), `[B, Q]`, in chunks along Q."""

    def logsumexp(chunk_BxCxD: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(_apply(model, params, "logits", chunk_BxCxD), axis=-1)

    batch, queries, width = hidden_BxQxD.shape
    chunk = max(1, max_logits // (batch * model.config.vocab_size))
    if chunk >= queries:
        return logsumexp(hidden_BxQxD)
    chunks = ceil_divide(queries, chunk)
    chunk = ceil_divide(queries, chunks)  # even chunks: as little padding as can be
    padded = jnp.pad(hidden_BxQxD, ((0, 0), (0, chunks * chunk - queries), (0, 0)))
    stacked = jnp.moveaxis(padded.reshape(batch, chunks, chunk, width), 1, 0)
    totals = jax.lax.map(jax.checkpoint(logsumexp), stacked)
    return jnp.moveaxis(totals, 0, 1).reshape(batch, chunks * chunk)[:, :queries]
