"""Labelled spans of words, and how IOB2 and sBIO write them as tags.

sBIO (Farina et al. 2023, arXiv 2302.05454): the first word of a span carries its label, every
further word the one shared tag `I`, a word outside any span `O`.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from distill_jax_runtime.errors import UserError

PREFIXES = "BIESLUMW"
"""Of all schemes: begin, inside (M: middle), end (L: last), single (U: unit, W: whole)."""

OPENING, CLOSING = "BSUW", "ESLUW"
"""Prefixes that open a span whatever stands before them, and that close it whatever follows."""


class Span(NamedTuple):
    """The words `start` (inclusive) to `end` (exclusive) of a sentence carry `label`."""

    start: int
    end: int
    label: str


@lru_cache(maxsize=65536)
def split_tag(tag: str) -> tuple[str, str]:
    """Splits `B-city` into `("B", "city")`; `O` becomes `("O", "")`.

    Raises `UserError` for anything that is not `O` or one of `PREFIXES`, a hyphen and a label.
    """
    if tag == "O":
        return "O", ""
    if len(tag) > 2 and tag[1] == "-" and tag[0] in PREFIXES:
        return tag[0], tag[2:]
    raise UserError(
        f"tag {tag!r} is neither 'O' nor a prefix with a label such as 'B-city'; "
        "correct the tag or name the tagging scheme the data is in"
    )


def spans_from_prefixed(tags: Sequence[str], prefixes: str) -> list[Span]:
    """Reads IOB1, IOB2, BIOES, BILOU or BMES tags as conlleval does; one reading serves them all.

    A span opens at one of `OPENING`, at any other prefix that follows `O`, one of `CLOSING`, another
    label or the start of the sentence, and ends before the next opening word or `O`. Illegal
    sequences thus have a defined reading. `prefixes` lists those the scheme has, such as `"BI"`.

    Raises `UserError` for a tag that is not of the scheme.
    """
    spans: list[Span] = []
    start, previous_prefix, previous_label = 0, "O", ""
    for position, tag in enumerate(tags):
        prefix, label = split_tag(tag)
        if prefix != "O" and prefix not in prefixes:
            raise UserError(
                f"tag {tag!r} of word {position + 1}: this scheme has no prefix {prefix!r}, only "
                f"{', '.join(prefixes)}; correct the tag or name the scheme the data is in"
            )
        opens = (
            prefix in OPENING
            or previous_prefix == "O"
            or previous_prefix in CLOSING
            or label != previous_label
        )
        if previous_prefix != "O" and (opens or prefix == "O"):
            spans.append(Span(start, position, previous_label))
        if opens:
            start = position
        previous_prefix, previous_label = prefix, label
    if previous_prefix != "O":
        spans.append(Span(start, len(tags), previous_label))
    return spans


def spans_from_iob2(tags: Sequence[str]) -> list[Span]:
    """The spans of IOB2 tags in order, read as conlleval does.

    An `I-X` at the start or after `O` or another label opens a span. Raises `UserError` for a tag
    that is not `O`, `B-…` or `I-…`.
    """
    return spans_from_prefixed(tags, "BI")


def spans_from_sbio(tags: Sequence[str]) -> list[Span]:
    """The spans of sBIO tags in order.

    An `I` at the start or after `O` names no label to open a span with: it is read as `O`, and so
    are those that follow it. Raises `UserError` for an empty tag.
    """
    spans: list[Span] = []
    start, label = 0, ""
    for position, tag in enumerate(tags):
        if not tag:
            raise UserError(f"the tag of word {position + 1} is empty; write 'O', 'I' or a label")
        if tag == "I":
            continue
        if label:
            spans.append(Span(start, position, label))
        start, label = position, "" if tag == "O" else tag
    if label:
        spans.append(Span(start, len(tags), label))
    return spans


def ordered_spans(spans: Iterable[Span], length: int) -> list[Span]:
    """The spans sorted by position, checked against a sentence of `length` words.

    Raises `UserError` if one is empty, has no label, leaves the sentence, or overlaps another.
    """
    ordered = sorted(spans)
    end = 0
    for span in ordered:
        if not span.label:
            raise UserError(f"the span of words {span.start} to {span.end} has no label; name one")
        if not 0 <= span.start < span.end <= length:
            raise UserError(
                f"span {tuple(span)} does not fit a sentence of {length} words; "
                "it needs 0 <= start < end <= length"
            )
        if span.start < end:
            raise UserError(
                f"span {tuple(span)} overlaps the one before it; "
                "keep one of them, since tags cannot express both"
            )
        end = span.end
    return ordered


def iob2_from_spans(spans: Iterable[Span], length: int) -> list[str]:
    """Writes spans as `length` IOB2 tags. Raises `UserError` on overlap or out of range."""
    tags = ["O"] * length
    for start, end, label in ordered_spans(spans, length):
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tags


def sbio_from_spans(spans: Iterable[Span], length: int) -> list[str]:
    """Writes spans as `length` sBIO tags.

    Raises `UserError` on overlap or out of range, and for a label named `O` or `I`, which sBIO
    cannot tell from its own tags.
    """
    tags = ["O"] * length
    for start, end, label in ordered_spans(spans, length):
        if label in ("O", "I"):
            raise UserError(f"label {label!r} is one of sBIO's own tags; rename the label")
        tags[start:end] = [label] + ["I"] * (end - start - 1)
    return tags
