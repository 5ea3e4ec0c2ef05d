"""Sentences with their spans in colour, and each span's label beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from distill_jax.tagging import Span

_HUES = 12
"""So many can be told apart; with more labels they come back with another line under the span."""
_STEP = 5
"""Of 12 hues in a circle, from one label's to the next's: neighbours are 150 degrees apart."""
_LINES = ("none", "solid", "dashed", "double")
"""Under the spans of the first twelve labels, the next twelve, …: widths and colours are the style's."""


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
    """The first is gold: spans of others that it lacks are marked wrong, its own that others lack missed."""
    about: str
    """A line above it."""


class Colour(NamedTuple):
    """What a label's spans look like."""

    hue: int
    """In degrees."""
    line: str
    """One of `_LINES`."""


class Mark(NamedTuple):
    """How a span is shown."""

    label: str
    colour: "Colour"
    score: float | None
    fault: str = ""
    """`wrong`: gold lacks it; `missed` and by whom: a gold span that a reading lacks."""


class Piece(NamedTuple):
    """A word outside all spans, or all words of a span."""

    text: str
    mark: Mark | None = None


class ShownReading(NamedTuple):
    """A reading cut into pieces, a space between each two."""

    who: str
    pieces: Sequence[Piece]
    sees_nothing: bool
    """It has no spans where another reading has some."""


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
    colours = {label: _colour(number) for number, label in enumerate(labels)}
    return SentenceList(
        [ShownExample(example.about, _readings(example, colours)) for example in examples]
    )


def _colour(number: int) -> Colour:
    around, hue = divmod(number, _HUES)
    return Colour(hue * _STEP * 360 // _HUES % 360, _LINES[around % len(_LINES)])


def _readings(example: Example, colours: Mapping[str, Colour]) -> list[ShownReading]:
    anything = any(reading.spans for reading in example.readings)
    return [
        ShownReading(
            reading.who,
            _pieces(example.words, reading, _faults(reading, example.readings), colours),
            anything and not reading.spans,
        )
        for reading in example.readings
    ]


def _faults(reading: Reading, readings: Sequence[Reading]) -> dict[Span, str]:
    """What is wrong with spans of a reading, if anything."""
    gold, *others = readings
    if reading is not gold:
        return {span: "wrong" for span in reading.spans if span not in gold.spans}
    faults = {}
    for span in gold.spans:
        lacking = [other.who for other in others if span not in other.spans]
        if lacking:
            everybody = len(lacking) == len(others)
            faults[span] = "missed" if everybody else f"missed by {', '.join(lacking)}"
    return faults


def _pieces(
    words: Sequence[str],
    reading: Reading,
    faults: Mapping[Span, str],
    colours: Mapping[str, Colour],
) -> list[Piece]:
    scores = reading.scores or [None] * len(reading.spans)
    pieces: list[Piece] = []
    at = 0
    for span, score in zip(reading.spans, scores, strict=True):
        pieces += (Piece(word) for word in words[at : span.start])
        colour = colours.get(span.label, _colour(0))
        mark = Mark(span.label, colour, score, faults.get(span, ""))
        pieces.append(Piece(" ".join(words[span.start : span.end]), mark))
        at = span.end
    pieces += (Piece(word) for word in words[at:])
    return pieces
