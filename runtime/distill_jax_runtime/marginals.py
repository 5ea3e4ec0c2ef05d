"""Probabilities of tags and spans under per-word scores, given that the sequence is legal.

Scores u of words that are tagged alone (log-probabilities of a BiLSTM or an encoder) make a distribution over
sequences, p(t₁ … t_L) ∝ Π exp(uᵢ(tᵢ)), restricted to the legal ones. Its marginals come from the
forward–backward algorithm (Rabiner 1989, section III). In sBIO all that a word's successor depends
on is whether the word is inside a span, so two states do, as in `legal`.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_O, _I, _FIRST_LABEL = 0, 1, 2


class LegalMarginals:
    """The distribution over legal sequences of one sentence, or of several, one behind the other.

    Args:
        scores_LxK: log-probabilities or logits in sBIO order, K ≥ 2; -inf forbids a tag.
        lengths: words of each sentence, where there are several; they add up to L.

    Raises:
        ValueError: no legal sequence has a finite score, or there is a NaN.
    """

    def __init__(
        self, scores_LxK: NDArray[np.floating], lengths: Sequence[int] | None = None
    ) -> None:
        self._scores = np.asarray(scores_LxK, np.float64)
        self._lengths = [len(self._scores)] if lengths is None else lengths
        labels = _logsumexp(self._scores[:, _FIRST_LABEL:])
        self._outside = self._scores[:, _O].tolist()
        self._inside = self._scores[:, _I].tolist()
        self._open = labels.tolist()
        self._forward()
        self._backward()
        if not all(map(math.isfinite, self._log_z)):
            raise ValueError("no legal sequence has a finite score, or there is a NaN")

    def log_tags(self) -> NDArray[np.float64]:
        """float64[L, K]: the logarithm of the probability of each word's tags."""
        before = np.logaddexp(self._before_outside, self._before_inside)
        log_p = self._scores + np.asarray(self._after_inside)[:, None] + before[:, None]
        log_p[:, _O] = self._scores[:, _O] + self._after_outside + before
        log_p[:, _I] = self._scores[:, _I] + self._after_inside + self._before_inside
        return log_p - np.asarray(self._log_z)[:, None]

    def tags(self) -> NDArray[np.float32]:
        """float32[L, K]: the probability of each word's tags; every row sums to one."""
        return np.exp(self.log_tags()).astype(np.float32)

    def span(self, start: int, end: int, tag: int) -> float:
        """The probability that words `start` to `end` (exclusive) are one span with the label's tag.

        Words are counted from the first sentence's first.
        """
        log_p = _logaddexp(self._before_outside[start], self._before_inside[start])
        log_p += float(self._scores[start, tag]) + sum(self._inside[start + 1 : end])
        # The span ends here: what follows is not I, just as after O.
        log_p += self._after_outside[end - 1] - self._log_z[start]
        return math.exp(min(log_p, 0.0))  # a certain span's sums may be rounded differently

    def _forward(self) -> None:
        # What stands before each word, by the state of the word before it: log of the summed scores; and
        # the sum over all of its sentence. The sums are `_logaddexp`, written out: calls would take longer.
        self._before_outside: list[float] = []
        self._before_inside: list[float] = []
        self._log_z: list[float] = []
        exp, log1p = math.exp, math.log1p
        words = zip(self._outside, self._inside, self._open, strict=True)
        for length in self._lengths:
            outside, inside = 0.0, -math.inf
            for out, go_on, opens in itertools.islice(words, length):
                self._before_outside.append(outside)
                self._before_inside.append(inside)
                high, low = (outside, inside) if outside >= inside else (inside, outside)
                both = high if low == -math.inf else high + log1p(exp(low - high))
                outside, opened, inside = both + out, both + opens, inside + go_on
                high, low = (opened, inside) if opened >= inside else (inside, opened)
                inside = high if low == -math.inf else high + log1p(exp(low - high))
            self._log_z += [_logaddexp(outside, inside)] * length

    def _backward(self) -> None:
        after_outside: list[float] = []
        after_inside: list[float] = []
        exp, log1p = math.exp, math.log1p
        words = zip(
            reversed(self._outside), reversed(self._inside), reversed(self._open), strict=True
        )
        for length in reversed(self._lengths):
            outside = inside = 0.0
            for out, go_on, opens in itertools.islice(words, length):
                after_outside.append(outside)
                after_inside.append(inside)
                outside, opened, inside = out + outside, opens + inside, go_on + inside
                high, low = (outside, opened) if outside >= opened else (opened, outside)
                outside = high if low == -math.inf else high + log1p(exp(low - high))
                high, low = (outside, inside) if outside >= inside else (inside, outside)
                inside = high if low == -math.inf else high + log1p(exp(low - high))
        self._after_outside = after_outside[::-1]
        self._after_inside = after_inside[::-1]


def _logaddexp(a: float, b: float) -> float:
    # NumPy's takes ten times as long for two numbers.
    high, low = (a, b) if a >= b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def _logsumexp(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if not scores.shape[1]:
        return np.full(len(scores), -np.inf)
    highest = scores.max(axis=-1)
    shift = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(scores - shift[:, None]).sum(axis=-1)) + shift
