"""Sentences of more tokens or words than a model reads: split into windows, and merged.

Windows overlap, lie on word boundaries and together cover the sentence. Each word is *owned* by the
window in which it has most context: the number of words between it and the nearer edge of the
window, where an edge that is an end of the sentence is no edge. On a tie the first window owns it.
The words a window owns are contiguous, and owners go in order, so merging is concatenation.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from distill_jax_runtime.errors import UserError

# A sequence is as long as the tokens of its words (or tags) and these together.
SEQUENCE_OVERHEAD = 2  # the first sentinel and the end-of-sequence
WORD_OVERHEAD = 1  # the sentinel after each word


class Window(NamedTuple):
    """The words `start` to `end` (exclusive) of a sentence."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """The number of words."""
        return self.end - self.start


def windows(
    words: Sequence[str],
    *,
    max_words: int,
    max_tokens: int,
    token_length: Callable[[str], int],
    overlap_words: int,
) -> list[Window]:
    """Splits a sentence into as few windows as a walk from left to right finds.

    Args:
        words: the sentence; with no words, or if everything fits, the one window is the whole of
            it.
        max_words: the most words in a window (the number of sentinels less one).
        max_tokens: the most input tokens in a window, sentinels and end-of-sequence counted.
        token_length: the number of tokens of one word (`SenTFormat.word_length`).
        overlap_words: how many words neighbours share; fewer where `max_tokens` leaves no room.

    Raises:
        UserError: a word alone exceeds `max_tokens`, or the limits make no sense.
    """
    if max_words < 1 or not 0 <= overlap_words < max_words:
        raise UserError(
            f"windows of at most {max_words} words cannot overlap by {overlap_words}; "
            "the overlap must be at least 0 and smaller than the window"
        )
    costs = [token_length(word) + WORD_OVERHEAD for word in words]
    budget = max_tokens - SEQUENCE_OVERHEAD
    if budget < 0:
        raise UserError(
            f"a limit of {max_tokens} input tokens leaves no room for words; allow more tokens"
        )
    for number, (word, cost) in enumerate(zip(words, costs, strict=True), 1):
        if cost > budget:
            raise UserError(
                f"word {number} ({_shortened(word)}) alone takes {cost + SEQUENCE_OVERHEAD} input "
                f"tokens and the limit is {max_tokens}; allow more tokens or split the word"
            )
    upto = np.concatenate([[0], np.cumsum(costs, dtype=np.int64)])  # cost of words[:i]

    def fits(start: int, end: int) -> bool:
        return end - start <= max_words and upto[end] - upto[start] <= budget

    chosen: list[Window] = []
    start, end = 0, 0
    while True:
        while end < len(words) and fits(start, end + 1):
            end += 1
        chosen.append(Window(start, end))
        if end == len(words):
            return chosen
        # The next window must reach further than this one, at the price of overlap if need be.
        start = max(end - overlap_words, 0)
        while not fits(start, end + 1):
            start += 1


def owned_ranges(windows: Sequence[Window]) -> list[Window]:
    """The words of the sentence that each window owns, in the sentence's numbering.

    The ranges follow each other without gap from 0 to the end of the sentence; one may be empty.

    Raises:
        ValueError: the windows do not cover a sentence from its first word, in order.
    """
    if not windows or windows[0].start != 0:
        raise ValueError(f"windows must begin at the first word: {windows}")
    for left, right in itertools.pairwise(windows):
        if not left.start < right.start <= left.end < right.end:
            raise ValueError(f"windows must be in order and leave no gap: {left}, {right}")
    length = windows[-1].end
    position = np.arange(length)
    context = np.full((len(windows), length), -1)
    for row, (start, end) in zip(context, windows, strict=True):
        to_left = position - start if start > 0 else np.full(length, length)
        to_right = end - 1 - position if end < length else np.full(length, length)
        row[start:end] = np.minimum(to_left, to_right)[start:end]
    owner = context.argmax(axis=0)  # the first on ties
    starts = np.searchsorted(owner, np.arange(len(windows) + 1)) if length else [0, 0]
    return [Window(int(start), int(end)) for start, end in itertools.pairwise(starts)]


def merge_windows(
    windows: Sequence[Window], per_window: Sequence[npt.NDArray[Any]]
) -> npt.NDArray[Any]:
    """One array for the whole sentence: each word's row from the window that owns it.

    Args:
        windows: as `windows` returned them.
        per_window: for each window an array [words of the window, …].

    Returns:
        An array [words of the sentence, …].

    Raises:
        ValueError: an array is not as long as its window, or the windows do not cover a sentence.
    """
    for window, array in zip(windows, per_window, strict=True):
        if len(array) != window.length:
            raise ValueError(f"{window} has {window.length} words and its array {len(array)} rows")
    owned = owned_ranges(windows)
    return np.concatenate(
        [
            array[own.start - window.start : own.end - window.start]
            for window, own, array in zip(windows, owned, per_window, strict=True)
        ]
    )


def _shortened(word: str, limit: int = 40) -> str:
    return repr(word if len(word) <= limit else word[:limit] + "…")
