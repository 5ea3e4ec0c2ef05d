"""More labelled sentences from few: mentions of a label change places.

The simplest of what Dai & Adel 2020 ("An Analysis of Simple Data Augmentation for Named Entity
Recognition", COLING) compare, mention replacement: what stands around a label is learnt from all mentions
of it, and a mention from all its surroundings. For a teacher of a few hundred sentences.
"""

from collections.abc import Sequence

import numpy as np

from distill_jax.errors import UserError
from distill_jax.tagging import Sentence
from distill_jax_runtime.spans import spans_from_iob2

_REPLACED = 0.7
"""Probability that a mention is replaced."""


class MentionSwap:
    """Labelled sentences with what is known of their mentions: variants are drawn from it."""

    def __init__(self, sentences: Sequence[Sentence]) -> None:
        self._sentences = sentences
        self._spans = [
            sorted(spans_from_iob2(s.tags or ()), key=lambda span: span.start) for s in sentences
        ]
        self._mentions: dict[str, list[tuple[str, ...]]] = {}
        for sentence, own in zip(sentences, self._spans, strict=True):
            for span in own:
                mention = sentence.words[span.start : span.end]
                self._mentions.setdefault(span.label, []).append(mention)

    def can_vary(self, index: int) -> bool:
        """Whether a mention of that sentence has another of its label to change places with."""
        return any(len(self._mentions[span.label]) > 1 for span in self._spans[index])

    def variant(self, index: int, rng: np.random.Generator) -> Sentence:
        """The sentence, each span replaced, with a probability of 0.7, by a random one of its label."""
        sentence = self._sentences[index]
        words: list[str] = []
        tags: list[str] = []
        end = 0
        for start, stop, label in self._spans[index]:
            words += sentence.words[end:start]
            tags += ["O"] * (start - end)
            mention = sentence.words[start:stop]
            if rng.random() < _REPLACED:
                mention = self._mentions[label][rng.integers(len(self._mentions[label]))]
            words += mention
            tags += [f"B-{label}", *[f"I-{label}"] * (len(mention) - 1)]
            end = stop
        words += sentence.words[end:]
        tags += ["O"] * (len(sentence.words) - end)
        return Sentence(tuple(words), tuple(tags))


def swap_mentions(sentences: Sequence[Sentence], copies: int, *, seed: int) -> list[Sentence]:
    """The sentences, followed by `copies` variants of each that differ from it (`MentionSwap.variant`).

    Drawn again a few times, variants that are still the sentence itself are left out (of a
    sentence without spans all are). Raises `UserError` if `copies` is negative.
    """
    if copies < 0:
        raise UserError(f"MENTION_COPIES is {copies}; use at least 0")
    rng = np.random.default_rng(seed)
    swap = MentionSwap(sentences)
    augmented = list(sentences)
    for index, sentence in enumerate(sentences):
        if not swap.can_vary(index):
            continue
        drawn = (swap.variant(index, rng) for _ in range(2 * copies))
        augmented += [one for one in drawn if one.words != sentence.words][:copies]
    return augmented
