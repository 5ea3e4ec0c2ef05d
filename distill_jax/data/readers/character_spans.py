"""Spans in characters of a text, mapped to its words.

A span that begins or ends within a word is widened to the whole word and counted (`cut_words`); where
two then share a word, the longer is kept and the other counted (`spans_in_one_word`). Spans that
overlap as they were given are refused: tags cannot express both. Ends are exclusive, unless the text
that a span quotes shows that its last character is counted in; and where every span of a file ends a
character short of its word, the file is refused.
"""

import itertools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from distill_jax.data.readers.source import Source
from distill_jax_runtime.spans import Span, iob2_from_spans

_WORD_CHARACTERS = re.compile(r"\w+")
_FEWEST_SHORT = 2


class CharacterSpan(NamedTuple):
    """Characters `start` to `end` (exclusive) carry `label`; `quote` is what the file says they are."""

    start: int
    end: int
    label: str
    quote: str | None = None


def offsets_of(words: Sequence[str], text: str) -> list[tuple[int, int]] | None:
    """Where words stand in their text, one after the other; None if they do not."""
    offsets: list[tuple[int, int]] = []
    position = 0
    for word in words:
        start = text.find(word, position)
        if start < 0 or not (text[position:start] == "" or text[position:start].isspace()):
            return None
        position = start + len(word)
        offsets.append((start, position))
    return offsets


def tags_of_spans(
    text: str,
    offsets: Sequence[tuple[int, int]],
    spans: Sequence[CharacterSpan],
    source: Source,
    line: int,
) -> tuple[str, ...]:
    """The IOB2 tags of words at these offsets, in order, under spans of the text's characters.

    Raises `UserError` naming the line for a span that leaves the text, is empty, contradicts its
    quote, or overlaps another.
    """
    placed = sorted({_placed(text, span, source, line) for span in spans})
    if len(placed) < len(spans):
        source.report.note("duplicate_spans", line, len(spans) - len(placed))
    for left, right in itertools.pairwise(placed):
        if right.start < left.end:
            source.fail(
                line,
                f"span {_said(text, left)} overlaps {_said(text, right)}; keep one of them, since "
                "tags cannot express both",
            )
    starts = [start for start, _ in offsets]
    ends = [end for _, end in offsets]
    of_words: list[tuple[int, Span]] = []
    for span in placed:
        first, last = bisect_right(ends, span.start), bisect_left(starts, span.end)
        if first >= last:
            source.fail(line, f"span {_said(text, span)} holds no word; correct its start and end")
        if starts[first] != span.start or ends[last - 1] != span.end:
            source.report.note("cut_words", line)
        of_words.append((span.end - span.start, Span(first, last, span.label)))
    return tuple(iob2_from_spans(_apart(of_words, source, line), len(offsets)))


class EndsOfSpans:
    """Whether the ends of a file's spans look as if they counted the last character in."""

    def __init__(self) -> None:
        self._short = 0
        self._first: tuple[int, str, str] | None = None  # line, what the span says, the whole word
        self._is_exclusive = False

    def add(self, text: str, spans: Sequence[CharacterSpan], line: int) -> None:
        """Takes the spans of one text as they were given; a quote says by itself where a span ends."""
        if self._is_exclusive:
            return
        for span in spans:
            end = span.end
            word = _WORD_CHARACTERS.match(text, end)
            is_short = word is not None and word.end() == end + 1
            if not is_short or span.quote is not None or not _ends_before(text[end - 1]):
                self._is_exclusive = True
                return
            self._short += 1
            self._first = self._first or (line, text[span.start : end], text[span.start : end + 1])

    def finish(self, source: Source) -> None:
        """Raises `UserError` if every span of the file, of two at least, ends one character short."""
        if self._is_exclusive or self._short < _FEWEST_SHORT or self._first is None:
            return
        line, said, whole = self._first
        source.fail(
            line,
            f"all {self._short} spans end one character before a word does ({said!r} of {whole!r}): the "
            "last character seems to be counted in; ends are exclusive: add 1 to each",
        )


def _ends_before(character: str) -> bool:
    """Whether a span with this as its last character may lack the one after it."""
    return character.isalnum() or character.isspace()


def _placed(text: str, span: CharacterSpan, source: Source, line: int) -> CharacterSpan:
    """The span in code points, without blanks at its ends and without its quote."""
    start, end, label, quote = span
    if quote is not None and text[start:end].strip() != quote.strip():
        units = _from_utf16(text, start), _from_utf16(text, end)
        if start >= 0 and text[start : end + 1] == quote:
            source.report.note("inclusive_ends", line)
            return CharacterSpan(start, end + 1, label)
        if None in units or text[units[0] : units[1]].strip() != quote.strip():
            source.fail(
                line,
                f"a span says {quote!r}, but characters {start} to {end} are {text[start:end]!r}; "
                "correct its start and end",
            )
        source.report.note("utf16_offsets", line)
        start, end = units[0] or 0, units[1] or 0
    if not 0 <= start < end <= len(text):
        source.fail(
            line,
            f"span {start} to {end} ({label}) does not fit a text of {len(text)} characters; it "
            "needs 0 <= start < end <= length, the end exclusive",
        )
    inside = text[start:end]
    if not inside.strip():
        source.fail(line, f"span {start} to {end} ({label}) holds blanks alone; remove it")
    if inside != inside.strip():
        source.report.note("trimmed_spans", line)
        start += len(inside) - len(inside.lstrip())
        end = start + len(inside.strip())
    return CharacterSpan(start, end, label)


def _from_utf16(text: str, offset: int) -> int | None:
    """The code points before an offset in UTF-16 units; None within a character or beyond the end."""
    units = 0
    for position, character in enumerate(text):
        if units == offset:
            return position
        units += 2 if character > "\uffff" else 1
    return len(text) if units == offset else None


def _apart(spans: Sequence[tuple[int, Span]], source: Source, line: int) -> list[Span]:
    """The spans that share no word with one of more characters (or of as many, before it)."""
    if all(left.end <= right.start for (_, left), (_, right) in itertools.pairwise(spans)):
        return [span for _, span in spans]
    kept: list[Span] = []
    for _, span in sorted(spans, key=lambda pair: -pair[0]):
        if any(span.start < other.end and other.start < span.end for other in kept):
            source.report.note("spans_in_one_word", line)
        else:
            kept.append(span)
    return kept


def _said(text: str, span: CharacterSpan) -> str:
    quote = text[span.start : span.end]
    return f"{quote[:40]!r} ({span.start} to {span.end}, {span.label})"
