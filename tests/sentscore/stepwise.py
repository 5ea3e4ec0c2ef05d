"""Greedy decoding by brute force: after every token the whole target goes through the model again.

The reference uses `T5.__call__` only: no cache, no trie, no automaton.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from distill_jax.models.t5 import T5
from tests.sentscore.reference import Tags, legal_tags

MAX_TARGET = 72


@functools.cache
def _logits(model: T5) -> Any:
    @jax.jit
    def logits(params, encoder_row, decoder, position):  # type: ignore[no-untyped-def]
        return model.apply(
            {"params": params},
            encoder_row[None],
            (encoder_row != 0).astype(jnp.int32)[None],
            decoder[None],
            jnp.ones_like(decoder)[None],
        )[0, position]

    return logits


def next_logits(
    model: T5, params: Any, encoder_row: np.ndarray, written: Sequence[int]
) -> np.ndarray:
    """The logits of the token that follows those written, `[V]`."""
    decoder = np.zeros(MAX_TARGET, np.int32)
    decoder[1 : 1 + len(written)] = written
    return np.asarray(_logits(model)(params, encoder_row, decoder, len(written)))


class StepByStep(NamedTuple):
    tags: list[int]
    margin: float
    """The smallest lead of a token chosen over the next best."""
    chains: list[int]
    """How many tokens come before each decision, counted from the one before (that one's own token
    included): what the model has to read."""


def brute_force_greedy(
    model: T5,
    params: Any,
    encoder_row: np.ndarray,
    words: int,
    tags: Tags,
    sentinels: Sequence[int],
) -> StepByStep:
    """Token by token, the best of all tokens that some legal tag goes on with."""
    found: list[int] = []
    written = [int(sentinels[0])]
    margin, chains = np.inf, [2]  # the start token and s_0
    for word in range(words):
        spelling: list[int] = []
        closing = int(sentinels[word + 1])
        while True:
            # Each legal tag that begins like this, and the token it goes on with.
            going_on = {
                tag: (*tags[tag], closing)[len(spelling)]
                for tag in legal_tags(tags, found[-1] if found else 0)
                if list(tags[tag][: len(spelling)]) == spelling
            }
            if word == words - 1 and len(going_on) == 1:
                return StepByStep([*found, *going_on], margin, chains[:-1])
            tokens = sorted(set(going_on.values()))
            token = tokens[0]
            if len(tokens) > 1:
                logits = next_logits(model, params, encoder_row, written)[tokens]
                best = np.sort(logits)[::-1]
                margin = min(margin, float(best[0] - best[1]))
                token = tokens[int(np.argmax(logits))]
                chains.append(0)
            chains[-1] += 1
            written.append(token)
            if token == closing:
                (tag,) = [tag for tag in going_on if list(tags[tag]) == spelling]
                found.append(tag)
                break
            spelling.append(token)
    return StepByStep(found, margin, chains[:-1])


def brute_force_free(
    model: T5, params: Any, encoder_row: np.ndarray, max_length: int, eos_id: int
) -> tuple[list[int], float]:
    """The ids up to the end of sequence, included, and the smallest lead of any choice."""
    written: list[int] = []
    margin = np.inf
    while len(written) < max_length and written[-1:] != [eos_id]:
        logits = next_logits(model, params, encoder_row, written)
        best = np.sort(logits)[::-1]
        margin = min(margin, float(best[0] - best[1]))
        written.append(int(np.argmax(logits)))
    return written, margin
