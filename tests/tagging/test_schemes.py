"""Schemes: both ways, repair, detection."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from distill_jax.errors import UserError
from distill_jax.tagging import (
    SCHEMES,
    Span,
    convert,
    detect_scheme,
    from_spans,
    is_legal,
    repair,
    to_spans,
)
from distill_jax.tagging.schemes import PREFIXES_OF

ALPHABETS = {
    "iob1": ["O", "B-x", "I-x", "B-y", "I-y"],
    "iob2": ["O", "B-x", "I-x", "B-y", "I-y"],
    **{
        scheme: ["O"] + [f"{p}-{label}" for p in prefixes for label in "xy"]
        for scheme, prefixes in PREFIXES_OF.items()
        if len(prefixes) == 4
    },
    "sbio": ["O", "I", "x", "y"],
    "bare": ["O", "x", "y"],
}

# Two adjacent spans of x, then a y span beside them, then one apart: as each scheme writes them.
ADJACENT = [Span(0, 1, "x"), Span(1, 3, "x"), Span(3, 6, "y"), Span(7, 8, "x")]
WRITTEN = {
    "iob1": "I-x B-x I-x I-y I-y I-y O I-x",
    "iob2": "B-x B-x I-x B-y I-y I-y O B-x",
    "bioes": "S-x B-x E-x B-y I-y E-y O S-x",
    "bilou": "U-x B-x L-x B-y I-y L-y O U-x",
    "bmes": "S-x B-x E-x B-y M-y E-y O S-x",
    "bmewo": "W-x B-x E-x B-y M-y E-y O W-x",
    "sbio": "x x I y I I O x",
}
LOSSLESS = tuple(WRITTEN)
"""Schemes that write any spans; `bare` cannot tell neighbours of one label apart."""

# Examples of the stated repair: what stands in the data, and what it is read as.
REPAIRS = [
    ("iob2", "I-x I-x O I-y", "B-x I-x O B-y"),
    ("iob2", "B-x I-y I-y", "B-x B-y I-y"),
    ("iob1", "B-x I-x O B-y", "I-x I-x O I-y"),
    ("iob1", "I-x B-y", "I-x I-y"),
    ("bioes", "B-x O E-x I-x", "S-x O S-x S-x"),
    ("bioes", "I-x I-x B-x", "B-x E-x S-x"),
    ("bioes", "B-x E-y", "S-x S-y"),
    ("bilou", "B-x O L-x I-x", "U-x O U-x U-x"),
    ("bmes", "M-x M-x B-x", "B-x E-x S-x"),
    ("bmewo", "B-x E-y", "W-x W-y"),
    ("sbio", "I I O I x I", "O O O O x I"),
]

schemes = st.sampled_from(LOSSLESS)


@st.composite
def span_sets(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Disjoint spans, adjacent ones and gaps alike, and the sentence's length."""
    spans, end = [], 0
    for _ in range(draw(st.integers(0, 5))):
        start = end + draw(st.integers(0, 2))
        end = start + draw(st.integers(1, 3))
        spans.append(Span(start, end, draw(st.sampled_from("xy"))))
    return spans, end + draw(st.integers(0, 2))


