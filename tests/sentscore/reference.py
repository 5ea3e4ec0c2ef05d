"""Tiny random T5s, and SenTScore by brute force: every tag spelled out and scored on its own.

The reference uses `T5.__call__` on whole targets only: no cache, no trie, no slots.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.sentscore import SentScoreBatch, make_batch

Tags = tuple[tuple[int, ...], ...]

VOCAB, WORDS, LONGEST, MAX_TAGS = 48, 4, 3, 5
SENTINELS = np.arange(VOCAB - 1, VOCAB - 2 - WORDS, -1)
SOURCE = 2 * WORDS + 2
TARGET = 1 + WORDS * (1 + LONGEST) + 1
ROWS = WORDS * MAX_TAGS

CONFIGS = {
    "v1.0": {
        "tied_embedding": True,
        "activation": "relu",
        "gated": False,
        "num_decoder_layers": 2,
    },
    "v1.1": {},
    "umt5": {"relative_bias_per_layer": True, "num_decoder_layers": 2},
}

# I ("3 4") is alone, shares a token, is a prefix of another tag, has another as its prefix.
LABEL_SETS: list[Tags] = [
    ((2,), (3,), (4,), (5,)),
    ((2,), (3, 4), (3, 5, 2), (4,)),
    ((2, 3), (3,), (3, 4), (3, 4, 5), (2,)),
    ((2,), (3, 4), (3,), (5, 5, 5)),
]


@functools.cache
def tiny_t5(family: str, seed: int = 0, **changes: Any) -> tuple[T5, Any]:
    """A model and random parameters, scaled up so that distributions are peaked."""
    fields: dict[str, Any] = {
        "vocab_size": VOCAB,
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 24,
        "num_heads": 2,
        "num_encoder_layers": 1,
        "num_decoder_layers": 1,  # compiling is what these tests spend their time on
        "relative_buckets": 8,
        "relative_max_distance": 10,  # shorter than the targets: the last bucket is reached
    } | CONFIGS[family]
    model = T5(T5Config(**(fields | changes)))
    one = np.ones((1, 2), np.int32)
    shapes = nn.unbox(jax.eval_shape(model.init, jax.random.key(0), one, one, one, one))["params"]
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], shape: jax.ShapeDtypeStruct) -> np.ndarray:
        name = jax.tree_util.keystr(path)
        if "norm" in name:
            return np.full(shape.shape, 3.0 if "decoder_norm" in name else 1.0, np.float32)
        scale = shape.shape[0] ** -0.5 if "kernel" in name else 1.0
        return (rng.normal(size=shape.shape) * scale).astype(np.float32)

    return model, jax.tree_util.tree_map_with_path(draw, shapes)


def random_batch(seed: int, num_words: Sequence[int], max_words: int = WORDS) -> SentScoreBatch:
    """Sentences of one-token words."""
    rng = np.random.default_rng(seed)
    tokens = np.zeros((len(num_words), SOURCE), np.int32)
    for row, words in enumerate(num_words):
        for word in range(words):
            tokens[row, 2 * word : 2 * word + 2] = SENTINELS[word], rng.integers(6, 40)
        if words:
            tokens[row, 2 * words : 2 * words + 2] = SENTINELS[words], 1
    return make_batch(tokens, np.array(num_words), SENTINELS, max_words=max_words)


def spelled(tags: Tags, sequence: Sequence[int]) -> list[int]:
    """`s_0 t_1 s_1 ... t_n s_n`."""
    ids = [int(SENTINELS[0])]
    for word, tag in enumerate(sequence):
        ids += [*tags[tag], int(SENTINELS[word + 1])]
    return ids


def legal_tags(tags: Tags, previous: int) -> list[int]:
    """Tags that may follow `previous` (0 also stands for the start)."""
    return [tag for tag in range(len(tags)) if not (tag == 1 and previous == 0)]


@functools.cache
def _teacher_forced(model: T5) -> Any:
    @jax.jit
    def log_likelihoods(params, encoder_row, targets, counted, allowed):  # type: ignore[no-untyped-def]
        rows = targets.shape[0]
        encoder = jnp.broadcast_to(encoder_row, (rows, len(encoder_row)))
        decoder = jnp.pad(targets[:, :-1], ((0, 0), (1, 0)))
        logits = model.apply(
            {"params": params},
            encoder,
            (encoder != 0).astype(jnp.int32),
            decoder,
            jnp.ones_like(decoder),
        )
        log_p = jax.nn.log_softmax(jnp.where(allowed, logits, -1e30), axis=-1)
        picked = jnp.take_along_axis(log_p, targets[:, :, None], axis=-1)[:, :, 0]
        return jnp.where(counted, picked, 0.0).sum(-1)

    return log_likelihoods


def brute_force_u(
    model: T5,
    params: Any,
    encoder_row: np.ndarray,
    tags: Tags,
    queries: Sequence[tuple[Sequence[int], int]],
    normaliser: str,
) -> jax.Array:
    """u of each (tags before the word, tag); differentiable with respect to `params`."""
    targets = np.zeros((ROWS, TARGET), np.int32)
    counted = np.zeros((ROWS, TARGET), bool)
    allowed = np.ones((ROWS, TARGET, VOCAB), bool)
    assert len(queries) <= ROWS
    for row, (before, tag) in enumerate(queries):
        prefix, whole = spelled(tags, before), spelled(tags, [*before, tag])
        targets[row, : len(whole)] = whole
        counted[row, len(prefix) : len(whole)] = True
        if normaliser == "trie":
            legal = legal_tags(tags, before[-1] if before else 0)
            for done in range(len(tags[tag]) + 1):
                continuations = {
                    (*tags[other], whole[-1])[done]
                    for other in legal
                    if tags[other][:done] == tags[tag][:done]
                }
                allowed[row, len(prefix) + done] = np.isin(np.arange(VOCAB), list(continuations))
    u = _teacher_forced(model)(params, jnp.asarray(encoder_row), targets, counted, allowed)
    return u[: len(queries)]


def brute_force_decode(
    model: T5, params: Any, encoder_row: np.ndarray, words: int, tags: Tags, normaliser: str
) -> tuple[list[int], np.ndarray, float]:
    """Greedy tags, u `[words, K]` (-inf where illegal), and the smallest margin of any choice."""
    chosen: list[int] = []
    vectors, margin = [], np.inf
    for _ in range(words):
        legal = legal_tags(tags, chosen[-1] if chosen else 0)
        u = np.full(len(tags), -np.inf)
        u[legal] = brute_force_u(
            model, params, encoder_row, tags, [(chosen, tag) for tag in legal], normaliser
        )
        best = np.sort(u)[::-1]
        if len(legal) > 1:
            margin = min(margin, float(best[0] - best[1]))
        chosen.append(int(np.argmax(u)))
        vectors.append(u)
    return chosen, np.array(vectors).reshape(words, len(tags)), margin
