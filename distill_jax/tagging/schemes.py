"""Tagging schemes: reading, writing, converting, checking, repairing and detecting them.

The stated repair: an illegal sequence is read as conlleval reads it (see
`spans.spans_from_prefixed`; for sBIO, an `I` with nothing to continue is `O`), and the spans found
are written in the scheme again. A sequence is legal exactly when this changes nothing.
"""

from collections.abc import Iterable, Sequence

from distill_jax.errors import UserError
from distill_jax.tagging.spans import (
    Span,
    iob2_from_spans,
    ordered_spans,
    sbio_from_spans,
    spans_from_iob2,
    spans_from_prefixed,
    spans_from_sbio,
)

SCHEMES = ("iob1", "iob2", "bioes", "sbio")


def to_spans(tags: Sequence[str], scheme: str) -> list[Span]:
    """The spans of one sentence's tags, legal or not, in order.

    Raises `UserError` for a tag that does not belong to the scheme or an unknown scheme.
    """
    if scheme in ("iob1", "iob2"):
        return spans_from_iob2(tags)  # conlleval's reading of the two is the same
    if scheme == "bioes":
        return spans_from_prefixed(tags, "BIES")
    if scheme == "sbio":
        return spans_from_sbio(tags)
    raise _unknown(scheme)


def from_spans(spans: Iterable[Span], length: int, scheme: str) -> list[str]:
    """Writes spans (in any order) as the `length` tags of a scheme.

    Raises `UserError` if spans overlap, are empty or leave the sentence, or the scheme is unknown.
    """
    if scheme == "iob1":
        return _iob1_from_spans(spans, length)
    if scheme == "iob2":
        return iob2_from_spans(spans, length)
    if scheme == "bioes":
        return _bioes_from_spans(spans, length)
    if scheme == "sbio":
        return sbio_from_spans(spans, length)
    raise _unknown(scheme)


def convert(tags: Sequence[str], source: str, target: str) -> list[str]:
    """Rewrites one sentence's tags from one scheme in another, repairing them on the way."""
    return from_spans(to_spans(tags, source), len(tags), target)


def repair(tags: Sequence[str], scheme: str) -> list[str]:
    """The legal sequence nearest in reading (see the module's text); legal ones come back as is.

    Raises `UserError` for a tag that does not belong to the scheme.
    """
    return convert(tags, scheme, scheme)


def is_legal(tags: Sequence[str], scheme: str) -> bool:
    """Whether the tags belong to the scheme and follow its rules. Unknown scheme: `UserError`."""
    if scheme not in SCHEMES:
        raise _unknown(scheme)
    try:
        return repair(tags, scheme) == list(tags)
    except UserError:
        return False


def detect_scheme(sequences: Iterable[Sequence[str]]) -> str:
    """The scheme that a whole data set is in: one of `SCHEMES`.

    Tags that all carry a prefix are BIOES if any is `E-` or `S-`, else whichever of IOB1 and IOB2
    makes fewer sequences illegal (IOB2 on a tie; the choice does not change the spans). Tags
    without `B-` and `I-` are sBIO, in which `E-mail` is a label. Nothing but `O` is IOB2.

    Raises `UserError` when tags with and without a prefix are mixed, naming one of each.
    """
    examples: dict[str, str] = {}
    illegal = {"iob1": 0, "iob2": 0}
    for tags in sequences:
        for tag in tags:
            if tag != "O":
                prefixed = len(tag) > 2 and tag[1] == "-" and tag[0] in "BIES"
                examples.setdefault(tag[0] if prefixed else "plain", tag)
        if not examples.keys() & {"E", "S", "plain"}:
            for scheme in illegal:
                illegal[scheme] += not is_legal(tags, scheme)
    if "plain" in examples:
        other = examples.get("B") or examples.get("I")
        if other:
            raise UserError(
                f"the data mixes tags with a prefix such as {other!r} and tags without one such as "
                f"{examples['plain']!r}; write all of them in one scheme ({', '.join(SCHEMES)})"
            )
        return "sbio"
    if "E" in examples or "S" in examples:
        return "bioes"
    return "iob1" if illegal["iob1"] < illegal["iob2"] else "iob2"


def _iob1_from_spans(spans: Iterable[Span], length: int) -> list[str]:
    tags = ["O"] * length
    previous = Span(0, -1, "")
    for span in ordered_spans(spans, length):
        tags[span.start : span.end] = [f"I-{span.label}"] * (span.end - span.start)
        # IOB1 marks a beginning only where the span before it would otherwise swallow it.
        if previous.end == span.start and previous.label == span.label:
            tags[span.start] = f"B-{span.label}"
        previous = span
    return tags


def _bioes_from_spans(spans: Iterable[Span], length: int) -> list[str]:
    tags = ["O"] * length
    for start, end, label in ordered_spans(spans, length):
        if end - start == 1:
            tags[start] = f"S-{label}"
        else:
            inner = [f"I-{label}"] * (end - start - 2)
            tags[start:end] = [f"B-{label}", *inner, f"E-{label}"]
    return tags


def _unknown(scheme: str) -> UserError:
    return UserError(f"{scheme!r} is not a tagging scheme; use one of {', '.join(SCHEMES)}")
