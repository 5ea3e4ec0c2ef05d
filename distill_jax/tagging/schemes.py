"""Tagging schemes: reading, writing, converting, checking, repairing and detecting them.

| scheme  | a span of one word, of two, of three | between spans |
|---------|--------------------------------------|---------------|
| `iob1`  | `I`, `I I`, `I I I`; `B` where one of the same label ends just before | `O` |
| `iob2`  | `B`, `B I`, `B I I`  | `O` |
| `bioes` | `S`, `B E`, `B I E`  | `O` |
| `bilou` | `U`, `B L`, `B I L`  | `O` |
| `bmes`  | `S`, `B E`, `B M E`  | `O` |
| `bmewo` | `W`, `B E`, `B M E`  | `O` |
| `sbio`  | the label, then `I`s | `O` |
| `bare`  | the label on every word, so that neighbours of one label cannot be told apart | `O` |

The stated repair: an illegal sequence is read as conlleval reads it (see
`spans.spans_from_prefixed`; for sBIO, an `I` with nothing to continue is `O`), and the spans found
are written in the scheme again. A sequence is legal exactly when this changes nothing.
"""

import itertools
from collections.abc import Iterable, Sequence

from distill_jax.errors import UserError
from distill_jax_runtime.spans import (
    PREFIXES,
    Span,
    iob2_from_spans,
    ordered_spans,
    sbio_from_spans,
    spans_from_iob2,
    spans_from_prefixed,
    spans_from_sbio,
)

PREFIXES_OF = {
    "iob1": "BI",
    "iob2": "BI",
    "bioes": "BIES",
    "bilou": "BILU",
    "bmes": "BMES",
    "bmewo": "BMEW",
}
"""The prefixes of each scheme that has some: begin, inside, and if there are more end and single."""

SCHEMES = (*PREFIXES_OF, "sbio", "bare")


def to_spans(tags: Sequence[str], scheme: str) -> list[Span]:
    """The spans of one sentence's tags, legal or not, in order.

    Raises `UserError` for a tag that does not belong to the scheme or an unknown scheme.
    """
    if scheme in ("iob1", "iob2"):
        return spans_from_iob2(tags)  # conlleval's reading of the two is the same
    if scheme in PREFIXES_OF:
        return spans_from_prefixed(tags, PREFIXES_OF[scheme])
    if scheme == "sbio":
        return spans_from_sbio(tags)
    if scheme == "bare":
        return _spans_from_bare(tags)
    raise _unknown(scheme)


def from_spans(spans: Iterable[Span], length: int, scheme: str) -> list[str]:
    """Writes spans (in any order) as the `length` tags of a scheme.

    Raises `UserError` if spans overlap, are empty or leave the sentence, the scheme cannot express
    them (`bare`: two of one label side by side), or the scheme is unknown.
    """
    if scheme == "iob1":
        return _iob1_from_spans(spans, length)
    if scheme == "iob2":
        return iob2_from_spans(spans, length)
    if scheme in PREFIXES_OF:
        return _with_ends_from_spans(spans, length, PREFIXES_OF[scheme])
    if scheme == "sbio":
        return sbio_from_spans(spans, length)
    if scheme == "bare":
        return _bare_from_spans(spans, length)
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
    """The scheme that a whole data set is in: one of `SCHEMES`, never `bare`.

    Tags that all carry a prefix are in the scheme that has all the prefixes there are; of IOB1 and
    IOB2 in whichever makes fewer sequences illegal (IOB2 on a tie; the choice does not change the
    spans). Tags without `B-` and `I-` are sBIO, in which `E-mail` is a label. Nothing but `O` is
    IOB2.

    Raises `UserError` when tags with and without a prefix are mixed, or prefixes that no scheme has
    together, naming one of each.
    """
    examples: dict[str, str] = {}
    illegal = {"iob1": 0, "iob2": 0}
    for tags in sequences:
        for tag in tags:
            if tag != "O":
                prefixed = len(tag) > 2 and tag[1] == "-" and tag[0] in PREFIXES
                examples.setdefault(tag[0] if prefixed else "plain", tag)
        if examples.keys() <= {"B", "I"}:
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
    if examples.keys() <= {"B", "I"}:
        return "iob1" if illegal["iob1"] < illegal["iob2"] else "iob2"
    common = scheme_of_prefixes(examples)
    if common is None:
        raise UserError(
            f"the data mixes tags of several schemes ({', '.join(map(repr, examples.values()))}); "
            f"write all of them in one ({', '.join(PREFIXES_OF)})"
        )
    return common


def scheme_of_prefixes(prefixes: Iterable[str]) -> str | None:
    """The first scheme of `PREFIXES_OF`, IOB2 before IOB1, that has all these prefixes, or None."""
    wanted = set(prefixes)
    schemes = ("iob2", *PREFIXES_OF)
    return next((name for name in schemes if wanted <= set(PREFIXES_OF[name])), None)


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


def _with_ends_from_spans(spans: Iterable[Span], length: int, prefixes: str) -> list[str]:
    begin, inside, last, single = tuple(prefixes)
    tags = ["O"] * length
    for start, end, label in ordered_spans(spans, length):
        if end - start == 1:
            tags[start] = f"{single}-{label}"
        else:
            inner = [f"{inside}-{label}"] * (end - start - 2)
            tags[start:end] = [f"{begin}-{label}", *inner, f"{last}-{label}"]
    return tags


def _bare_from_spans(spans: Iterable[Span], length: int) -> list[str]:
    tags = ["O"] * length
    ordered = ordered_spans(spans, length)
    for left, right in itertools.pairwise(ordered):
        if left.end == right.start and left.label == right.label:
            raise UserError(
                f"spans {tuple(left)} and {tuple(right)} lie side by side with one label, and tags "
                "without prefixes would make them one; write them in another scheme"
            )
    for start, end, label in ordered:
        if label == "O":
            raise UserError("label 'O' is the tag of words outside any span; rename the label")
        tags[start:end] = [label] * (end - start)
    return tags


def _spans_from_bare(tags: Sequence[str]) -> list[Span]:
    spans: list[Span] = []
    start = 0
    for label, run in itertools.groupby(tags):
        if not label:
            raise UserError(f"the tag of word {start + 1} is empty; write 'O' or a label")
        end = start + sum(1 for _ in run)
        if label != "O":
            spans.append(Span(start, end, label))
        start = end
    return spans


def _unknown(scheme: str) -> UserError:
    return UserError(f"{scheme!r} is not a tagging scheme; use one of {', '.join(SCHEMES)}")
