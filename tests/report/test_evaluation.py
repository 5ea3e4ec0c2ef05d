"""The page of an evaluation: its numbers, and which sentences it shows in which order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from distill_jax.inference import Prediction, evaluate
from distill_jax.report import reliability
from distill_jax.report.cases import Evaluated
from distill_jax.report.evaluation import evaluation_page
from distill_jax.report.model_names import called
from distill_jax.report.number_format import share as printed
from distill_jax.tagging import LabelSet, Sentence
from tests.html_reader import Page

LABELS = LabelSet(("city", "time"))
OUT, IN, CITY, TIME = range(4)
SENTENCES = [
    Sentence(("to", "rome"), ("O", "B-city")),
    Sentence(("now", "<script>"), ("B-time", "O")),
    Sentence(("to", "new", "york"), ("O", "B-city", "I-city")),
    Sentence(("at", "four"), ("O", "B-time")),
    Sentence((), ()),
]


def prediction(tags: Sequence[int], sure: float | None = 0.9) -> Prediction:
    """Tags, each with the posterior `sure`, the rest shared equally; None: no posteriors."""
    ids = np.array(tags, np.int32)
    if sure is None:
        return Prediction(ids, None)
    posteriors = np.full((len(tags), 4), (1 - sure) / 3)
    posteriors[np.arange(len(tags)), ids] = sure
    return Prediction(ids, np.log(posteriors).astype(np.float32))


def evaluated(model: str, *predictions: Prediction, **more: Any) -> Evaluated:
    result = evaluate(LABELS, SENTENCES, predictions)
    result |= {"parameters": 1_234_567, "sentences_per_second": 1234.5, "temperature": 1.0}
    result |= {"decoder": {"algorithm": "sentscore", "beam": 2}}
    return Evaluated(model, LABELS, predictions, result | more)


FIRST = (
    prediction([OUT, CITY]),
    prediction([TIME, TIME], 0.7),  # a span too many
    prediction([OUT, OUT, OUT], 0.8),  # a span missed
    prediction([OUT, CITY], 0.95),  # another label
    prediction([]),
)
SECOND = (
    prediction([OUT, OUT], 0.6),
    prediction([TIME, OUT]),
    prediction([OUT, CITY, IN]),
    prediction([OUT, CITY], 0.5),
    prediction([]),
)


def parts(html: str) -> dict[str, str]:
    """The text of each section by its heading."""
    texts = {}
    for part in html.split("<section id=")[1:]:
        text = Page(
            '<!DOCTYPE html>\n<html lang="en"><section id='
            + part.split("</section>")[0]
            + "</section></html>"
        ).text
        title = part.split("<h2>")[1].split("</h2>")[0]
        texts[title] = text
    return texts


def test_every_number_of_the_json_is_there() -> None:
    fit = {"temperature": 1.0, "nll": 0.1234, "ece": 0.2345, "brier": 0.3456}
    other = {"temperature": 2.0, "nll": 0.1111, "ece": 0.2222, "brier": 0.3333}
    model = evaluated(
        "m",
        *FIRST,
        malformed=0.125,
        malformations={"order": 0.0625},
        temperature_fit={"before": fit, "after": other},
        unexplored=3e-6,
        gold_unexplored=0.0,
        warmup_seconds=12.34,
    )
    html = evaluation_page("data.conll", SENTENCES, [model])
    read = Page(html)
    result = model.result
    rows = [row for table in read.tables for row in table]
    cells = {row[0]: row[1:] for row in read.tables[1]}  # all labels
    for name in ("f1", "precision", "recall", "f1_strict", "perfect", "illegal", "malformed"):
        assert cells[name][0] == printed(result[name])
    for name in ("ece", "brier", "nll", "unexplored", "gold_unexplored", "accuracy"):
        assert printed(result[name]) in read.text
    for name in ("sentences", "words", "parameters"):
        assert cells[name][0] == f"{result[name]:,}"
    assert cells["sentences/s"][0] == "1,234.5" and cells["warm-up s"][0] == "12.3"
    assert ["order", "0.0625"] in rows
    for label, figures in result["per_label"].items():
        shown = [f"{figures[name]:.4f}" for name in ("precision", "recall", "f1")]
        assert [label, *shown, str(figures["support"])] in rows
    for each in (*fit.values(), *other.values()):
        assert f"{each:.4f}" in read.text
    for each in result["bins"]:
        assert not each["count"] or f"{each['accuracy']:.4f}" in read.text
    assert "sentscore, beam 2" in read.text
    assert read.links_hold()
    assert html == evaluation_page("data.conll", SENTENCES, [model])


def test_the_surest_mistake_comes_first() -> None:
    text = parts(evaluation_page("d", SENTENCES, [evaluated("m", *FIRST)]))[
        "Sentences tagged wrongly"
    ]
    assert "3 of 5 sentences" in text and "All, the most confident mistakes first" in text
    # 0.64 = 0.8²: that neither word of `new york` is in a span. The others are wrong spans.
    mistakes = [part[:4] for part in text.split("confidence of the mistake: ")[1:]]
    assert mistakes == ["0.95", "0.70", "0.64"]
    order = [text.index(word) for word in ("four", "<script>", "york")]
    assert order == sorted(order)
    assert "predictedat ✗fourcity0.95" in text
    assert "rome" not in text


def test_so_many_sentences_and_no_more() -> None:
    html = evaluation_page("d", SENTENCES, [evaluated("m", *FIRST)], examples=1)
    text = parts(html)["Sentences tagged wrongly"]
    assert "3 of 5 sentences. The first 1, the most confident" in text
    assert "four" in text and "york" not in text


def test_without_posteriors_the_order_is_that_of_the_data() -> None:
    greedy = [one._replace(log_likelihoods=None) for one in FIRST]
    html = evaluation_page("d", SENTENCES, [evaluated("m", *greedy)])
    sections = parts(html)
    text = sections["Sentences tagged wrongly"]
    assert "in the order of the data" in text and "confidence" not in text
    order = [text.index(word) for word in ("<script>", "york", "four")]
    assert order == sorted(order)
    assert "Reliability" not in sections


def test_two_models() -> None:
    first, second = evaluated("student", *FIRST), evaluated("teacher", *SECOND)
    html = evaluation_page("d", SENTENCES, [first, second])
    assert html == evaluation_page("d", SENTENCES, [first, second])
    read = Page(html)
    rows = [row for table in read.tables for row in table]
    figures = [printed(model.result["f1"]) for model in (first, second)]
    assert ["f1", *figures] in [row[:3] for row in rows]
    assert ["student right", "1", "1"] in rows  # the sentence without words, and `to rome`
    assert ["student wrong", "2", "1"] in rows
    text = parts(html)["Sentences the models tag differently"]
    assert "3 of 5 sentences" in text and "four" not in text
    # `rome` is a span of 0.90 that the other model does not see; 0.70 and 0.64 as above.
    order = [text.index(word) for word in ("rome", "<script>", "york")]
    assert order == sorted(order)
    assert text.count("teacher is right") == 2
    assert text.count("student is right") == 1
    assert "goldto ○romecity" in text  # the teacher misses it
    assert "studentto romecity0.90" in text and "teacherto rome — no spans" in text
    headings = [tag for tag, _ in read.elements]
    assert headings.count("svg") in (0, 2)  # a diagram of each, where matplotlib is
    assert "Words by confidence" in parts(html)["Reliability"]


@pytest.mark.parametrize(
    ("directories", "names"),
    [
        (["runs/x/teacher/model", "runs/x/bilstm/model"], ("teacher", "bilstm")),
        (["a/x/model", "b/x"], ("a/x", "b/x")),
        (["model", "/models/bert/"], ("model", "bert")),
        (["b/a/model", "b/a/model"], ("a (1)", "a (2)")),
        (["."], (".",)),
        ([], ()),
    ],
)
def test_what_models_are_called(directories: list[str], names: tuple[str, ...]) -> None:
    assert called(directories) == names


def test_equally_sure_mistakes_come_in_turns() -> None:
    labels = LabelSet(("city", "time"))
    data = [Sentence((f"w{n}",), ("B-time",)) for n in range(4)] + [Sentence(("last",), ("O",))]
    made = [prediction([CITY], 0.999)] * 5
    result = evaluate(labels, data, made) | {
        name: evaluated("m", *FIRST).result[name]
        for name in ("parameters", "sentences_per_second", "temperature", "decoder")
    }
    text = parts(evaluation_page("d", data, [Evaluated("m", labels, made, result)]))[
        "Sentences tagged wrongly"
    ]
    assert text.index("w0") < text.index("last") < text.index("w1") < text.index("w2")
    assert "0.9990" in text  # not 1.00


def test_models_that_agree_and_are_right() -> None:
    right = [prediction(LABELS.encode_iob2(s.tags or ()).tolist()) for s in SENTENCES]
    html = evaluation_page("d", SENTENCES, [evaluated("a", *right), evaluated("b", *right)])
    sections = parts(html)
    assert "every sentence has all its spans" in sections["Sentences tagged wrongly"]
    assert "the models agree" in sections["Sentences the models tag differently"]


def test_without_matplotlib_the_numbers_stand_for_the_diagram(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reliability, "can_plot", lambda: False)
    html = evaluation_page("d", SENTENCES, [evaluated("m", *FIRST)])
    assert "<svg" not in html and "needs matplotlib" in html
    assert ["0.67 to 0.73", "2", "0.7000", "0.5000"] in [r for t in Page(html).tables for r in t]


def test_words_labels_and_names_are_never_html() -> None:
    nasty = "<script>alert(\"x\", 'y')</script>"
    labels = LabelSet((nasty, "a\"b'c"))
    data = [Sentence((nasty, "it's", '"'), (f"B-{nasty}", "O", "B-a\"b'c"))]
    made = Prediction(np.array([OUT, CITY, TIME], np.int32), None)
    result = evaluated("m", *FIRST).result | evaluate(labels, data, [made])
    models = [Evaluated(f"{nasty}{n}", labels, [made], result) for n in range(2)]
    html = evaluation_page(f"{nasty}.conll", data, models)
    assert "<script" not in html
    read = Page(html)  # no script, no attribute that runs one
    assert read.links_hold()
    for text in (f"{nasty}0", f"{nasty}1", f"{nasty}.conll", f"gold○{nasty}{nasty} it's \"a\"b'c"):
        assert text in read.text
    assert f"{nasty}, other words" not in read.text  # it is missed, and another is spurious
    assert [nasty, "(missed)", "1"] in [row for table in read.tables for row in table]
