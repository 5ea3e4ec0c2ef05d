"""What everything that predicts offers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from distill_jax.errors import UserError
from distill_jax.inference.prediction import Prediction
from distill_jax.sent.pieces import TruncatedWord
from distill_jax.tagging import LabelSet

VITERBI: Mapping[str, Any] = {"algorithm": "viterbi"}
"""The best legal sequence under scores of each word alone."""

Progress = Callable[[int], None]
"""Told the number of sentences just finished."""


class InputLimits(NamedTuple):
    """How much of a sentence a model of subwords reads at a time.

    Sentences of more than `tokens` tokens are split into windows that share `overlap_words` words
    (fewer where they do not fit). A word that alone has too many is cut to those that fit.
    """

    tokens: int = 512
    overlap_words: int = 16

    def within(self, tokens: int | None) -> "InputLimits":
        """These, with no more tokens than a model has positions (None: it has any)."""
        return self if tokens is None else self._replace(tokens=min(self.tokens, tokens))


class Predictor(Protocol):
    """Predicts with parameters that are an argument, so that a model in training can be used."""

    labels: LabelSet

    @property
    def algorithm(self) -> Mapping[str, Any]:
        """How it finds tags, as reports and label stores record it."""

    def needs_windows(self, words: Sequence[str]) -> bool:
        """Whether a sentence is too long to be tagged in one piece."""

    def truncated_words(self, words: Sequence[str]) -> tuple[TruncatedWord, ...]:
        """The words of a sentence that are too long for the model, which reads their beginning alone."""

    def predict(
        self, params: Any, sentences: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[Prediction]:
        """One prediction a sentence, in order; sentences without words are allowed.

        Raises `UserError` if the scores are not numbers, as those of damaged weights.
        """

    def warm_up(self, params: Any, sentences: Sequence[Sequence[str]]) -> int:
        """Compiles what `predict` needs for these sentences; returns the number of programs."""


def damaged(what: str) -> UserError:
    """The error to raise where a model's scores or weights are NaN."""
    return UserError(
        f"the model's {what} are not numbers (NaN), so its weights are damaged; copy the model again "
        "or train it anew"
    )


def check_numbers(scores: np.ndarray) -> None:
    """Raises `UserError` if there is a NaN among a model's scores."""
    if np.isnan(scores).any():
        raise damaged("scores")


def check_parameters(params: Any) -> None:
    """Raises `UserError` if there is a NaN among parameters."""
    if any(np.isnan(np.asarray(leaf)).any() for leaf in jax.tree.leaves(params)):
        raise damaged("weights")