@st.composite
def tagged(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A scheme and any sequence of its tags, legal or not."""
    scheme = draw(st.sampled_from(SCHEMES))
    return scheme, draw(st.lists(st.sampled_from(ALPHABETS[scheme]), max_size=10))


@pytest.mark.parametrize("scheme", LOSSLESS)
def test_adjacent_spans_of_one_type_are_written_and_read_back(scheme: str) -> None:
    assert from_spans(reversed(ADJACENT), 8, scheme) == WRITTEN[scheme].split()
    assert to_spans(WRITTEN[scheme].split(), scheme) == ADJACENT


@given(span_sets(), schemes)
@settings(deadline=None)
def test_spans_round_trip_through_every_scheme(spans_and_length, scheme: str) -> None:
    spans, length = spans_and_length
    tags = from_spans(spans, length, scheme)
    assert len(tags) == length
    assert is_legal(tags, scheme)
    assert to_spans(tags, scheme) == spans


@given(span_sets(), schemes, schemes)
@settings(deadline=None)
def test_conversion_both_ways_loses_nothing(spans_and_length, source: str, target: str) -> None:
    tags = from_spans(*spans_and_length, source)
    assert convert(convert(tags, source, target), target, source) == tags


@given(tagged())
@settings(deadline=None)
def test_repair_is_idempotent_keeps_the_reading_and_leaves_legal_sequences_alone(case) -> None:
    scheme, tags = case
    repaired = repair(tags, scheme)
    assert is_legal(repaired, scheme)
    assert repair(repaired, scheme) == repaired
    assert to_spans(repaired, scheme) == to_spans(tags, scheme)
    assert (repaired == tags) == is_legal(tags, scheme) == obeys_rules(tags, scheme)


@given(st.lists(st.sampled_from(ALPHABETS["bioes"]), max_size=10))
@settings(deadline=None)
def test_bioes_reading_is_seqevals(tags: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entities = get_entities(tags)
    assert to_spans(tags, "bioes") == [Span(s, e + 1, label) for label, s, e in entities]


@pytest.mark.parametrize(("scheme", "tags", "repaired"), REPAIRS)
def test_the_stated_repair(scheme: str, tags: str, repaired: str) -> None:
    assert repair(tags.split(), scheme) == repaired.split()


def obeys_rules(tags: list[str], scheme: str) -> bool:
    """The rules of each scheme as its definition states them, word pair by word pair."""
    for previous, tag in zip(["O", *tags], [*tags, "O"], strict=True):
        label = tag[2:]
        same = previous != "O" and previous[2:] == label
        if scheme == "sbio" and tag == "I" and previous == "O":
            return False
        if scheme == "iob2" and tag[0] == "I" and not same:
            return False
        if scheme == "iob1" and tag[0] == "B" and not same:
            return False
        if len(PREFIXES_OF.get(scheme, "")) == 4:
            # B and I must be continued by I or E of the same label, and nothing else may be.
            begin, inside, end, _ = PREFIXES_OF[scheme]
            if (previous[0] in begin + inside) != (tag[0] in inside + end):
                return False
            if tag[0] in inside + end and not same:
                return False
    return True


@pytest.mark.parametrize(
    ("scheme", "tag"),
    [("iob2", "S-x"), ("iob1", "x"), ("bioes", "U-x"), ("sbio", ""), ("bare", "")],
)
def test_a_tag_of_another_scheme(scheme: str, tag: str) -> None:
    assert not is_legal([tag], scheme)
    with pytest.raises(UserError, match="tag"):
        repair([tag], scheme)


def test_an_unknown_scheme() -> None:
    for call in (to_spans, is_legal, repair):
        with pytest.raises(UserError, match=r"iob1, iob2, bioes, bilou, .*bare"):
            call(["O"], "bioul")
    with pytest.raises(UserError, match="not a tagging scheme"):
        from_spans([], 1, "bioul")


@pytest.mark.parametrize("scheme", LOSSLESS)
def test_detection(scheme: str) -> None:
    assert detect_scheme(iter([["O"], WRITTEN[scheme].split()])) == scheme


@given(st.lists(span_sets(), max_size=4), schemes)
@settings(deadline=None)
def test_detected_scheme_reads_the_same_spans(cases, scheme: str) -> None:
    sequences = [from_spans(spans, length, scheme) for spans, length in cases]
    detected = detect_scheme(sequences)
    for (spans, _), tags in zip(cases, sequences, strict=True):
        assert to_spans(tags, detected) == spans


def test_bare_tags_are_runs_of_one_label() -> None:
    spans = [Span(0, 2, "x"), Span(2, 3, "y"), Span(4, 5, "x")]
    assert to_spans(["x", "x", "y", "O", "x"], "bare") == spans
    assert from_spans(spans, 5, "bare") == ["x", "x", "y", "O", "x"]
    with pytest.raises(UserError, match="side by side with one label"):
        from_spans([Span(0, 1, "x"), Span(1, 2, "x")], 2, "bare")
    with pytest.raises(UserError, match="rename the label"):
        from_spans([Span(0, 1, "O")], 1, "bare")


def test_detection_of_unclear_data() -> None:
    assert detect_scheme([]) == "iob2"
    assert detect_scheme([["O", "O"]]) == "iob2"
    assert detect_scheme([["B-x", "I-x"], ["I-x"], ["B-y"]]) == "iob2"  # one slip
    assert detect_scheme([["E-mail", "O"], ["S-Bahn", "I", "city"]]) == "sbio"
    with pytest.raises(UserError, match=r"several schemes \('L-x', 'E-x'\)"):
        detect_scheme([["L-x"], ["E-x"]])
    with pytest.raises(UserError, match=r"'B-x'.*'city'"):
        detect_scheme([["B-x"], ["city"]])
