"""What is predicted for a sentence: its tags and, where the decoder computes them, its posteriors."""

import math
from typing import NamedTuple

import numpy as np

from distill_jax.errors import UserError
from distill_jax.sent.format import Malformation
from distill_jax.tagging import BeamPart
from distill_jax_runtime.marginals import LegalMarginals


class Unexplored(NamedTuple):
    """What the `pruned` decoder did not look at, since it could not matter."""

    mass: np.ndarray
    """float32[L]: the most that the posteriors (at temperature 1) of a word's tags not looked at
    can sum to."""
    tags: np.ndarray
    """bool[L, K]: the legal tags that were not looked at."""


class Prediction(NamedTuple):
    """The tags of one sentence and what they come from."""

    tag_ids: np.ndarray
    """int32[L], ids in sBIO order; always a legal sequence."""
    log_likelihoods: np.ndarray | None
    """float32[L, K]: the raw scores u; -inf for a tag that was illegal at its word or not looked at.
    None if the decoder computes none (`greedy`, `free`)."""
    temperature: float = 1.0
    """Divides u before it becomes a posterior, as calibration on held-out data found."""
    unexplored: Unexplored | None = None
    """Of the `pruned` decoder."""
    beam: tuple[BeamPart, ...] | None = None
    """Of a beam above 1: the sequences it ended with."""
    malformed: tuple[Malformation, ...] | None = None
    """Of the `free` decoder: all that is wrong with what the model wrote, each kind once. If
    anything is, the tags are all O."""
    words_alone: bool = False
    """Whether u scores each word's tags without those before it, as word taggers do: posteriors are
    then the marginals of the legal sequences (`LegalMarginals`), and no row of u has -inf for I after O."""
    windows: int = 1
    """In how many pieces the sentence was read."""

    @property
    def posteriors(self) -> np.ndarray:
        """float32[L, K]: softmax(u / temperature), or the marginals of it; 0 for illegal tags.

        From the `pruned` decoder every one is the least it can be: those of tags not looked at are
        0, and a row sums to 1 - `unexplored_mass`.

        Raises `UserError` if the decoder computes none.
        """
        if self.words_alone:
            return self.marginals().tags()
        posteriors = _softmax(self._scores() / self.temperature)
        mass = self.unexplored_mass
        if mass is not None:
            posteriors *= (1.0 - mass)[:, None]
        return posteriors.astype(np.float32)

    def marginals(self) -> LegalMarginals:
        """The distribution over legal sequences at the temperature, of words scored alone."""
        return LegalMarginals(self._scores() / self.temperature)

    @property
    def unexplored_mass(self) -> np.ndarray | None:
        """float32[L]: the most that the posteriors of tags not looked at sum to, at the temperature.

        With S and M the sums of exp(u) over the tags looked at and (at most) over the n others, it
        is M' / (S' + M'), where S' sums exp(u / T) and M' = n^max(0, 1 - 1/T) M^(1/T) bounds the
        same for the others (the power mean inequality). None but for the `pruned` decoder.
        """
        scores = self._scores()
        if self.unexplored is None:
            return None
        beta = 1.0 / self.temperature
        log_m, log_n = self._log_rest(scores, self.unexplored)
        log_bound = max(0.0, 1.0 - beta) * log_n + beta * log_m
        with np.errstate(over="ignore"):
            return (1.0 / (1.0 + np.exp(_logsumexp(scores * beta) - log_bound))).astype(np.float32)

    @property
    def completed(self) -> np.ndarray:
        """float32[L, K]: u, with what tags not looked at may add up to spread evenly over them;
        of words scored alone the logarithms of their marginals.

        The likelihoods of a distribution over all legal tags: what students learn from and
        calibration is measured on.
        """
        scores = self._scores()
        if self.words_alone:
            return LegalMarginals(scores).log_tags().astype(np.float32)
        if self.unexplored is not None:
            log_m, log_n = self._log_rest(scores, self.unexplored)
            scores = np.where(self.unexplored.tags, (log_m - log_n)[:, None], scores)
        return scores.astype(np.float32)

    @property
    def distributions(self) -> np.ndarray:
        """float32[L, K]: softmax(`completed` / temperature), or the marginals; every row sums to one."""
        if self.words_alone:
            return self.posteriors
        return _softmax(self.completed.astype(np.float64) / self.temperature).astype(np.float32)

    def _scores(self) -> np.ndarray:
        if self.log_likelihoods is None:
            raise UserError(
                "the decoder computes no posteriors; use sentscore or pruned where they are wanted"
            )
        return self.log_likelihoods.astype(np.float64)

    @staticmethod
    def _log_rest(scores: np.ndarray, unexplored: Unexplored) -> tuple[np.ndarray, np.ndarray]:
        """log M and log n of every word: what its n tags not looked at sum to at most."""
        # Below 1 by more than float32's rounding: something has been looked at.
        mass = np.clip(unexplored.mass.astype(np.float64), 0.0, 1.0 - 2.0**-24)
        with np.errstate(divide="ignore"):  # no mass is a logarithm of -inf, as it should be
            log_m = np.log(mass) - np.log1p(-mass) + _logsumexp(scores)
        return log_m, np.log(np.maximum(unexplored.tags.sum(axis=-1), 1))


def epsilon_at_temperature(epsilon: float, temperature: float, num_tags: int) -> float:
    """What ε the search of `pruned` needs, so that at a temperature no posterior is off by more than ε.

    With r = M / S the ratio of unexplored to explored mass at temperature 1 and β = 1 / T, that at T is
    at most K^|1 - β| r^β (the power mean inequality on the sum above the line for T > 1, below it for
    T < 1), and must not exceed ε. At least 1e-30, which float32 can tell from 0.
    """
    if temperature == 1.0:
        return epsilon
    beta = 1.0 / temperature
    log_ratio = (math.log(epsilon) - abs(1.0 - beta) * math.log(num_tags)) / beta
    ratio = math.exp(max(log_ratio, math.log(1e-30)))
    return ratio / (1.0 + ratio)


def _logsumexp(scores_LxK: np.ndarray) -> np.ndarray:
    highest = scores_LxK.max(axis=-1, initial=-np.inf)
    return np.log(np.exp(scores_LxK - highest[:, None]).sum(axis=-1)) + highest


def _softmax(scores_LxK: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores_LxK - scores_LxK.max(axis=-1, keepdims=True, initial=-np.inf))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
