"""Tagged sentences in the forms of others."""

import warnings
from typing import Any

import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.inference.prediction import Prediction
from distill_jax.inference.tagged import TaggedSentence, tagged
from distill_jax.tagging import LabelSet, Sentence

LABELS = LabelSet(("who", "when"))
TEXT = "call  mara <b>, on\nfriday."


def sentence_of(text: str, tags: list[int], *, windows: int = 1) -> TaggedSentence:
    """A text of which each word has a tag, certainly so."""
    sentence = Sentence.of_text(text, "punctuation")
    scores = np.full((len(tags), LABELS.num_tags), -20.0, np.float32)
    scores[range(len(tags)), tags] = 0.0
    prediction = Prediction(np.array(tags, np.int32), scores, windows=windows)
    return tagged(sentence.words, prediction, LABELS, sentence.origin)


@pytest.fixture(scope="module")
def found() -> TaggedSentence:
    """`mara <b>` is who, `on\nfriday` when."""
    return sentence_of(TEXT, [0, 2, 1, 1, 1, 0, 3, 1, 0])


def test_offsets_are_those_of_the_text(found: TaggedSentence) -> None:
    assert [span.text for span in found.spans] == ["mara <b>", "on\nfriday"]
    for span in found.spans:
        assert TEXT[span.start_char : span.end_char] == span.text
    record = found.to_json()
    assert record["spans"][0] == {
        **{"start": 1, "end": 5, "label": "who", "text": "mara <b>"},
        **{"score": found.spans[0].score, "start_char": 6, "end_char": 14},
    }
    assert "windows" not in record
    assert sentence_of("a", [0], windows=3).to_json()["windows"] == 3


def test_repr_is_short(found: TaggedSentence) -> None:
    assert repr(found) == (
        "TaggedSentence(9 words, ['mara <b>': who (1.00), 'on\\nfriday': when (1.00)])"
    )


def test_to_hf(found: TaggedSentence) -> None:
    first, second = found.to_hf()
    assert first == {
        **{"entity_group": "who", "word": "mara <b>", "start": 6, "end": 14},
        "score": found.spans[0].score,
    }
    assert TEXT[second["start"] : second["end"]] == second["word"]


def test_words_without_a_text_are_joined_by_blanks() -> None:
    prediction = Prediction(np.array([0, 2, 1], np.int32), None)
    words = ("call", "mara", "b.")
    found = tagged(words, prediction, LABELS)
    assert found.spans[0].start_char is None and "start_char" not in found.to_json()["spans"][0]
    assert found.to_hf() == [
        {"entity_group": "who", "score": None, "word": "mara b.", "start": 5, "end": 12}
    ]
    assert found.to_displacy() == {
        "text": "call mara b.",
        "ents": [{"start": 5, "end": 12, "label": "who"}],
        "title": None,
    }
    assert repr(found) == "TaggedSentence(3 words, ['mara b.': who])"


def test_html_is_escaped_and_holds_the_text(found: TaggedSentence) -> None:
    page = found._repr_html_()
    assert "mara &lt;b&gt;" in page and "<b>" not in page
    assert "who 1.00" in page and page.count("<mark") == 2
    for outside in ("http", "src=", "<script", "<link"):
        assert outside not in page
    empty = sentence_of("", [])._repr_html_()
    assert empty.startswith("<div") and "<mark" not in empty


@pytest.fixture(scope="module")
def nlp() -> Any:
    return pytest.importorskip("spacy", reason="spaCy is not installed").blank("en")


def test_to_spacy(found: TaggedSentence, nlp: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        doc = found.to_spacy(nlp)
    assert doc.text == TEXT
    assert [(ent.text, ent.label_) for ent in doc.ents] == [
        ("mara <b>", "who"),
        ("on\nfriday", "when"),
    ]
    assert doc.spans["distill_jax"].attrs["scores"] == [span.score for span in found.spans]
    given = nlp.make_doc(TEXT)
    assert found.to_spacy(given) is given and len(given.ents) == 2
    with pytest.raises(UserError, match="give the Doc of the same text"):
        found.to_spacy(nlp.make_doc("something else"))


def test_spans_that_cut_tokens_are_widened_and_said(nlp: Any) -> None:
    found = sentence_of("at 5pm.it is", [0, 2, 0, 3, 0])  # spaCy has the one token 5pm.it
    with pytest.warns(UserWarning, match="1 spans were widened to whole tokens, 1 left out"):
        doc = found.to_spacy(nlp)
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("5pm.it", "who")]
    assert len(doc.spans["distill_jax"].attrs["scores"]) == 1


def test_displacy_draws_it(found: TaggedSentence, nlp: Any) -> None:
    from spacy import displacy

    drawn = displacy.render(found.to_displacy(), style="ent", manual=True, jupyter=False)
    assert "mara &lt;b&gt;" in drawn and "when" in drawn
