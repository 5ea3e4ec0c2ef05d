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


def swap_mentions(sentences: Sequence[Sentence], copies: int, *, seed: int) -> list[Sentence]:
    """The sentences, followed by `copies` variants of each that differ from it.

    In a variant every span has been replaced, with a probability of 0.7, by the words of a random span of
    the same label. Drawn again a few times, variants that are still the sentence itself are left out (of a
    sentence without spans all are). Raises `UserError` if `copies` is negative.
    """
    if copies < 0:
        raise UserError(f"MENTION_COPIES is {copies}; use at least 0")
    rng = np.random.default_rng(seed)
    spans = [sorted(spans_from_iob2(s.tags or ()), key=lambda span: span.start) for s in sentences]
    mentions: dict[str, list[tuple[str, ...]]] = {}
    for sentence, own in zip(sentences, spans, strict=True):
        for span in own:
            mentions.setdefault(span.label, []).append(sentence.words[span.start : span.end])

    def variant(sentence: Sentence, own: Sequence[tuple[int, int, str]]) -> Sentence:
        words: list[str] = []
        tags: list[str] = []
        end = 0
        for start, stop, label in own:
            words += sentence.words[end:start]
            tags += ["O"] * (start - end)
            mention = sentence.words[start:stop]
            if rng.random() < _REPLACED:
                mention = mentions[label][rng.integers(len(mentions[label]))]
            words += mention
            tags += [f"B-{label}", *[f"I-{label}"] * (len(mention) - 1)]
            end = stop
        words += sentence.words[end:]
        tags += ["O"] * (len(sentence.words) - end)
        return Sentence(tuple(words), tuple(tags))

    augmented = list(sentences)
    for sentence, own in zip(sentences, spans, strict=True):
        if all(len(mentions[span.label]) == 1 for span in own):
            continue
        drawn = (variant(sentence, own) for _ in range(2 * copies))
        augmented += [one for one in drawn if one.words != sentence.words][:copies]
    return augmented
