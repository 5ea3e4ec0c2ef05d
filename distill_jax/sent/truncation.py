"""Words that are too long for a model: a job goes on, and says at the end which ones it read in part."""

import logging
from collections.abc import Callable, Iterable, Sequence

from distill_jax.errors import UserError
from distill_jax.sent.pieces import TruncatedWord

SHOWN = 10
"""So many of them are named, the others counted."""

_logger = logging.getLogger(__name__)

FindTruncated = Callable[[Sequence[str]], Sequence[TruncatedWord]]
"""A sentence → its words that are too long: `truncated_words` of a format or a tagger."""


class TruncatedWords:
    """Collects them sentence by sentence; `strict` refuses the first.

    Attributes:
        count: how many there were.
    """

    def __init__(self, find: FindTruncated, *, strict: bool = False) -> None:
        self.count = 0
        self._find = find
        self._strict = strict
        self._shown: list[str] = []

    def add(self, words: Sequence[str], place: str) -> None:
        """Looks at a sentence, which stands at `place` (file and line).

        Raises `UserError` for a word that is too long, if `strict`.
        """
        for word in self._find(words):
            text = words[word.position]
            found = (
                f"{place}: word {word.position + 1} ({text[:40] + '…' * (len(text) > 40)!r}) has "
                f"{word.pieces} tokens, of which the model reads {word.read}"
            )
            if self._strict:
                raise UserError(f"{found}; shorten it, or leave --strict out to have it cut")
            self.count += 1
            if self.count <= SHOWN:
                self._shown.append(found)

    def lines(self) -> list[str]:
        """What to tell a user at the end: the first ones and how many there are; empty for none."""
        if not self.count:
            return []
        more = self.count - len(self._shown)
        return [
            f"words too long for the model, which reads their beginning alone: {self.count}",
            *self._shown,
            *([f"and {more} more"] if more else []),
        ]

    def log(self, what: str) -> None:
        """Logs how many there were in a data set, if any, with the first."""
        if self.count:
            _logger.warning("%s: %s (%s)", what, *self.lines()[:2])


def log_truncated(sentences: Iterable[Sequence[str]], find: FindTruncated, what: str) -> None:
    """Logs once how many words of a data set are too long, if any are, with the first."""
    found = TruncatedWords(find)
    for number, words in enumerate(sentences, 1):
        found.add(words, f"sentence {number}")
    found.log(what)
