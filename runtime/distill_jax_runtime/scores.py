"""What gives the words of sentences the scores of their tags."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distill_jax_runtime.pieces import TruncatedWord


class Scores(Protocol):
    """The scores of sentences' tags. Threads may share one."""

    num_tags: int

    def of(self, sentences: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Log-probabilities float32[N, tags] of the N words of sentences, one behind the other.

        No sentence is empty. They go through the model together.
        """

    def windows(self, words: Sequence[str]) -> int:
        """In how many pieces a sentence is read."""

    def truncated(self, words: Sequence[str]) -> tuple[TruncatedWord, ...]:
        """The words of a sentence of which the beginning alone is read."""
