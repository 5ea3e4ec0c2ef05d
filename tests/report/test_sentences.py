"""Sentences in colour: all words in order, labels written out, wrong spans marked."""

import itertools

from distill_jax.report.page import Section, page
from distill_jax.report.sentences import Example, Reading, sentence_list
from distill_jax.tagging import Span
from tests.html_reader import Page

WORDS = ("fly", "<script>", "new", "york", "&", "now")


def shown(*examples: Example) -> Page:
    return Page(page("t", "", [], [Section("s", "s", [sentence_list(examples, ["city", "time"])])]))


def test_a_sentence() -> None:
    gold = Reading("gold", [Span(2, 4, "city"), Span(5, 6, "time")])
    other = Reading("<model>", [Span(1, 4, "city"), Span(5, 6, "time")], [0.5, None])
    read = shown(Example(WORDS, [gold, other], "about"))
    assert "about" in read.text
    assert "goldfly <script> ○new yorkcity & nowtime" in read.text
    assert "<model>fly ✗<script> new yorkcity0.50 & nowtime" in read.text
    marks = [values for tag, values in read.elements if tag == "mark"]
    assert [mark.get("class") for mark in marks] == ["missed", None, "wrong", None]
    # A colour for each label, the same in both readings.
    hues = [mark["style"] for mark in marks]
    assert hues[0] == hues[2] != hues[1] == hues[3]
    signs = [values for tag, values in read.elements if values.get("class") == "sign"]
    assert [sign["aria-label"] for sign in signs] == ["missed:", "wrong:"]


def test_a_gold_span_says_who_misses_it() -> None:
    gold = Reading("gold", [Span(0, 1, "city"), Span(2, 4, "city")])
    some, none = Reading("a", [Span(0, 1, "city")]), Reading("b", [])
    read = shown(Example(WORDS, [gold, some, none], ""))
    signs = [values for _, values in read.elements if values.get("class") == "sign"]
    assert [sign["aria-label"] for sign in signs] == ["missed by b:", "missed:"]


def test_many_labels_are_told_apart() -> None:
    labels = [f"label{number}" for number in range(48)]
    sentence = Example(
        labels, [Reading("gold", [Span(i, i + 1, x) for i, x in enumerate(labels)])], ""
    )
    read = Page(page("t", "", [], [Section("s", "s", [sentence_list([sentence], labels)])]))
    styles = [values["style"] for tag, values in read.elements if tag == "mark"]
    assert len(set(styles)) == 48
    # Of one label and the next the hues are far from each other.
    hues = [int(str(style).split(":")[1].split(";")[0]) for style in styles]
    distances = [abs(a - b) for a, b in itertools.pairwise(hues)]
    assert min(min(one, 360 - one) for one in distances) >= 90


def test_a_reading_without_spans_says_so() -> None:
    read = shown(Example(WORDS, [Reading("gold", [Span(0, 1, "city")]), Reading("m", [])], ""))
    assert read.text.count("no spans") == 1
    assert "no spans" not in shown(Example(WORDS, [Reading("gold", []), Reading("m", [])], "")).text


def test_a_label_that_nobody_named() -> None:
    assert "flyother" in shown(Example(("fly",), [Reading("gold", [Span(0, 1, "other")])], "")).text
