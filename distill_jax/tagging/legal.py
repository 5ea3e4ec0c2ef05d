"""The best legal sBIO sequence under per-word scores.

Only two things are illegal in sBIO: `I` at the start and `I` after `O`. Whether the last word is
inside a span is therefore all that matters for what follows, so Viterbi needs two states, not K,
and costs O(L·K) for the maxima over labels plus O(L).
"""

import numpy as np
from numpy.typing import NDArray

_O, _I, _FIRST_LABEL = 0, 1, 2


def constrained_tags(scores_LxK: NDArray[np.floating]) -> NDArray[np.int32]:
    """The sBIO ids, int32[L], of the legal sequence with the highest sum of scores (exact).

    Args:
      scores_LxK: a score (log-probability or logit) a word and tag, in sBIO order; -inf forbids a
        tag. If every legal sequence is forbidden, some legal sequence is returned.

    Raises `ValueError` for another rank, K < 2, NaN or +inf.
    """
    scores_LxK = np.asarray(scores_LxK)
    if scores_LxK.ndim != 2:
        raise ValueError(f"scores must be [length, tags], not of shape {scores_LxK.shape}")
    return constrained_tags_batch(scores_LxK[None])[0]


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
            raise ValueError("scores hold NaN or +inf; the model that made them has diverged")

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
