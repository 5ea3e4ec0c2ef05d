"""Spans against their tags, seqeval's reading included."""

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from distill_jax.errors import UserError
from distill_jax.tagging import (
    Span,
    iob2_from_spans,
    sbio_from_spans,
    spans_from_iob2,
    spans_from_sbio,
)

IOB2_TAGS = ["O", "B-x", "I-x", "B-y", "I-y", "B-a-b", "I-a-b"]


@given(st.lists(st.sampled_from(IOB2_TAGS), max_size=12))
@settings(deadline=None)
def test_iob2_reading_is_conllevals_as_seqeval_implements_it(tags: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entities = get_entities(tags)
    assert spans_from_iob2(tags) == [Span(s, e + 1, label) for label, s, e in entities]


@given(st.lists(st.sampled_from(["O", "I", "x", "y"]), max_size=10))
@settings(deadline=None)
def test_sbio_reading_against_a_plain_definition(tags: list[str]) -> None:
    expected = []
    for start, tag in enumerate(tags):
        if tag not in ("O", "I"):
            end = start + 1
            while end < len(tags) and tags[end] == "I":
                end += 1
            expected.append(Span(start, end, tag))
    assert spans_from_sbio(tags) == expected


def test_the_papers_example() -> None:
    spans = [Span(1, 2, "TRACK"), Span(3, 5, "ARTIST")]
    assert sbio_from_spans(spans, 5) == ["O", "TRACK", "O", "ARTIST", "I"]
    assert iob2_from_spans(spans, 5) == ["O", "B-TRACK", "O", "B-ARTIST", "I-ARTIST"]


@pytest.mark.parametrize("write", [iob2_from_spans, sbio_from_spans])
@pytest.mark.parametrize(
    ("spans", "reason"),
    [
        ([Span(0, 2, "x"), Span(1, 3, "y")], "overlaps"),
        ([Span(0, 2, "x"), Span(0, 2, "x")], "overlaps"),
        ([Span(2, 5, "x")], "does not fit a sentence of 4 words"),
        ([Span(-1, 1, "x")], "does not fit"),
        ([Span(2, 2, "x")], "does not fit"),
        ([Span(0, 1, "")], "no label"),
    ],
)
def test_spans_that_tags_cannot_express(write, spans, reason) -> None:
    with pytest.raises(UserError, match=reason):
        write(spans, 4)


@pytest.mark.parametrize("label", ["O", "I"])
def test_sbio_refuses_labels_named_like_its_own_tags(label: str) -> None:
    with pytest.raises(UserError, match="rename the label"):
        sbio_from_spans([Span(0, 1, label)], 1)


@pytest.mark.parametrize("tag", ["", "B", "B-", "I", "x", "b-x", "E-x", "S-x", "B_x", "OO"])
def test_tags_that_are_not_iob2(tag: str) -> None:
    with pytest.raises(UserError, match="tag"):
        spans_from_iob2(["O", tag])


def test_an_empty_sbio_tag() -> None:
    with pytest.raises(UserError, match="word 2 is empty"):
        spans_from_sbio(["O", ""])
