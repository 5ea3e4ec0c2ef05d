"""SenTScore where it matters: the tags of `word_beam` with beam 1, most of the trie left alone."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distill_jax.models.attention import KeyValue
from distill_jax.models.t5 import T5, Cache
from distill_jax.sentscore.forward import (
    DEFAULT_MAX_NODES,
    Decoder,
    Encoded,
    Prefix,
    score_trie,
    take_slots,
)
from distill_jax.sentscore.layout import SentScoreBatch
from distill_jax.sentscore.likelihood import (
    DEFAULT_MAX_LOGITS,
    Normaliser,
    _logsumexp_vocabulary,
    tag_log_likelihoods,
)
from distill_jax.sentscore.trie import INSIDE, OUTSIDE, LabelTrie

DEFAULT_SCRATCH = 64
_DEAD = np.int32(2**30)


class Tables(NamedTuple):
    """What the search reads of a trie besides its own arrays."""

    chain: np.ndarray
    sole: np.ndarray
    first_tag: np.ndarray
    guess: np.ndarray
    tokens: np.ndarray
    row: np.ndarray


def tables(trie: LabelTrie) -> Tables:
    size = trie.num_nodes + 1
    chain = np.ones(size, np.int32)
    sole = np.where(trie.num_options == 1, trie.tag_at, -1)
    first = np.where(trie.tag_at >= 0, trie.tag_at, trie.num_tags)
    shallow = trie.tag_at.copy()
    for node in range(size - 1, -1, -1):
        if trie.num_options[node] == 1 and trie.num_children[node] == 1:
            chain[node] = 1 + chain[node + 1]
            sole[node] = sole[node + 1]
        if node:
            p = trie.parent[node]
            first[p] = min(first[p], first[node])
            if trie.tag_at[p] < 0 and (
                shallow[p] < 0 or trie.length[shallow[node]] <= trie.length[shallow[p]]
            ):
                shallow[p] = shallow[node]
    tokens, row = np.unique(trie.token[1:], return_inverse=True)
    return Tables(
        chain, sole.astype(np.int32), first.astype(np.int32), shallow,
        tokens.astype(np.int32), np.concatenate([[0], row]).astype(np.int32),
    )


class _Slots(NamedTuple):
    word: jax.Array
    node: jax.Array
    position: jax.Array


class _State(NamedTuple):
    word: jax.Array  # B
    previous_tag: jax.Array  # B
    root_position: jax.Array  # B
    bound: jax.Array  # B W N
    u: jax.Array  # B W T
    guess: jax.Array  # B W
    cache: Cache
    slots: _Slots
    fill: jax.Array
    tags: jax.Array
    log_likelihoods: jax.Array
    unexplored: jax.Array
    expanded: jax.Array  # B
    passes: jax.Array


class Search(NamedTuple):
    tags: jax.Array
    log_likelihoods: jax.Array
    unexplored: jax.Array
    expanded: jax.Array
    passes: jax.Array


class _Judged(NamedTuple):
    guess: jax.Array
    unexplored: jax.Array
    log_mass: jax.Array
    best: jax.Array
    done: jax.Array


def default_width(batch: int) -> int:
    return 8


def search(
    model: T5,
    params: Any,
    batch: SentScoreBatch,
    trie: LabelTrie,
    *,
    normaliser: Normaliser,
    epsilon: float,
    max_logits: int = DEFAULT_MAX_LOGITS,
    width: int | None = None,
    window: int | None = None,
    scratch: int = DEFAULT_SCRATCH,
    max_nodes: int = DEFAULT_MAX_NODES,
) -> Search:
    t = tables(trie)
    B, L, T, D = batch.encoder_tokens.shape[0], batch.max_words, trie.num_tags, trie.max_length
    N = trie.num_nodes + 1
    C = default_width(B) if width is None else width
    C = max(C, 2)
    W = 1 + C // 2 if window is None else window
    W = min(W, L)
    S = min(N, max(scratch, D + 2))
    roomy = S + 2 * C
    P = 1 + L * (1 + D) + roomy + 2 * C
    K = min(C, N)
    decoder = Decoder(model, params)
    encoded = decoder.encode(batch)
    num_words = jnp.minimum(jnp.asarray(batch.num_words), L)
    sentinel_ids = jnp.asarray(batch.sentinel_ids)
    token_N, parent_N, end_N = map(jnp.asarray, (trie.token, trie.parent, trie.end))
    tag_at_N, only_inside_N = jnp.asarray(trie.tag_at), jnp.asarray(trie.only_inside)
    length_T, terminal_T = jnp.asarray(trie.length), jnp.asarray(trie.terminal)
    path_Tx1D = jnp.asarray(trie.path_with_root)
    rows_RxD = decoder.apply("output_rows", jnp.concatenate([jnp.asarray(t.tokens), sentinel_ids]))
    U = len(t.tokens)
    config = model.config
    fresh_N = jnp.where(jnp.arange(N) == 0, 0.0, -jnp.inf)
    steps_W = jnp.arange(W)
    epsilon = float(epsilon)

    def ancestor(above, below):
        return (above <= below) & (below < end_N[above])

    def judge(bound, u) -> _Judged:
        best = u.max(-1)
        tag = jnp.argmax(u, -1).astype(jnp.int32)
        log_e, log_m = jax.nn.logsumexp(u, -1), jax.nn.logsumexp(bound, -1)
        explored = best > -jnp.inf
        unexplored = jnp.where(
            explored, jax.nn.sigmoid(log_m - jnp.where(explored, log_e, 0.0)), 1.0
        )
        beaten = (bound > best[..., None]) | (
            (bound == best[..., None]) & (jnp.asarray(t.first_tag) < tag[..., None])
        )
        certain = explored & ~beaten.any(-1)
        top = jnp.argmax(bound, -1)
        guess = jnp.where(best >= bound.max(-1), tag, jnp.asarray(t.guess)[top])
        guess = jnp.where(bound[..., 0] > -jnp.inf, OUTSIDE, guess).astype(jnp.int32)
        guess = jnp.where(certain, tag, guess)
        return _Judged(
            guess, unexplored, jnp.logaddexp(log_e, log_m), best, certain & (unexplored <= epsilon)
        )

    def counts(state):
        """Slots held by the base word, and by all words of the window."""
        mine = state.slots.word == state.word[:, None]
        all_ = (state.slots.word >= state.word[:, None]) & (state.slots.word < _DEAD)
        return mine.sum(-1), all_.sum(-1)

    def unfinished(state):
        return state.word < num_words

    def waiting(state):
        return unfinished(state) & (counts(state)[0] >= S)

    def step(state: _State) -> _State:
        prev_BxW = jnp.concatenate([state.previous_tag[:, None], state.guess[:, :-1]], 1)
        legal_BxW = prev_BxW != OUTSIDE
        lengths_BxW = length_T[state.guess]
        root_pos_BxW = state.root_position[:, None] + jnp.cumsum(1 + lengths_BxW, 1) - (
            1 + lengths_BxW
        )
        words_BxW = state.word[:, None] + steps_W
        active_BxW = (words_BxW < num_words[:, None]) & ~waiting(state)[:, None]
        judged = judge(state.bound, state.u)

        # ---- choose
        offs_BxP = jnp.clip(state.slots.word - state.word[:, None], 0, W - 1)
        in_window = (state.slots.word >= state.word[:, None]) & (state.slots.word < _DEAD)
        g_BxP = jnp.take_along_axis(state.guess, offs_BxP, 1)
        on_path = ancestor(state.slots.node, terminal_T[g_BxP]) & in_window
        have_BxW = ((offs_BxP[:, None] == steps_W[:, None]) & on_path[:, None]).sum(-1)
        spine_BxW = jnp.where(active_BxW, 1 + lengths_BxW - have_BxW, 0)
        others = jnp.where(
            ancestor(jnp.arange(N), terminal_T[state.guess][..., None]), -jnp.inf, state.bound
        )
        v_BxWxK, q_BxWxK = jax.lax.top_k(others, K)
        mass = jnp.exp(v_BxWxK - jnp.where(judged.log_mass > -jnp.inf, judged.log_mass, 0.0)[..., None])
        all_mass = jnp.exp(others - jnp.where(judged.log_mass > -jnp.inf, judged.log_mass, 0.0)[..., None]).sum(-1)
        before = jnp.cumsum(mass, -1) - mass
        need = (
            (all_mass[..., None] - before > epsilon / 2)
            | (v_BxWxK >= judged.best[..., None])
            | ((jnp.arange(K) == 0) & (spine_BxW == 0)[..., None])
        )
        take = need & (v_BxWxK > -jnp.inf) & (active_BxW & ~judged.done)[..., None]
        cand_BxWxK = jnp.where(take, jnp.asarray(t.chain)[q_BxWxK], 0)
        # segments: W x (1+K)
        seg = jnp.concatenate([spine_BxW[..., None], cand_BxWxK], -1).reshape(B, -1)
        begin = (state.fill == 0).astype(jnp.int32)
        stop = begin + jnp.cumsum(seg, -1)
        c_C = jnp.arange(C)
        j_BxC = (stop[:, None, :] <= c_C[:, None]).sum(-1)
        valid_BxC = (j_BxC < seg.shape[1]) & (c_C >= begin)
        j_BxC = jnp.minimum(j_BxC, seg.shape[1] - 1)
        off_BxC = c_C - jnp.take_along_axis(stop - seg, j_BxC, 1)
        w_BxC = j_BxC // (1 + K)
        spine_node = jax.vmap(lambda g, h, w, o: path_Tx1D[g[w], jnp.clip(h[w] + o, 0, D)])(
            state.guess, have_BxW, w_BxC, off_BxC
        )
        first = jnp.concatenate([jnp.zeros((B, W, 1), jnp.int32), q_BxWxK], -1).reshape(B, -1)
        node_BxC = jnp.where(
            j_BxC % (1 + K) == 0,
            spine_node,
            jnp.take_along_axis(first, j_BxC, 1) + off_BxC,
        )
        node_BxC = jnp.where(valid_BxC, node_BxC, 0)
        is_start = (c_C < begin)[None]
        word_BxC = jnp.where(
            is_start, -1, jnp.where(valid_BxC, state.word[:, None] + w_BxC, _DEAD)
        )
        pos_BxC = jnp.where(
            is_start, 0, jnp.take_along_axis(root_pos_BxW, w_BxC, 1) + jnp.asarray(trie.depth)[node_BxC]
        )
        sent_BxC = sentinel_ids[jnp.clip(word_BxC, 0, L - 1)]
        tokens_BxC = jnp.where(
            is_start,
            config.decoder_start_id,
            jnp.where(node_BxC == 0, sent_BxC, token_N[node_BxC]),
        )

        # ---- run
        key_word = jnp.concatenate([state.slots.word, word_BxC], 1)
        key_node = jnp.concatenate([state.slots.node, node_BxC], 1)
        key_pos = jnp.concatenate([state.slots.position, pos_BxC], 1)
        g_key = jnp.take_along_axis(
            state.guess, jnp.clip(key_word - state.word[:, None], 0, W - 1), 1
        )
        trunk = (key_word < state.word[:, None]) | ancestor(key_node, terminal_T[g_key])
        mask = ((key_word[:, None] < word_BxC[..., None]) & trunk[:, None]) | (
            (key_word[:, None] == word_BxC[..., None])
            & ancestor(key_node[:, None], node_BxC[..., None])
        )
        hidden, block = decoder.apply(
            "decode_block", tokens_BxC, pos_BxC, mask, encoded.cross, encoded.mask,
            prefix=state.cache, prefix_positions=state.slots.position, deterministic=True,
        )
        # ---- score
        logits_BxCxR = jnp.einsum(
            "bcd,rd->bcr", hidden, rows_RxD, preferred_element_type=jnp.float32
        )
        edge_BxCxN = logits_BxCxR[..., t.row]
        closing_BxC = jnp.take_along_axis(
            logits_BxCxR, U + 1 + jnp.clip(word_BxC, 0, L - 1)[..., None], -1
        )[..., 0]
        inside_BxC = jnp.take_along_axis(legal_BxW, w_BxC, 1)
        child_BxCxN = (
            (parent_N == node_BxC[..., None])
            & (jnp.arange(N) > 0)
            & (inside_BxC[..., None] | ~only_inside_N)
            & valid_BxC[..., None]
        )
        tag_BxC = tag_at_N[node_BxC]
        closes_BxC = (tag_BxC >= 0) & (inside_BxC | (tag_BxC != INSIDE)) & valid_BxC
        if normaliser == "vocab":
            total_BxC = _logsumexp_vocabulary(model, decoder.params, hidden, max_logits)
        else:
            total_BxC = jnp.logaddexp(
                jax.nn.logsumexp(jnp.where(child_BxCxN, edge_BxCxN, -1e30), -1),
                jnp.where(closes_BxC, closing_BxC, -1e30),
            )
        same = w_BxC[:, :, None] == w_BxC[:, None, :]
        both = valid_BxC[:, :, None] & valid_BxC[:, None, :] & same
        is_parent = both & (parent_N[node_BxC][:, :, None] == node_BxC[:, None, :]) & (
            node_BxC > 0
        )[:, :, None]
        own = jnp.take_along_axis(  # [b, parent c', c]
            logits_BxCxR, jnp.broadcast_to(jnp.asarray(t.row)[node_BxC][:, None, :], (B, C, C)), 2
        ) - total_BxC[:, :, None]
        edge_BxC = jnp.where(is_parent, jnp.swapaxes(own, 1, 2), 0.0).sum(-1)
        known_BxC = jax.vmap(lambda b, w, n: b[w, n])(state.bound, w_BxC, node_BxC)
        value_BxC = jnp.where(is_parent.any(-1), edge_BxC, known_BxC)
        above = both & ancestor(node_BxC[:, None, :], node_BxC[:, :, None])
        log_p_BxC = jnp.where(above, value_BxC[:, None, :], 0.0).sum(-1)

        lead_BxC = log_p_BxC - total_BxC
        in_word_BxWxC = (w_BxC[:, None] == steps_W[:, None]) & valid_BxC[:, None]
        new_bound = jnp.where(
            in_word_BxWxC[..., None] & child_BxCxN[:, None],
            (lead_BxC[..., None] + edge_BxCxN)[:, None],
            -jnp.inf,
        ).max(2)
        ran = (in_word_BxWxC[..., None] & (node_BxC[..., None] == jnp.arange(N))[:, None]).any(2)
        new_u = jnp.where(
            in_word_BxWxC[..., None]
            & ((tag_BxC[..., None] == jnp.arange(T)) & closes_BxC[..., None])[:, None],
            (lead_BxC + closing_BxC)[:, None, :, None],
            -jnp.inf,
        ).max(2)
        if normaliser == "trie":
            # A node that leads to one tag alone has that tag's likelihood
            entry = np.array([
                next(n for n in (*trie.path[k, : trie.length[k]], 0) if t.sole[n] == k or n == 0)
                for k in range(T)
            ], np.int32)
            implied = jnp.where(entry > 0, new_bound[..., entry], -jnp.inf)
            new_u = jnp.maximum(new_u, implied)
            new_bound = jnp.where(jnp.asarray(t.sole) >= 0, -jnp.inf, new_bound)
        explored_before = state.u > -jnp.inf
        tag_legal = legal_BxW[..., None] | (jnp.arange(T) != INSIDE)
        complete = (explored_before | ~tag_legal).all(-1)
        new_bound = jnp.where(complete[..., None], -jnp.inf, new_bound)
        bound = jnp.where(ran, -jnp.inf, jnp.maximum(state.bound, new_bound))
        u = jnp.where(explored_before, state.u, new_u)

        # ---- settle
        after = judge(bound, u)
        have_key = (
            (jnp.clip(key_word - state.word[:, None], 0, W - 1)[:, None] == steps_W[:, None])
            & ((key_word >= state.word[:, None]) & (key_word < _DEAD))[:, None]
            & (key_node[:, None] == terminal_T[after.guess][..., None])
        ).any(-1)
        settled = after.done & have_key & active_BxW
        same_guess = after.guess == state.guess
        kept = jnp.cumprod(
            jnp.concatenate([jnp.ones((B, 1), jnp.int32), same_guess[:, :-1]], 1), 1
        ).astype(bool)
        go = jnp.cumprod(settled & kept, 1).astype(bool)
        n_B = go.sum(-1)
        rows_B1 = jnp.arange(B)[:, None]
        at = jnp.where(go, words_BxW, L)
        slots_word = key_word
        key_off = key_word - state.word[:, None]
        key_w = jnp.clip(key_off, 0, W - 1)
        key_tag = jnp.take_along_axis(after.guess, key_w, 1)
        key_live = jnp.where(
            key_off < 0,
            True,
            jnp.where(
                key_off < n_B[:, None],
                ancestor(key_node, terminal_T[key_tag]),
                jnp.take_along_axis(kept, key_w, 1),
            ),
        )
        slots_word = jnp.where(key_live, key_word, _DEAD)
        held = ((slots_word >= (state.word + n_B)[:, None]) & (slots_word < _DEAD)).sum(-1)
        crowded = held > roomy - C
        slots_word = jnp.where(
            crowded[:, None] & (slots_word > (state.word + n_B)[:, None]), _DEAD, slots_word
        )
        # Depends on the scores, so XLA knows that all reads of the cache come before and writes in place.
        live_BxC = slots_word[:, P:] < _DEAD
        cache = jax.tree.map(
            lambda old, new: jax.lax.dynamic_update_slice_in_dim(
                old, jnp.where(live_BxC[:, None, :, None], new, 0), state.fill, 2
            ),
            state.cache, block,
        )
        source = steps_W + n_B[:, None]
        stays = (source < W) & jnp.take_along_axis(kept, jnp.minimum(source, W - 1), 1)
        stays &= ~(crowded[:, None] & (steps_W > 0))
        source = jnp.minimum(source, W - 1)

        def slide(value, fresh):
            moved = jax.vmap(lambda x, i: x[i])(value, source)
            return jnp.where(stays.reshape(B, W, *(1,) * (value.ndim - 2)), moved, fresh)

        def write(old, new):
            return jax.lax.dynamic_update_slice_in_dim(old, new, state.fill, 1)

        last = jnp.take_along_axis(after.guess, jnp.maximum(n_B - 1, 0)[:, None], 1)[:, 0]
        new_lengths = length_T[after.guess]
        return _State(
            word=state.word + n_B,
            previous_tag=jnp.where(n_B > 0, last, state.previous_tag),
            root_position=state.root_position + jnp.where(go, 1 + new_lengths, 0).sum(-1),
            bound=slide(bound, fresh_N),
            u=slide(u, -jnp.inf),
            guess=slide(after.guess, OUTSIDE),
            cache=cache,
            slots=_Slots(
                write(slots_word[:, :P], slots_word[:, P:]),
                write(state.slots.node, node_BxC),
                write(state.slots.position, pos_BxC),
            ),
            fill=state.fill + C,
            tags=state.tags.at[rows_B1, at].set(after.guess, mode="drop"),
            log_likelihoods=state.log_likelihoods.at[rows_B1, at].set(u, mode="drop"),
            unexplored=state.unexplored.at[rows_B1, at].set(after.unexplored, mode="drop"),
            expanded=state.expanded + valid_BxC.sum(-1),
            passes=state.passes + unfinished(state),
        )

    def tidy(state: _State) -> _State:
        """Moves the slots in use together."""
        keep = state.slots.word < _DEAD
        order = jnp.argsort(~keep, axis=1, stable=True)
        slots = jax.tree.map(lambda x: jnp.take_along_axis(x, order, 1), state.slots)
        return state._replace(
            cache=take_slots(state.cache, order), slots=slots, fill=keep.sum(-1).max()
        )

    def score_all(state: _State) -> _State:
        blocks = trie.blocks(max(max_nodes, D + 1))

        def one(root_token, root_position, closing, row: Encoded, prefix: Prefix):
            row, prefix = jax.tree.map(lambda x: x[None], (row, prefix))
            scores, _ = score_trie(
                decoder, trie, blocks, root_token, root_position[None], closing, row, prefix,
                normaliser=normaliser, max_logits=max(1, max_logits // B),
            )
            return jax.tree.map(lambda x: x[0], scores)

        used = state.slots.word < state.word[:, None]
        at = jnp.minimum(state.word, L - 1)
        scores = jax.vmap(one)(
            sentinel_ids[at], state.root_position, sentinel_ids[at + 1], encoded,
            Prefix(state.cache, state.slots.position, used),
        )
        u_BxT = tag_log_likelihoods(trie, scores, state.previous_tag != OUTSIDE)
        wait = waiting(state)
        first = wait[:, None] & (steps_W == 0)
        later = wait[:, None] & (steps_W > 0)
        u = jnp.where(first[..., None], u_BxT[:, None], jnp.where(later[..., None], -jnp.inf, state.u))
        bound = jnp.where(
            first[..., None], -jnp.inf, jnp.where(later[..., None], fresh_N, state.bound)
        )
        tag = jnp.argmax(u_BxT, -1).astype(jnp.int32)
        guess = jnp.where(first, tag[:, None], jnp.where(later, OUTSIDE, state.guess))
        word = state.slots.word
        drop = wait[:, None] & (
            (word > state.word[:, None])
            | ((word == state.word[:, None]) & ~ancestor(state.slots.node, terminal_T[tag][:, None]))
        )
        return state._replace(
            u=u, bound=bound, guess=guess,
            slots=state.slots._replace(word=jnp.where(drop, _DEAD, word)),
            expanded=state.expanded + jnp.where(wait, N, 0),
        )

    def call_for_all(state):
        wait = waiting(state).sum()
        return (wait > 0) & (4 * wait >= unfinished(state).sum())

    def inner(state):
        return unfinished(state).any() & (state.fill + C <= P) & ~call_for_all(state)

    def outer_step(state):
        state = jax.lax.while_loop(inner, step, state)
        state = jax.lax.cond(call_for_all(state), score_all, lambda s: s, state)
        return jax.lax.cond(state.fill + C > P, tidy, lambda s: s, state)

    shape = (B, config.num_heads, P, config.d_kv)
    zeros = jnp.zeros(shape, jnp.dtype(config.dtype))
    state = _State(
        word=jnp.zeros(B, jnp.int32),
        previous_tag=jnp.full(B, OUTSIDE, jnp.int32),
        root_position=jnp.ones(B, jnp.int32),
        bound=jnp.broadcast_to(fresh_N, (B, W, N)),
        u=jnp.full((B, W, T), -jnp.inf),
        guess=jnp.full((B, W), OUTSIDE, jnp.int32),
        cache=tuple(KeyValue(zeros, zeros) for _ in range(config.num_decoder_layers)),
        slots=_Slots(
            jnp.full((B, P), _DEAD, jnp.int32), jnp.zeros((B, P), jnp.int32), jnp.zeros((B, P), jnp.int32)
        ),
        fill=jnp.zeros((), jnp.int32),
        tags=jnp.zeros((B, L), jnp.int32),
        log_likelihoods=jnp.zeros((B, L, T), jnp.float32),
        unexplored=jnp.zeros((B, L), jnp.float32),
        expanded=jnp.zeros(B, jnp.int32),
        passes=jnp.zeros(B, jnp.int32),
    )
    state = jax.lax.while_loop(lambda s: unfinished(s).any(), outer_step, state)
    return Search(
        state.tags, state.log_likelihoods, state.unexplored, state.expanded, state.passes
    )
