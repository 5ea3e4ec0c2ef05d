"""What a generator reads for a sample, and how its ids become words again."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from distill_jax.data.seq2seq import Pair
from distill_jax.tagging import Sentence
from distill_jax.vocab import Vocabulary


class Prompt(NamedTuple):
    """What a sample is written from.

    `spans` counts those to be written between sentinels, 0 is a whole text, -1 (`sampler.TAGGED`) a sentence
    with its tags; `kept` are the words around spans, one run more than there are of these (others have none).
    """

    inputs: np.ndarray
    """int32, the end of sequence included."""
    spans: int = 0
    kept: tuple[tuple[str, ...], ...] = ()


class Reading(NamedTuple):
    """What was written, as words; with `tags` (IOB2) where they were written too.

    `well_formed` is False where tags were to be written and what is there is no tagged sentence.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    well_formed: bool = True


Reader = Callable[[Prompt, Sequence[int]], Reading]
"""Makes words of the ids that were written for a prompt."""


class Writer(Protocol):
    """A way to write sentences: examples to learn it from, and prompts to use it with."""

    kind: ClassVar[str]

    def examples(self, sentences: Sequence[Sentence], vocabulary: Vocabulary) -> list[Pair]:
        """Inputs and targets of gold sentences, the same for the same sentences."""

    def prompt(
        self, gold: Sequence[Sentence], vocabulary: Vocabulary, number: int, seed: int
    ) -> Prompt:
        """What sample `number` of a seed is written from: a function of these alone."""

    def reader(self, gold: Sequence[Sentence], vocabulary: Vocabulary) -> Reader:
        """Reads samples that were written for prompts of these gold sentences."""


def read_words(gold: Sequence[Sentence], vocabulary: Vocabulary) -> Reader:
    """The `Writer.reader` of those that write words alone."""
    return lambda prompt, tokens: Reading(words_of(prompt, tokens, vocabulary))


def words_of(prompt: Prompt, tokens: Iterable[int], vocabulary: Vocabulary) -> tuple[str, ...]:
    """The words of what was written, what was kept between; Unicode in its form NFC, split at blanks.

    Of spans that a sample was cut off before, nothing is there.
    """
    if not prompt.spans:
        return as_words(vocabulary.decode(tokens))
    spans: list[list[int]] = []
    for token in map(int, tokens):
        if vocabulary.is_sentinel(token):
            spans.append([])
        elif spans:
            spans[-1].append(token)
    words: list[str] = [*prompt.kept[0]]
    for number in range(prompt.spans):
        written = spans[number] if number < len(spans) else []
        words += as_words(vocabulary.decode(written))
        words += prompt.kept[number + 1]
    return tuple(words)


def as_words(text: str) -> tuple[str, ...]:
    """The words of a text that was written: NFC, at blanks."""
    return tuple(unicodedata.normalize("NFC", text).split())
