"""Sentences in colour: all words in order, labels written out, wrong spans marked."""

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
    assert "goldfly <script> new yorkcity & nowtime" in read.text
    assert "<model>fly ✗<script> new yorkcity0.50 & nowtime" in read.text
    marks = [values for tag, values in read.elements if tag == "mark"]
    assert [mark.get("class") for mark in marks] == [None, None, "wrong", None]
    # A colour for each label, the same in both readings.
    hues = [mark["style"] for mark in marks]
    assert hues[0] == hues[2] != hues[1] == hues[3]
    signs = [values for tag, values in read.elements if values.get("class") == "sign"]
    assert [sign["aria-label"] for sign in signs] == ["wrong:"]


def test_a_reading_without_spans_says_so() -> None:
    read = shown(Example(WORDS, [Reading("gold", [Span(0, 1, "city")]), Reading("m", [])], ""))
    assert "no spans" in read.text
    assert "no spans" not in shown(Example(WORDS, [Reading("gold", []), Reading("m", [])], "")).text


def test_a_label_that_nobody_named() -> None:
    assert "flyother" in shown(Example(("fly",), [Reading("gold", [Span(0, 1, "other")])], "")).text
