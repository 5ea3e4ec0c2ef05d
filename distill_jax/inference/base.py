"""What a prediction is, and what everything that predicts offers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from distill_jax.errors import UserError
from distill_jax.tagging import LabelSet

Progress = Callable[[int], None]
"""Told the number of sentences just finished."""


class Prediction(NamedTuple):
    """The tags of one sentence and the whole distribution they come from."""

    tag_ids: np.ndarray
    """int32[L], ids in sBIO order; always a legal sequence."""
    log_likelihoods: np.ndarray
    """float32[L, K]: the raw scores u; -inf for a tag that was illegal at its word."""
    temperature: float = 1.0
    """Divides u before it becomes a posterior, as calibration on held-out data found."""

    @property
    def posteriors(self) -> np.ndarray:
        """softmax(u / temperature), float32[L, K]; 0 for illegal tags."""
        scores = self.log_likelihoods.astype(np.float64) / self.temperature
        if not len(scores):
            return self.log_likelihoods
        exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


class Predictor(Protocol):
    """Predicts with parameters that are an argument, so that a model in training can be used."""

    labels: LabelSet

    def predict(
        self, params: Any, sentences: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[Prediction]:
        """One prediction a sentence, in order; sentences without words are allowed.

        Raises `UserError` if the scores are not numbers, as those of damaged weights.
        """


def check_numbers(scores: np.ndarray) -> None:
    """Raises `UserError` if there is a NaN among a model's scores."""
    if np.isnan(scores).any():
        raise UserError(
            "the model's scores are not numbers (NaN), so its weights are damaged; copy the model "
            "again or train it anew"
        )


def round_up(value: int, steps: Sequence[int]) -> int:
    """The smallest of `steps` (ascending) that is at least `value`; beyond, multiples of the last."""
    for step in steps:
        if value <= step:
            return step
    return -(-value // steps[-1]) * steps[-1]


def batches_by_length(
    lengths: Sequence[int], batch_size: int, buckets: Sequence[int]
) -> list[tuple[int, np.ndarray]]:
    """Groups items of similar length: (bucket, indices) with at most `batch_size` items each.

    Items of length 0 are left out.
    """
    grouped: dict[int, list[int]] = {}
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if lengths[index]:
            grouped.setdefault(round_up(lengths[index], buckets), []).append(index)
    return [
        (bucket, np.array(members[start : start + batch_size]))
        for bucket, members in grouped.items()
        for start in range(0, len(members), batch_size)
    ]


def padded_batch_size(items: int, batch_size: int) -> int:
    """A power of two, or `batch_size`: few shapes to compile, and single sentences stay cheap."""
    return min(1 << (items - 1).bit_length(), batch_size)
