"""The best legal sBIO sequence under per-word scores.

Only two things are illegal in sBIO: `I` at the start and `I` after `O`. Whether the last word is
inside a span is therefore all that matters for what follows, so Viterbi needs two states, not K,
and costs O(L·K) for the maxima over labels plus O(L).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_O, _I, _FIRST_LABEL = 0, 1, 2
_DIVERGED = "scores hold NaN or +inf; the model that made them has diverged"


def constrained_tags(
    scores_LxK: NDArray[np.floating], lengths: Sequence[int] | None = None
) -> NDArray[np.int32]:
    """The sBIO ids, int32[L], of the legal sequence with the highest sum of scores (exact).

    Args:
      scores_LxK: a score (log-probability or logit) a word and tag, in sBIO order; -inf forbids a
        tag. If every legal sequence is forbidden, some legal sequence is returned.
      lengths: words of each sentence, where the scores are those of several, one behind the other.

    Raises `ValueError` for another rank, K < 2, NaN or +inf, or lengths that do not add up to L.
    """
    scores_LxK = np.asarray(scores_LxK)
    if scores_LxK.ndim != 2 or scores_LxK.shape[1] < _FIRST_LABEL:
        raise ValueError(
            f"scores must be [length, tags], 2 tags at least, not of shape {scores_LxK.shape}"
        )
    length, num_tags = scores_LxK.shape
    if lengths is None:
        lengths = [length]
    elif sum(lengths) != length or min(lengths, default=0) < 0:
        raise ValueError(f"lengths must add up to {length} words, not {list(lengths)}")
    if num_tags == _FIRST_LABEL or not length:
        return np.zeros(length, np.int32)  # without labels nothing but O is legal
    label_L = scores_LxK[:, _FIRST_LABEL:].argmax(-1) + _FIRST_LABEL
    parts_3xL = np.empty((3, length), np.float64)
    parts_3xL[:2] = scores_LxK.T[:_FIRST_LABEL]
    parts_3xL[2] = scores_LxK[np.arange(length), label_L]
    if not (parts_3xL < np.inf).all():
        raise ValueError(_DIVERGED)
    outside, inside, opening = parts_3xL.tolist()
    labels = label_L.tolist()
    tags: list[int] = []
    end = 0
    for length in lengths:
        start, end = end, end + length
        tags += _best(outside[start:end], inside[start:end], opening[start:end], labels[start:end])
    return np.array(tags, np.int32)


def _best(
    outside: list[float], inside: list[float], opening: list[float], labels: list[int]
) -> list[int]:
    """The best tags of one sentence, whose words have these scores for O, I, and their best label.

    In plain numbers, which for one sentence is many times faster than NumPy's steps over a batch of one.
    Ties go to `O`, and to `I` before a label: like argmax, to the lowest id.
    """
    outside_sum, inside_sum = 0.0, -math.inf
    ends_inside: list[bool] = []
    from_inside: list[bool] = []  # predecessor of "inside" is "inside"
    for out, go_on, opens in zip(outside, inside, opening, strict=True):
        continued = inside_sum + (go_on if go_on > opens else opens)
        opened = outside_sum + opens
        outside_sum = (outside_sum if outside_sum >= inside_sum else inside_sum) + out
        goes_on = continued > opened
        inside_sum = continued if goes_on else opened
        from_inside.append(goes_on)
        ends_inside.append(inside_sum > outside_sum)
    # Backwards. Legal whatever the scores: `I` is written only where the predecessor is inside.
    tags = [_O] * len(labels)
    is_inside = False
    next_is_outside = True
    for i in range(len(labels) - 1, -1, -1):
        # The predecessor of `O`, like the last word, is whichever state has the higher sum.
        if next_is_outside:
            is_inside = ends_inside[i]
        if is_inside:
            tags[i] = _I if from_inside[i] and inside[i] >= opening[i] else labels[i]
        next_is_outside = not is_inside
        is_inside = from_inside[i]
    return tags


def constrained_tags_batch(
    scores_BxLxK: NDArray[np.floating], lengths_B: NDArray[np.integer] | None = None
) -> NDArray[np.int32]:
    """`constrained_tags` for a padded batch: int32[B, L], `O` beyond each sentence's length.

    Args:
      scores_BxLxK: as in `constrained_tags`; what stands in the padding is never looked at.
      lengths_B: words in each sentence, 0 to L; all of them L if left out.

    Raises `ValueError` for wrong shapes or lengths, K < 2, and NaN or +inf inside a sentence.
    """
    scores_BxLxK = np.asarray(scores_BxLxK)
    if scores_BxLxK.ndim != 3 or scores_BxLxK.shape[-1] < _FIRST_LABEL:
        raise ValueError(
            f"scores must be [batch, length, tags], 2 tags at least, not {scores_BxLxK.shape}"
        )
    batch, length, num_tags = scores_BxLxK.shape
    lengths_B = np.full(batch, length) if lengths_B is None else np.asarray(lengths_B)
    if lengths_B.shape != (batch,) or np.any((lengths_B < 0) | (lengths_B > length)):
        raise ValueError(f"lengths must be {batch} numbers from 0 to {length}, not {lengths_B}")
    if num_tags == _FIRST_LABEL or not scores_BxLxK.size:
        return np.zeros((batch, length), np.int32)  # without labels nothing but O is legal

    # What each word gives for being outside, for continuing a span, and for opening its best span.
    label_BxL = scores_BxLxK[..., _FIRST_LABEL:].argmax(-1) + _FIRST_LABEL
    outside_BxL = scores_BxLxK[..., _O].astype(np.float64)
    continue_BxL = scores_BxLxK[..., _I].astype(np.float64)
    open_BxL = np.take_along_axis(scores_BxLxK, label_BxL[..., None], -1)[..., 0].astype(np.float64)
    padding_BxL = np.arange(length) >= lengths_B[:, None]
    for part_BxL in (outside_BxL, continue_BxL, open_BxL):
        part_BxL[padding_BxL] = 0.0  # makes both states equal there, and a tie is `O`
        if np.any(np.isnan(part_BxL) | (part_BxL == np.inf)):
            raise ValueError(_DIVERGED)

    # Ties go to `O`, and to `I` before a label: like argmax, to the lowest id.
    best_inside_BxL = np.maximum(continue_BxL, open_BxL)
    outside_sum_B, inside_sum_B = outside_BxL[:, 0], open_BxL[:, 0]
    ends_inside_BxL = np.zeros((batch, length), bool)
    from_inside_BxL = np.zeros((batch, length), bool)  # predecessor of "inside" is "inside"
    ends_inside_BxL[:, 0] = inside_sum_B > outside_sum_B
    for i in range(1, length):
        continued_B = inside_sum_B + best_inside_BxL[:, i]
        opened_B = outside_sum_B + open_BxL[:, i]
        outside_sum_B = np.maximum(outside_sum_B, inside_sum_B) + outside_BxL[:, i]
        inside_sum_B = np.maximum(continued_B, opened_B)
        from_inside_BxL[:, i] = continued_B > opened_B
        ends_inside_BxL[:, i] = inside_sum_B > outside_sum_B

    # Backwards. Legal whatever the scores: `I` is written only where the predecessor is inside.
    tags_BxL = np.zeros((batch, length), np.int32)
    inside_B = np.zeros(batch, bool)
    next_is_outside_B = np.ones(batch, bool)
    for i in reversed(range(length)):
        # The predecessor of `O`, like the last word, is whichever state has the higher sum.
        inside_B = np.where(next_is_outside_B, ends_inside_BxL[:, i], inside_B)
        continues_B = from_inside_BxL[:, i] & (continue_BxL[:, i] >= open_BxL[:, i])
        tags_BxL[:, i] = np.where(inside_B, np.where(continues_B, _I, label_BxL[:, i]), _O)
        next_is_outside_B = ~inside_B
        inside_B = from_inside_BxL[:, i]
    return tags_BxL
