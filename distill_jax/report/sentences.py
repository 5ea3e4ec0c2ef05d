"""Sentences with their spans in colour, and each span's label beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from distill_jax.tagging import Span

_GOLDEN_ANGLE = 137.508  # hues far from each other, however many labels there are


class Reading(NamedTuple):
    """The spans that somebody sees in a sentence."""

    who: str
    spans: Sequence[Span]
    scores: Sequence[float | None] | None = None
    """How probable each span is, where that is known."""


class Example(NamedTuple):
    """A sentence that is worth a look."""

    words: Sequence[str]
    readings: Sequence[Reading]
    """The first is gold: spans of others that it lacks are marked wrong."""
    about: str
    """A line above it."""


class Mark(NamedTuple):
    """How a span is shown."""

    label: str
    hue: int
    """In degrees."""
    score: float | None
    wrong: bool


class Piece(NamedTuple):
    """A word outside all spans, or all words of a span."""

    text: str
    mark: Mark | None = None


class ShownReading(NamedTuple):
    """A reading cut into pieces, a space between each two."""

    who: str
    pieces: Sequence[Piece]
    sees_nothing: bool
    """It has no spans where gold has some."""


class ShownExample(NamedTuple):
    """A sentence as the page shows it."""

    about: str
    readings: Sequence[ShownReading]


@dataclass(frozen=True)
class SentenceList:
    """Sentences one below the other, each with its readings."""

    template: ClassVar[str] = "sentence_list.html.j2"
    examples: Sequence[ShownExample]


def sentence_list(examples: Sequence[Example], labels: Sequence[str]) -> SentenceList:
    """Sentences one below the other, each with its readings.

    Args:
        examples: in order.
        labels: all there are; a label has the same colour wherever they are the same.
    """
    hues = {label: round(i * _GOLDEN_ANGLE) % 360 for i, label in enumerate(labels)}
    return SentenceList(
        [
            ShownExample(
                example.about,
                [
                    _reading(example.words, reading, example.readings[0], hues)
                    for reading in example.readings
                ],
            )
            for example in examples
        ]
    )


def _reading(
    words: Sequence[str], reading: Reading, gold: Reading, hues: Mapping[str, int]
) -> ShownReading:
    scores = reading.scores or [None] * len(reading.spans)
    pieces: list[Piece] = []
    at = 0
    for span, score in zip(reading.spans, scores, strict=True):
        pieces += (Piece(word) for word in words[at : span.start])
        mark = Mark(span.label, hues.get(span.label, 0), score, span not in gold.spans)
        pieces.append(Piece(" ".join(words[span.start : span.end]), mark))
        at = span.end
    pieces += (Piece(word) for word in words[at:])
    return ShownReading(reading.who, pieces, bool(gold.spans) and not reading.spans)
