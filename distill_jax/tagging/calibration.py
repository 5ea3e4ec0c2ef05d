"""How far a model's word posteriors can be trusted, as sums that merge by addition.

Expected calibration error: Guo et al. 2017 (arXiv 1706.04599), eq. 3, over equal-width bins of the
confidence max_k p_k, each open below and closed above. Brier score: Σ_k (p_k - 1[k = gold])², the
mean over words, so between 0 and 2. NLL: -ln p_gold in nats.

Kept as sums per bin, not as a function of all posteriors: these are words × tags numbers, which no
host has together, and sums need no library beside NumPy.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Keeps the NLL of a probability that underflowed finite (at most 87.3 nats a word).
_SMALLEST = float(np.finfo(np.float32).tiny)


class CalibrationCounts:
    """Sums over words of what the calibration figures need."""

    def __init__(self, bins: int = 15) -> None:
        """Starts at zero, with `bins` bins of equal width over [0, 1]. `ValueError` if none."""
        if bins < 1:
            raise ValueError(f"calibration needs at least one bin, not {bins}")
        self.bins = bins
        self.squared_error = 0.0
        self.negative_log_likelihood = 0.0
        self.count = np.zeros(bins)  # words, summed confidence and right answers of each bin
        self.confidence = np.zeros(bins)
        self.correct = np.zeros(bins)

    def update(self, posteriors_LxK: NDArray[np.floating], gold_ids: NDArray[np.integer]) -> None:
        """Counts words: posteriors [L, K] and gold tag ids [L], or both with leading batch axes.

        A word with a negative gold id is padding and left out, whatever its posterior holds.

        Raises `ValueError` if shapes do not fit, a gold id is K or more, or a posterior is no
        distribution (a negative or non-finite entry, or a sum off by more than 1%).
        """
        posteriors = np.asarray(posteriors_LxK, np.float64)
        gold = np.asarray(gold_ids, np.int64)
        if posteriors.ndim < 2 or posteriors.shape[:-1] != gold.shape:
            raise ValueError(f"posteriors {posteriors.shape} do not fit gold ids {gold.shape}")
        posteriors, gold = posteriors[gold >= 0], gold[gold >= 0]
        if not gold.size:
            return
        if gold.max() >= posteriors.shape[-1]:
            raise ValueError(f"gold id {gold.max()} but only {posteriors.shape[-1]} tags")
        # Written so that NaN fails the comparison.
        if not ((posteriors >= 0).all() and (abs(posteriors.sum(-1) - 1) <= 0.01).all()):
            raise ValueError("posteriors must be probabilities that sum to one for every word")

        confidence = posteriors.max(-1)
        edges = np.linspace(0, 1, self.bins + 1)[1:-1]
        place = np.searchsorted(edges, confidence, side="left")
        self.count += np.bincount(place, minlength=self.bins)
        self.confidence += np.bincount(place, confidence, self.bins)
        self.correct += np.bincount(place, posteriors.argmax(-1) == gold, self.bins)
        gold_posterior = np.take_along_axis(posteriors, gold[:, None], -1)[:, 0]
        self.negative_log_likelihood -= float(np.log(np.maximum(gold_posterior, _SMALLEST)).sum())
        self.squared_error += float((posteriors**2).sum() - (2 * gold_posterior - 1).sum())

    def merge(self, other: "CalibrationCounts") -> None:
        """Adds the sums of `other`, which stays as it is. `ValueError` if the bins differ."""
        if other.bins != self.bins:
            raise ValueError(f"cannot merge {other.bins} bins into {self.bins}")
        self._set(self.as_array() + other.as_array())

    def as_array(self) -> NDArray[np.float64]:
        """All sums as float64[2 + 3 · bins]; arrays of several hosts may be added.

        Take care that what adds them keeps 64 bits: JAX turns float64 into float32 unless told not
        to.
        """
        header = [self.squared_error, self.negative_log_likelihood]
        return np.concatenate([header, self.count, self.confidence, self.correct])

    @classmethod
    def from_array(cls, array: NDArray[np.floating]) -> "CalibrationCounts":
        """The inverse of `as_array`. Raises `ValueError` if the length is not 2 + 3 · bins."""
        sums = np.asarray(array, np.float64)
        if sums.ndim != 1 or sums.size < 5 or (sums.size - 2) % 3:
            raise ValueError(f"an array of shape {sums.shape} holds no calibration sums")
        counts = cls((sums.size - 2) // 3)
        counts._set(sums)
        return counts

    def result(self) -> dict[str, Any]:
        """The figures, ready for JSON: `ece`, `brier`, `nll` (nats), `accuracy`, `words`, `bins`.

        `bins` is a list of `lower`, `upper`, `count`, `confidence` and `accuracy` (means within the
        bin). Where no word was counted the figures are 0.
        """
        words = self.count.sum()
        filled = np.maximum(self.count, 1)
        confidence, accuracy = self.confidence / filled, self.correct / filled
        edges = np.linspace(0, 1, self.bins + 1)
        total = max(words, 1)
        return {
            "ece": float(abs(self.correct - self.confidence).sum() / total),
            "brier": self.squared_error / total,
            "nll": self.negative_log_likelihood / total,
            "accuracy": float(self.correct.sum() / total),
            "words": int(words),
            "bins": [
                {
                    "lower": float(edges[i]),
                    "upper": float(edges[i + 1]),
                    "count": int(self.count[i]),
                    "confidence": float(confidence[i]),
                    "accuracy": float(accuracy[i]),
                }
                for i in range(self.bins)
            ],
        }

    def _set(self, array: NDArray[np.float64]) -> None:
        self.squared_error, self.negative_log_likelihood = float(array[0]), float(array[1])
        # Copies, since `update` adds in place and the caller may keep the array.
        self.count, self.confidence, self.correct = array[2:].copy().reshape(3, self.bins)
