"""A text and its spans in the forms of others: transformers, spaCy, displaCy, HTML.

Offsets are those of the text in Unicode code points, ends exclusive; spans are in order and do not overlap.
"""

import html
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

SPANS_KEY = "distill_jax"
"""The group of a spaCy `Doc`'s spans that has the scores."""


class ShownSpan(NamedTuple):
    """Characters `start` to `end` (exclusive), their label, and how probable they are, if that is known."""

    start: int
    end: int
    label: str
    score: float | None


def to_hf(text: str, spans: Sequence[ShownSpan]) -> list[dict[str, Any]]:
    """Dictionaries of `entity_group`, `score`, `word`, `start`, `end`, as transformers' pipeline has them."""
    return [
        {
            "entity_group": span.label,
            "score": span.score,
            "word": text[span.start : span.end],
            "start": span.start,
            "end": span.end,
        }
        for span in spans
    ]


def to_displacy(text: str, spans: Sequence[ShownSpan]) -> dict[str, Any]:
    """What `displacy.render(…, style="ent", manual=True)` takes."""
    ents = [{"start": span.start, "end": span.end, "label": span.label} for span in spans]
    return {"text": text, "ents": ents, "title": None}


def to_html(text: str, spans: Sequence[ShownSpan]) -> str:
    """The text with its spans marked: HTML that needs nothing else, all of it escaped."""
    parts: list[str] = []
    position = 0
    for span in spans:
        score = "" if span.score is None else f" {span.score:.2f}"
        parts += (
            html.escape(text[position : span.start]),
            f'<mark style="{_MARK}hsl({_hue(span.label)} 70% 50% / 25%)">',
            html.escape(text[span.start : span.end]),
            f' <small style="opacity:.75">{html.escape(span.label)}{score}</small></mark>',
        )
        position = span.end
    parts.append(html.escape(text[position:]))
    return f'<div dir="auto" style="white-space:pre-wrap;line-height:1.8">{"".join(parts)}</div>'


_MARK = "color:inherit;padding:.1em .3em;border-radius:.3em;background:"


def _hue(label: str) -> int:
    """An angle of colour that a label always has, whatever other labels there are."""
    return sum(ord(character) * 37**place for place, character in enumerate(label[::-1])) % 360


def to_spacy(text: str, spans: Sequence[ShownSpan], doc_or_nlp: Any) -> Any:
    """A `Doc` of the text with these entities, and `doc.spans[SPANS_KEY]` with their scores.

    A span that cuts a token is widened to whole tokens; one that then shares a token with one before it is
    left out. A `UserWarning` counts both.

    Raises `ValueError` if the `Doc` is of another text.
    """
    doc = doc_or_nlp if hasattr(doc_or_nlp, "ents") else doc_or_nlp.make_doc(text)
    if doc.text != text:
        raise ValueError(
            f"the Doc's text is {doc.text[:40]!r}…, and that which was tagged {text[:40]!r}…; give the Doc "
            "of the same text"
        )
    found: list[Any] = []
    scores: list[float | None] = []
    widened = dropped = 0
    for span in spans:
        placed = doc.char_span(span.start, span.end, span.label, alignment_mode="expand")
        if placed is None or (found and placed.start < found[-1].end):
            dropped += 1
            continue
        widened += (placed.start_char, placed.end_char) != (span.start, span.end)
        found.append(placed)
        scores.append(span.score)
    if widened or dropped:
        warnings.warn(
            f"spaCy's tokens are not the model's words: {widened} spans were widened to whole tokens, "
            f"{dropped} left out, since they shared one with a span before",
            stacklevel=3,
        )
    doc.set_ents(found)
    doc.spans[SPANS_KEY] = found
    doc.spans[SPANS_KEY].attrs["scores"] = scores
    return doc
