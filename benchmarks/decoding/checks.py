"""Whether the decoders are right: against brute force, against each other, and always legal.

Brute force spells every tag out behind its prefix and runs `T5.hidden` on whole targets: no cache,
no trie, no slots.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common.workload import Model, Tags, draw_weights, random_batch
from distill_jax.integers import round_up
from distill_jax.models.t5 import T5
from distill_jax.sentscore import INSIDE, OUTSIDE, SentScoreBatch

TIE = 1e-3
"""Two tags (or tokens) whose scores differ by less may be chosen either way."""

_CHUNK = 32


class Query(NamedTuple):
    """A tag whose u is asked for: in this row of the batch, behind these tags."""

    row: int
    before: tuple[int, ...]
    tag: int


def brute_force(
    model: Model, batch: SentScoreBatch, tags: Tags, queries: Sequence[Query], normaliser: str
) -> np.ndarray:
    """u of each query, float32; -inf where the tag is illegal."""
    longest = max(map(len, tags))
    marks = np.asarray(batch.sentinel_ids).tolist()
    spelled = [_spell(tags, query, marks) for query in queries]
    width = max(len(ids) for ids, _ in spelled)
    options = _Options(tags) if normaliser == "trie" else None
    count = len(queries)
    targets = np.zeros((count, width), np.int32)
    places = np.zeros((count, longest + 1), np.int32)
    used = np.zeros((count, longest + 1), bool)
    widest = max(map(len, options.all())) if options else 1
    allowed = np.full((count, longest + 1, widest), -1, np.int32)
    for number, (query, (ids, start)) in enumerate(zip(queries, spelled, strict=True)):
        targets[number, : len(ids)] = ids
        size = len(ids) - start
        places[number, :size] = np.arange(start, len(ids))
        used[number, :size] = True
        if options:
            for depth in range(size):
                tokens = options.after(ids[start : start + depth], _inside_legal(query), ids[-1])
                allowed[number, depth, : len(tokens)] = tokens
    run = _teacher_forced(model.t5, options is not None)
    found = []
    encoder = np.asarray(batch.encoder_tokens)[[query.row for query in queries]]
    for start in range(0, count, _CHUNK):
        # The last chunk repeats its last query, so that one compiled shape serves all.
        rows = np.minimum(np.arange(start, start + _CHUNK), count - 1)
        arrays = (x[rows] for x in (encoder, targets, places, used, allowed))
        found.append(np.asarray(run(model.params, *arrays)))
    u = np.concatenate(found)[:count]
    illegal = [query.tag == INSIDE and not _inside_legal(query) for query in queries]
    return np.where(illegal, -np.inf, u)


def check_scores(
    model: Model,
    batch: SentScoreBatch,
    tags: Tags,
    chosen_BxL: np.ndarray,
    u_BxLxK: np.ndarray,
    normaliser: str,
) -> dict[str, Any]:
    """Compares a decoder's tags and log-likelihoods with brute force behind the decoder's own tags.

    -inf in `u` at a legal tag means that the decoder did not need it: such are not compared.
    """
    queries = [
        Query(row, tuple(chosen_BxL[row, :word].tolist()), tag)
        for row, words in enumerate(np.asarray(batch.num_words).tolist())
        for word in range(words)
        for tag in range(len(tags))
    ]
    expected = brute_force(model, batch, tags, queries, normaliser)
    rows = np.array([query.row for query in queries]).reshape(-1, len(tags))[:, 0]
    words = np.array([len(query.before) for query in queries]).reshape(-1, len(tags))[:, 0]
    expected = expected.reshape(-1, len(tags))
    return compare_scores(chosen_BxL[rows, words], u_BxLxK[rows, words], expected)


def compare_scores(
    chosen_W: np.ndarray, u_WxK: np.ndarray, other_WxK: np.ndarray
) -> dict[str, Any]:
    """Tags that differ though it is no tie, and the largest relative difference of u."""
    best = other_WxK.argmax(-1)
    margin = other_WxK.max(-1) - np.take_along_axis(other_WxK, chosen_W[:, None], -1)[:, 0]
    both = np.isfinite(u_WxK) & np.isfinite(other_WxK)
    other = np.where(both, other_WxK, -1.0)
    error = np.abs(np.where(both, u_WxK, other) - other) / np.abs(other)
    return {
        "words": len(chosen_W),
        "different_tags": int(np.sum((best != chosen_W) & ~(margin < TIE))),
        "ties": int(np.sum((best != chosen_W) & (margin < TIE))),
        "compared": int(both.sum()),
        "worst_relative_error": float(error.max()),
    }


def check_greedy(
    model: Model, batch: SentScoreBatch, tags: Tags, chosen_BxL: np.ndarray
) -> dict[str, Any]:
    """Whether every token of the chosen tags has the highest logit of the tokens that were legal."""
    options = _Options(tags)
    marks = np.asarray(batch.sentinel_ids).tolist()
    steps, wrong, ties = 0, 0, 0
    for row, words in enumerate(np.asarray(batch.num_words).tolist()):
        chosen = tuple(chosen_BxL[row, :words].tolist())
        ids = [marks[0]]
        for tag, sentinel in zip(chosen, marks[1:], strict=False):
            ids += [*tags[tag], sentinel]
        padded = np.zeros((1, round_up(len(ids), 16)), np.int32)
        padded[0, : len(ids)] = ids
        logits = np.asarray(
            _all_logits(model.t5)(model.params, batch.encoder_tokens[row : row + 1], padded)
        )[0]
        place = 1
        for word, tag in enumerate(chosen):
            legal = word > 0 and chosen[word - 1] != OUTSIDE
            sequence = [*tags[tag], marks[word + 1]]
            for depth, token in enumerate(sequence):
                allowed = options.after(sequence[:depth], legal, marks[word + 1])
                # Behind an illegal token nothing is allowed.
                best = logits[place, allowed].max() if token in allowed else np.inf
                lost = float(best - logits[place, token])
                steps += 1
                wrong += lost >= TIE
                ties += 0 < lost < TIE
                place += 1
    return {"steps": steps, "different_tokens": int(wrong), "ties": int(ties)}


def legality(
    decoders: Mapping[str, Any],
    model: Model,
    *,
    num_tags: int,
    sentences: int,
    batch_size: int,
    max_words: int,
    seed: int = 0,
) -> dict[str, dict[str, int]]:
    """How many of so many random sentences each decoder tags legally, new weights every batch.

    The last norm's scale is drawn too: distributions from flat to peaked.
    """
    rng = np.random.default_rng(seed)
    config = model.t5.config
    legal = dict.fromkeys(decoders, 0)
    done = 0
    while done < sentences:
        rows = min(batch_size, sentences - done)
        params = draw_weights(config, jax.random.key(int(rng.integers(2**31))))
        norm = params["decoder"]["decoder_norm"]
        norm["scale"] = norm["scale"] * float(rng.uniform(0.5, 8.0))
        # Rows beyond the number asked for have no words, so that one compiled shape serves all.
        num_words = [int(rng.integers(1, max_words + 1)) for _ in range(rows)]
        num_words += [0] * (batch_size - rows)
        batch = random_batch(rng, config.vocab_size, num_words, max_words, width=3 * max_words + 2)
        for name, decoder in decoders.items():
            tags = np.asarray(decoder(params, batch).tags)[:rows]
            legal[name] += int(is_legal(tags, np.array(num_words[:rows]), num_tags).sum())
        done += rows
    return {name: {"sentences": sentences, "legal": count} for name, count in legal.items()}


def is_legal(tags_BxL: np.ndarray, num_words_B: np.ndarray, num_tags: int) -> np.ndarray:
    """bool [B]: tags of the set, no I at the start or after O, nothing beyond the words."""
    inside = np.arange(tags_BxL.shape[1]) < np.asarray(num_words_B)[:, None]
    previous = np.pad(tags_BxL[:, :-1], ((0, 0), (1, 0)), constant_values=OUTSIDE)
    good = (tags_BxL >= 0) & (tags_BxL < num_tags)
    good &= ~((tags_BxL == INSIDE) & (previous == OUTSIDE))
    good &= inside | (tags_BxL == 0)
    return np.asarray(good.all(-1))


class _Options:
    """Which tokens may come next inside a word."""

    def __init__(self, tags: Tags) -> None:
        self._tags = [tuple(ids) for ids in tags]

    @functools.lru_cache(maxsize=4096)  # noqa: B019 (lives as long as one check)
    def _next(self, done: tuple[int, ...], inside_legal: bool) -> tuple[tuple[int, ...], bool]:
        fitting = [
            ids
            for tag, ids in enumerate(self._tags)
            if ids[: len(done)] == done and (inside_legal or tag != INSIDE)
        ]
        more = {ids[len(done)] for ids in fitting if len(ids) > len(done)}
        return tuple(sorted(more)), done in fitting

    def after(self, done: Sequence[int], inside_legal: bool, closing: int) -> list[int]:
        """The tokens that lead to a legal tag from `done`, and `closing` where one is complete."""
        more, complete = self._next(tuple(done), inside_legal)
        return [*more, closing] if complete else list(more)

    def all(self) -> Iterator[list[int]]:
        """`after` for every beginning of a tag."""
        for ids in self._tags:
            for depth in range(len(ids) + 1):
                yield self.after(ids[:depth], True, -1)


def _inside_legal(query: Query) -> bool:
    return bool(query.before) and query.before[-1] != OUTSIDE


def _spell(tags: Tags, query: Query, marks: Sequence[int]) -> tuple[list[int], int]:
    """`s_0 t_1 s_1 ... t s`, and where the queried tag begins."""
    ids = [marks[0]]
    for tag, sentinel in zip(query.before, marks[1:], strict=False):
        ids += [*tags[tag], sentinel]
    start = len(ids)
    return [*ids, *tags[query.tag], marks[len(query.before) + 1]], start


def _hidden(t5: T5, params: Any, encoder: jax.Array, targets: jax.Array) -> jax.Array:
    """The decoder's states at each target, which is fed one place later."""
    return t5.apply(
        {"params": params},
        encoder,
        (encoder != 0).astype(jnp.int32),
        jnp.pad(targets[:, :-1], ((0, 0), (1, 0)), constant_values=t5.config.decoder_start_id),
        jnp.ones_like(targets),
        method="hidden",
    )


@functools.cache
def _teacher_forced(t5: T5, restricted: bool) -> Any:
    @jax.jit
    def u(params, encoder, targets, places, used, allowed):  # type: ignore[no-untyped-def]
        hidden = _hidden(t5, params, encoder, targets)
        hidden = jnp.take_along_axis(hidden, places[:, :, None], axis=1)
        logits = t5.apply({"params": params}, hidden, method="logits")
        wanted = jnp.take_along_axis(targets, places, axis=1)
        picked = jnp.take_along_axis(logits, wanted[:, :, None], axis=2)[:, :, 0]
        if restricted:
            logits = jnp.take_along_axis(logits, allowed.clip(0), axis=2)
            logits = jnp.where(allowed >= 0, logits, -jnp.inf)
        total = jax.nn.logsumexp(logits, axis=-1)
        return jnp.where(used, picked - total, 0.0).sum(-1)

    return u


@functools.cache
def _all_logits(t5: T5) -> Any:
    @jax.jit
    def logits(params, encoder, targets):  # type: ignore[no-untyped-def]
        hidden = _hidden(t5, params, encoder, targets)
        return t5.apply({"params": params}, hidden, method="logits")

    return logits
