"""Where teacher and student differ: counted, kept, and shown."""

import json
from pathlib import Path

import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.inference import Prediction
from distill_jax.report.page import Section, page
from distill_jax.study.comparison import (
    COMPARISON,
    Comparison,
    Tagged,
    compare,
    read_comparison,
    write_comparison,
)
from distill_jax.study.comparison_blocks import (
    calibration_blocks,
    confusion_blocks,
    differences_blocks,
)
from distill_jax.study.outputs import write_outputs
from distill_jax.tagging import LabelSet, Sentence, Span
from tests.html_reader import Page
from tests.study.rows import row

LABELS = LabelSet(("city", "time"))
SENTENCES = [
    Sentence(("to", "rome"), ("O", "B-city")),
    Sentence(("<b>", "now"), ("O", "B-time")),
    Sentence(("at", "four"), ("O", "B-time")),
    Sentence(("new", "york"), ("B-city", "I-city")),
]
OUT, IN, CITY, TIME = range(4)
TEACHER = [(OUT, CITY), (OUT, OUT), (OUT, TIME), (CITY, CITY)]
STUDENT = [(OUT, CITY), (OUT, TIME), (OUT, CITY), (OUT, CITY)]


def predictions(tags: list[tuple[int, int]]) -> list[Prediction]:
    return [Prediction(np.array(each, np.int32), None) for each in tags]


def comparison() -> Comparison:
    return compare(LABELS, SENTENCES, predictions(TEACHER), "bilstm", predictions(STUDENT))


def test_counts_and_sentences() -> None:
    result = comparison()
    assert result.counts == [[1, 1], [1, 1]]
    assert [one.words[1] for one in result.different] == ["now", "four", "york"]
    assert result.different[2] == Tagged(
        ("new", "york"),
        (Span(0, 2, "city"),),
        (Span(0, 1, "city"), Span(1, 2, "city")),
        (Span(1, 2, "city"),),
    )


def test_they_are_kept(tmp_path: Path) -> None:
    assert read_comparison(tmp_path) is None
    write_comparison(tmp_path, comparison())
    assert read_comparison(tmp_path) == comparison()
    before = (tmp_path / COMPARISON).read_bytes()
    write_comparison(tmp_path, comparison())
    assert (tmp_path / COMPARISON).read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "[{}]", '[{"schema": 2}]', "[1]"])
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / COMPARISON).write_text(text)
    with pytest.raises(UserError, match=COMPARISON):
        read_comparison(tmp_path)


def test_a_truncated_file(tmp_path: Path) -> None:
    write_comparison(tmp_path, comparison())
    path = tmp_path / COMPARISON
    path.write_text(path.read_text()[:-20])
    with pytest.raises(UserError, match="damaged"):
        read_comparison(tmp_path)
    for change in ({"student": None}, {"teacher": [[0, 1]]}):
        head, *sentences = json.loads(
            json.dumps([{"schema": 1}, comparison().sentences[0]._asdict()])
        )
        path.write_text(json.dumps([head, sentences[0] | change]))
        with pytest.raises(UserError, match="damaged"):
            read_comparison(tmp_path)


def test_the_section() -> None:
    read = Page(page("t", "", [], [Section("s", "s", differences_blocks("SNIPS", comparison()))]))
    assert ["teacher right", "1", "1"] in read.tables[0]
    assert "3 sentences are tagged differently by the teacher and bilstm" in read.text
    # The teacher right, the student right, neither.
    order = [read.text.index(text) for text in ("fourtime", "<b> nowtime", "new yorkcity")]
    assert order == sorted(order)
    most = Page(page("t", "", [], [Section("s", "s", differences_blocks("S", comparison(), 1))]))
    assert "The first 1 of them" in most.text and "york" not in most.text


def test_confusion_of_both_models() -> None:
    read = Page(page("t", "", [], [Section("s", "s", confusion_blocks("SNIPS", comparison()))]))
    assert "SNIPS: teacher" in read.text and "SNIPS: bilstm" in read.text
    assert ["time", "(missed)", "1"] in read.tables[0]  # the teacher has nothing at "now"
    assert ["time", "city", "1"] in read.tables[2]  # the student takes "four" for a city


def test_calibration_where_there_are_posteriors() -> None:
    assert not calibration_blocks("SNIPS", comparison(), "0")
    sure = [
        Prediction(np.array(tags, np.int32), np.log(np.eye(4, dtype=np.float32)[list(tags)] + 1e-3))
        for tags in TEACHER
    ]
    both = compare(LABELS, SENTENCES, sure, "bilstm", sure)
    read = Page(page("t", "", [], [Section("s", "s", calibration_blocks("SNIPS", both, "0"))]))
    assert "SNIPS: teacher" in read.text and "SNIPS: bilstm" in read.text
    assert both.calibration["teacher"]["accuracy"] == 6 / 8


def test_the_page_of_a_study_shows_what_cells_hold(tmp_path: Path) -> None:
    teacher = {"model": "t5", "recipe": "teacher"}
    rows = [
        each
        for seed in (0, 1)
        for each in (
            row("snips", seed, "teacher", 0.5, **teacher),
            row("snips", seed, "bilstm-gold", 0.5, recipe="gold"),
        )
    ]
    write_comparison(tmp_path / "cells" / "snips_gold100_dev50_seed1", comparison())
    write_outputs(tmp_path, rows, {})
    read = Page((tmp_path / "report.html").read_text("utf-8"))
    assert (
        {"confusion", "different"} <= set(read.ids)
        and "SNIPS, 100/50" in read.text
        and "fourtime" in read.text
    )


def test_names_and_words_are_never_html() -> None:
    nasty = "<script>alert(\"x\", 'y')</script>"
    labels = LabelSet((nasty,))
    tagged = [Sentence((nasty, "it's"), (f"B-{nasty}", "O"))]
    models = [Prediction(np.array(tags, np.int32), None) for tags in ((CITY, IN), (OUT, CITY))]
    differing = compare(labels, tagged, models[:1], nasty, models[1:])
    blocks = [*confusion_blocks(nasty, differing), *differences_blocks(nasty, differing)]
    html = page(nasty, nasty, [], [Section("s", nasty, blocks)])
    assert "<script" not in html
    read = Page(html)
    assert f"{nasty}: {nasty}" in read.text and f"by the teacher and {nasty}." in read.text
    assert f"gold○{nasty}{nasty} it's" in read.text
