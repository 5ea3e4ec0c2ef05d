"""Sentences with their spans in colour, and each span's label beside it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from distill_jax.report.elements import Html, element, join
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


def sentence_list(examples: Sequence[Example], labels: Sequence[str]) -> Html:
    """Sentences one below the other, each with its readings.

    Args:
        examples: in order.
        labels: all there are; a label has the same colour wherever they are the same.
    """
    hues = {label: round(i * _GOLDEN_ANGLE) % 360 for i, label in enumerate(labels)}
    items = (
        element(
            "li",
            element("p", example.about, class_="about"),
            *(
                _reading(example.words, reading, None if i == 0 else example.readings[0], hues)
                for i, reading in enumerate(example.readings)
            ),
        )
        for example in examples
    )
    return element("ol", join(items, "\n"), class_="sentences")


def _reading(
    words: Sequence[str], reading: Reading, gold: Reading | None, hues: Mapping[str, int]
) -> Html:
    scores = reading.scores or [None] * len(reading.spans)
    parts: list[str] = []
    at = 0
    for span, score in zip(reading.spans, scores, strict=True):
        parts += words[at : span.start]
        wrong = gold is not None and span not in gold.spans
        parts.append(_span(" ".join(words[span.start : span.end]), span, score, wrong, hues))
        at = span.end
    parts += words[at:]
    missed = [] if gold is None else [span for span in gold.spans if span not in reading.spans]
    what = [join(parts, " ")]
    if missed and not reading.spans:
        what.append(element("span", " — no spans", class_="quiet"))
    return element(
        "div",
        element("span", reading.who, class_="who"),
        element("span", *what, class_="what"),
        class_="reading",
    )


def _span(text: str, span: Span, score: float | None, wrong: bool, hues: Mapping[str, int]) -> Html:
    sign = [element("span", "✗", class_="sign", role="img", aria_label="wrong:")] if wrong else []
    probability = [element("small", f"{score:.2f}")] if score is not None else []
    return element(
        "mark",
        *sign,
        text,
        element("b", span.label),
        *probability,
        class_="wrong" if wrong else None,
        style=f"--hue:{hues.get(span.label, 0)}",
    )
