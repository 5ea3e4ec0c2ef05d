"""How probable a span is: from the posteriors of its words, or from what a beam holds.

Tags are ids of an sBIO set: O = 0, I = 1, labels from 2. Shape suffixes: L words, K tags, S sequences.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_O, _I = 0, 1


class BeamPart(NamedTuple):
    """What a beam says about the words from `start` on.

    A sentence that was tagged at once has one part. One that was tagged in windows has a part for
    every window, with the words that the window owns; the parts cover the sentence in order.
    """

    start: int
    """The part's first word within the sentence."""
    tags_SxL: NDArray[np.integer]
    """int[S, L]: the beam's legal sequences over the part's words (as `cut_beam` leaves them)."""
    scores_S: NDArray[np.floating]
    """float[S]: the log-likelihood of each whole sequence; -inf where there is no such sequence."""


def cut_beam(tags_SxL: NDArray[np.integer], start: int, end: int) -> NDArray[np.int32]:
    """Each sequence's words `start` to `end` (exclusive), int32[S, end - start].

    A span that is open at `start` begins there: its label takes the place of I.
    """
    tags = np.asarray(tags_SxL, np.int32)
    part = tags[:, start:end].copy()
    if part.shape[1]:
        for row in np.flatnonzero(part[:, 0] == _I):
            before = tags[row, : start + 1]
            labels = before[before != _I]
            part[row, 0] = labels[-1] if len(labels) else _O
    return part


def greedy_span_score(
    posteriors_LxK: NDArray[np.floating], tag_ids_L: NDArray[np.integer], start: int, end: int
) -> float:
    """The score of the span of words `start` to `end` (exclusive) in one decoded sequence.

    By the chain rule it is the probability of the span given the tags before it: the posteriors of
    its words' tags, multiplied, and, where words follow, that the next tag does not go on with it
    (is not I). A posterior is conditioned on the tags before its word.
    """
    words = np.arange(start, end)
    score = float(np.prod(posteriors_LxK[words, tag_ids_L[words]], dtype=np.float64))
    if end < len(tag_ids_L):
        score *= 1.0 - float(posteriors_LxK[end, _I])
    return score


def beam_span_score(
    parts: Sequence[BeamPart], start: int, end: int, label_id: int, *, temperature: float = 1.0
) -> float:
    """The share of the beam's probability that lies on sequences which contain a span.

    Hashimoto et al. 2023 (arXiv 2212.10767): the sum of the probabilities of the beam's sequences
    that have exactly this span with this label, divided by the sum over the whole beam. A sequence's
    probability is exp(score / temperature). (The division by the temperature, and the rule for
    windows, are ours.) A span that lies in several parts has the product of their scores.

    Args:
        parts: of one sentence, in order.
        start, end: its words, `end` exclusive.
        label_id: the id of its label in the sBIO tag set.

    Raises:
        ValueError: a part has no sequence (all scores -inf).
    """
    score = 1.0
    for part in parts:
        length = part.tags_SxL.shape[1]
        first, last = max(start - part.start, 0), min(end - part.start, length)
        if first < last:
            score *= _share(part, first, last, label_id, temperature)
    return score


def _share(part: BeamPart, start: int, end: int, label_id: int, temperature: float) -> float:
    """The share of sequences with the span, whose words are counted from the part's first."""
    tags = part.tags_SxL
    contains_S = (tags[:, start] == label_id) & (tags[:, start + 1 : end] == _I).all(axis=1)
    if end < tags.shape[1]:
        contains_S &= tags[:, end] != _I
    scores = np.asarray(part.scores_S, np.float64) / temperature
    highest = scores.max()
    if not np.isfinite(highest):
        raise ValueError("a beam without sequences has no span scores")
    weights = np.exp(scores - highest)
    return float(weights[contains_S].sum() / weights.sum())
