"""One labelled sentence as the bytes of a record, and back.

A record is a JSON head with its length before it (stable id, words, tags), then little-endian
arrays. Log-posteriors are kept as float16, not posteriors: under a temperature of 10 a tag of
probability 1e-8 still weighs 0.16 of the first, and float16 holds its logarithm but not the number.

With `top_k` only the k best tags of a word are kept, and the mass of all others: read back, that
mass is spread evenly over the other tags that were legal, so that nothing is renormalised away.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from distill_jax.errors import UserError
from distill_jax.tagging import Sentence

_O, _I = 0, 1  # the first two tags of every sBIO tag set


class TeacherLabel(NamedTuple):
    """One sentence of the pool as the teacher tagged it."""

    words: tuple[str, ...]
    tag_ids: np.ndarray
    """int32[L], sBIO ids."""
    log_posteriors: np.ndarray
    """float32[L, K]: log softmax(u) to float16's precision; -inf for tags that were illegal."""


class LabelSequence(Protocol):
    """Labels by number: a list, or a store that reads them when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> TeacherLabel: ...

    def __iter__(self) -> Iterator[TeacherLabel]: ...


def encode_label(
    sentence: Sentence,
    tag_ids: np.ndarray,
    scores: np.ndarray,
    num_tags: int,
    top_k: int | None = None,
) -> bytes:
    """The record of a sentence: tags int32[L], and scores u float32[L, K] of any normalisation.

    Raises:
        UserError: a word has no finite score.
        ValueError: the arrays are of other shapes than the sentence has.
    """
    words = len(sentence.words)
    if tag_ids.shape != (words,) or scores.shape != (words, num_tags):
        raise ValueError(
            f"{words} words and {num_tags} tags, but tag ids {tag_ids.shape} and scores {scores.shape}"
        )
    log_posteriors = _log_softmax(scores.astype(np.float64), sentence)
    head = json.dumps(
        {"id": sentence.example_id, "words": sentence.words, "tags": tag_ids.tolist()},
        separators=(",", ":"),
    ).encode()
    if top_k is None:
        arrays = [_half(log_posteriors)]
    else:
        # Stable: equal scores keep the order of the tags.
        best = np.argsort(-log_posteriors, axis=-1, kind="stable")[:, :top_k]
        rest = np.exp(log_posteriors)
        np.put_along_axis(rest, best, 0.0, axis=-1)
        with np.errstate(divide="ignore"):
            tail = np.log(rest.sum(-1))
        kept = np.take_along_axis(log_posteriors, best, axis=-1)
        arrays = [best.astype("<u2"), _half(kept), _half(tail)]
    return b"".join([len(head).to_bytes(4, "little"), head, *(array.tobytes() for array in arrays)])


def decode_label(record: bytes, num_tags: int, top_k: int | None = None) -> TeacherLabel:
    """The inverse of `encode_label`, up to float16's precision and the spread of the tail."""
    end = 4 + int.from_bytes(record[:4], "little")
    head = json.loads(record[4:end])
    words, tags = tuple(head["words"]), np.array(head["tags"], np.int32)
    if top_k is None:
        log_posteriors = np.frombuffer(record[end:], "<f2").astype(np.float32)
        return TeacherLabel(words, tags, log_posteriors.reshape(len(words), num_tags))
    count = min(top_k, num_tags)
    split = end + 2 * len(words) * count
    best = np.frombuffer(record[end:split], "<u2").astype(np.int64).reshape(len(words), count)
    values = np.frombuffer(record[split:], "<f2").astype(np.float32)
    kept = values[: best.size].reshape(best.shape)
    tail = values[best.size :][:, None]
    other = np.ones((len(words), num_tags), bool)
    np.put_along_axis(other, best, False, axis=-1)
    previous = np.pad(tags, (1, 0))[: len(words)]
    other[:, _I] &= previous != _O
    share = tail - np.log(np.maximum(other.sum(-1, keepdims=True), 1), dtype=np.float32)
    completed = np.where(other, share, np.float32(-np.inf))
    np.put_along_axis(completed, best, kept, axis=-1)
    return TeacherLabel(words, tags, completed)


def _log_softmax(scores: np.ndarray, sentence: Sentence) -> np.ndarray:
    highest = scores.max(axis=-1, keepdims=True)
    if not np.isfinite(highest).all():
        raise UserError(
            f"sentence {' '.join(sentence.words[:8])!r}: the teacher's scores are not finite; "
            "train the teacher again, with a lower learning rate if it diverged"
        )
    return scores - np.log(np.exp(scores - highest).sum(axis=-1, keepdims=True)) - highest


def _half(log_posteriors: np.ndarray) -> np.ndarray:
    # What float16 cannot hold is still not illegal.
    lowest = np.finfo(np.float16).min
    clipped = np.where(np.isneginf(log_posteriors), -np.inf, np.maximum(log_posteriors, lowest))
    return clipped.astype("<f2")
