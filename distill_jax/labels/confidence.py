"""How much a silver sentence counts, by how sure its teacher is of it.

A teacher's mistakes are mostly where it hesitates. So a sentence of L words, with posteriors p_i
over the tags that were legal at word i, can be given one of these weights, between 0 and 1:

    top_posterior   w = 1/L Σ_i max_k p_i(k)
    entropy         w = 1 − 1/L Σ_i H(p_i) / log K_i,     H(p) = −Σ_k p(k) log p(k)
    sequence        w = Π_i max_k p_i(k)

with K_i the number of legal tags (a word with one legal tag has no entropy). The last is the
probability that all tags are right, were the words independent: a teacher that is too sure of single
words still doubts many of its sentences. Both terms of the loss are multiplied by w, and the
loss is divided by the sum of the weights: gold sentences, whose weight is 1, count the more the less
the teacher knows. After the weighting of pseudo-labels by the teacher's (un)certainty in Mukherjee &
Awadallah 2020 (XtremeDistil, arXiv 2004.05686; and UST, arXiv 2006.15315). Deviation: those estimate
it from several passes with dropout, this from the posterior that the label store holds anyway.

`learnt` weights do not come from the teacher: `distill.reweighting` finds them in every step.
"""

from typing import Literal, get_args

import numpy as np

from distill_jax.errors import UserError

Weighting = Literal["none", "top_posterior", "entropy", "sequence", "learnt"]


def check_weighting(weighting: str) -> None:
    """Raises `UserError` if it is none of `Weighting`."""
    if weighting not in get_args(Weighting):
        raise UserError(
            f"CONFIDENCE_WEIGHTING is {weighting!r}; use {', '.join(get_args(Weighting))}"
        )


def confidence_weight(log_posteriors_LxK: np.ndarray, weighting: Weighting) -> float:
    """The weight of a sentence, 0 to 1; 1 for `none`, `learnt` and a sentence without words.

    Args:
        log_posteriors_LxK: log-probabilities (up to a constant a word), -inf for illegal tags.
        weighting: one of the equations above.
    """
    check_weighting(weighting)
    if weighting in ("none", "learnt") or not len(log_posteriors_LxK):
        return 1.0
    scores = log_posteriors_LxK.astype(np.float64)
    scores -= scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    p = np.exp(log_p)
    if weighting == "top_posterior":
        return float(p.max(axis=-1).mean())
    if weighting == "sequence":
        return float(np.exp(log_p.max(axis=-1).sum()))
    legal = np.isfinite(log_p)
    entropy = -np.where(legal, p * np.where(legal, log_p, 0.0), 0.0).sum(axis=-1)
    highest = np.log(np.maximum(legal.sum(axis=-1), 2))  # of one legal tag the entropy is 0
    return float(np.clip(1.0 - (entropy / highest).mean(), 0.0, 1.0))
