"""The temperature that makes posteriors as good as they can be on held-out words.

Guo et al. 2017 (arXiv 1706.04599), section 4.2: one number T divides all scores before the softmax,
chosen to minimise the NLL of the gold tags. It changes how sure a model is, never which tag is best.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from distill_jax.errors import UserError
from distill_jax_runtime.marginals import LegalMarginals

LOWEST, HIGHEST = 0.05, 20.0
"""The temperatures that are considered. A model that is right at every word would want 0."""

_STEPS = 60  # halvings of the interval of log T: far below float64's resolution
_GRID, _GOLDEN_STEPS = 24, 20  # of the search where the NLL is not convex: T to four digits


def nll(
    scores_NxK: NDArray[np.floating], gold_ids_N: NDArray[np.integer], temperature: float
) -> float:
    """Mean of -ln softmax(scores / temperature)[gold] over words, in nats.

    Words whose gold tag was impossible (-inf) are left out: no temperature changes theirs.
    """
    scores, gold = _possible(scores_NxK, gold_ids_N)
    return float(_loss(scores / temperature, gold)[0])


def fit_temperature(
    scores_NxK: NDArray[np.floating], gold_ids_N: NDArray[np.integer], *, current: float = 1.0
) -> float:
    """The temperature between `LOWEST` and `HIGHEST` with the least NLL of the gold tags.

    The NLL is convex in 1/T, so its slope there changes sign once: that place is found by halving
    the interval of log T. Should rounding leave `current` better, `current` is returned; the NLL is
    never increased.

    Args:
        scores_NxK: log-likelihoods or logits of N words (of any sentences); -inf for impossible tags.
        gold_ids_N: int[N], the gold tags.
        current: the temperature in use.

    Raises:
        UserError: no word has a possible gold tag and another possible one, so nothing tells one
            temperature from another.
        ValueError: shapes do not fit, or a score is NaN or +inf.
    """
    scores, gold = _possible(scores_NxK, gold_ids_N)
    # A word with one possible tag has NLL 0 at every temperature.
    chosen = np.isfinite(scores).sum(axis=-1) > 1
    scores, gold = scores[chosen], gold[chosen]
    if not len(gold):
        raise UserError(
            "the temperature cannot be fitted: there is no word with a gold tag that the model held "
            "possible beside another; give tagged sentences of the model's own task"
        )
    low, high = np.log(LOWEST), np.log(HIGHEST)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        _, slope = _loss(scores * np.exp(-middle), gold)
        # The slope by 1/T: where it is positive the minimum lies at a smaller 1/T, a larger T.
        low, high = (middle, high) if slope > 0 else (low, middle)
    best = float(np.exp((low + high) / 2))
    ends = {LOWEST: np.log(LOWEST), HIGHEST: np.log(HIGHEST)}
    best = next((end for end, log in ends.items() if abs(np.log(best) - log) < 1e-9), best)
    return min((best, current), key=lambda t: _loss(scores / t, gold)[0])


def marginal_nll(
    sentences: Sequence[tuple[NDArray[np.floating], NDArray[np.integer]]], temperature: float
) -> float:
    """Mean of -ln p(gold) over words, in nats, with p their marginals over legal sequences.

    Args:
        sentences: scores [L, K] of words tagged alone, and gold ids [L], of each sentence; words of a
            negative id are left out.
        temperature: divides the scores.
    """
    total, words = 0.0, 0
    for scores, gold in sentences:
        log_p = LegalMarginals(np.asarray(scores, np.float64) / temperature).log_tags()
        known = np.flatnonzero(np.asarray(gold) >= 0)
        total -= float(log_p[known, np.asarray(gold)[known]].sum())
        words += len(known)
    return total / max(words, 1)


def fit_marginal_temperature(
    sentences: Sequence[tuple[NDArray[np.floating], NDArray[np.integer]]], *, current: float = 1.0
) -> float:
    """`fit_temperature` for words tagged alone, whose posteriors are marginals: `marginal_nll`.

    It need not be convex, so the best of a grid of log T is refined by golden sections. Raises
    `UserError` as `fit_temperature`.
    """
    if not any((np.asarray(gold) >= 0).any() for _, gold in sentences):
        raise UserError(
            "the temperature cannot be fitted: there is no word with a tag of the model's; give tagged "
            "sentences of its own task"
        )
    grid = np.linspace(np.log(LOWEST), np.log(HIGHEST), _GRID)
    losses = [marginal_nll(sentences, float(np.exp(log_t))) for log_t in grid]
    best = int(np.argmin(losses))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(_GOLDEN_STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if marginal_nll(sentences, float(np.exp(left))) < marginal_nll(
            sentences, float(np.exp(right))
        ):
            high = right
        else:
            low = left
    candidates = (float(np.exp((low + high) / 2)), LOWEST, HIGHEST, current)
    return min(candidates, key=lambda t: marginal_nll(sentences, t))


def concatenated(
    sentences: Iterable[tuple[NDArray[np.floating], NDArray[np.integer]]],
) -> tuple[NDArray[np.floating], NDArray[np.integer]]:
    """Scores [L, K] and gold ids [L] of sentences as those of all their words, one after another."""
    kept = [(scores, gold) for scores, gold in sentences if len(gold)]
    if not kept:
        return np.zeros((0, 2)), np.zeros(0, np.int64)
    scores, gold = zip(*kept, strict=True)
    return np.concatenate(scores), np.concatenate(gold)


def _possible(
    scores_NxK: NDArray[np.floating], gold_ids_N: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The words whose gold tag has a finite score, as float64 and int64."""
    scores, gold = np.asarray(scores_NxK, np.float64), np.asarray(gold_ids_N, np.int64)
    if scores.ndim != 2 or scores.shape[:1] != gold.shape:
        raise ValueError(f"scores {scores.shape} do not fit gold ids {gold.shape}")
    if np.isnan(scores).any() or np.isposinf(scores).any():
        raise ValueError("scores must not be NaN or +inf")
    possible = np.isfinite(np.take_along_axis(scores, gold[:, None], axis=-1)[:, 0])
    return scores[possible], gold[possible]


def _loss(scores_NxK: NDArray[np.float64], gold_ids_N: NDArray[np.int64]) -> tuple[float, float]:
    """Mean NLL at temperature 1, and T times its slope by 1/T: E[score] - score of gold."""
    if not len(gold_ids_N):
        return 0.0, 0.0
    gold_N = np.take_along_axis(scores_NxK, gold_ids_N[:, None], axis=-1)[:, 0]
    highest_N = scores_NxK.max(axis=-1)
    weights_NxK = np.exp(scores_NxK - highest_N[:, None])
    total_N = weights_NxK.sum(axis=-1)
    finite_NxK = np.where(np.isfinite(scores_NxK), scores_NxK, 0.0)
    mean_N = (weights_NxK * finite_NxK).sum(axis=-1) / total_N
    return (
        float((np.log(total_N) + highest_N - gold_N).mean()),
        float((mean_N - gold_N).mean()),
    )
