"""Figures of predictions, by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.inference import Prediction, Unexplored, evaluate
from distill_jax.inference.evaluation import check_labels
from distill_jax.tagging import Sentence
from tests.tiny import LABELS


def prediction(tags: Sequence[str], certainty: float) -> Prediction:
    """A prediction whose tags each have this posterior, the others sharing the rest."""
    ids = LABELS.encode_iob2(tags)
    rest = (1 - certainty) / (LABELS.num_tags - 1)
    posteriors = np.full((len(tags), LABELS.num_tags), rest)
    posteriors[np.arange(len(tags)), ids] = certainty
    return Prediction(ids, np.log(posteriors).astype(np.float32))


def test_figures_by_hand() -> None:
    sentences = [
        Sentence(("to", "new", "york"), ("O", "B-city", "I-city")),
        Sentence(("may", "4"), ("B-date_time", "I-date_time")),
        Sentence((), ()),
    ]
    predictions = [
        prediction(("O", "B-city", "I-city"), 0.7),
        prediction(("B-date_time", "B-date_time"), 0.7),
        prediction((), 0.7),
    ]
    result = evaluate(LABELS, sentences, predictions)
    assert result["precision"] == pytest.approx(1 / 3)
    assert result["recall"] == pytest.approx(1 / 2)
    assert result["f1"] == result["f1_strict"] == pytest.approx(2 / 5)
    assert result["perfect"] == pytest.approx(2 / 3)
    assert result["illegal"] == 0
    assert (result["sentences"], result["words"]) == (3, 5)
    assert result["per_label"]["city"] == {"precision": 1, "recall": 1, "f1": 1, "support": 1}
    assert result["per_label"]["date_time"]["support"] == 1
    # Four of five words are right at a confidence of 0.7.
    assert result["accuracy"] == pytest.approx(0.8)
    assert result["ece"] == pytest.approx(0.1, abs=1e-6)
    right, wrong = 0.3**2 + 3 * 0.1**2, 0.7**2 + 0.9**2 + 2 * 0.1**2
    assert result["brier"] == pytest.approx((4 * right + wrong) / 5, rel=1e-5)
    assert result["nll"] == pytest.approx(-(4 * np.log(0.7) + np.log(0.1)) / 5, rel=1e-5)


def test_untagged_sentences_are_refused() -> None:
    with pytest.raises(UserError, match="'to berlin…' has no tags"):
        evaluate(LABELS, [Sentence(("to", "berlin"))], [prediction(("O", "O"), 0.5)])


def test_unknown_labels_are_misses_and_their_words_left_out() -> None:
    words = ("to", "york", "jazz", "trio", "4")
    sentence = Sentence(words, ("O", "B-city", "B-genre", "I-genre", "O"))
    found = prediction(("O", "B-city", "O", "B-city", "O"), 0.7)
    result = evaluate(LABELS, [sentence], [found])
    assert (result["precision"], result["recall"]) == (1 / 2, 1 / 2)
    assert result["per_label"]["genre"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert (result["unknown_labels"], result["words_left_out"]) == ({"genre": 1}, 2)
    # The three other words are right at a confidence of 0.7.
    assert (result["words"], sum(each["count"] for each in result["bins"])) == (5, 3)
    assert result["accuracy"] == 1 and result["ece"] == pytest.approx(0.3, abs=1e-6)
    assert result["nll"] == pytest.approx(-np.log(0.7), rel=1e-5)


def test_a_run_refuses_labels_that_its_model_will_not_have() -> None:
    sentences = [Sentence(("to",), ("O",)), Sentence(("jazz",), ("B-genre",))]
    with pytest.raises(
        UserError, match=r"the dev split, sentence 2: .*'genre' is not in the label"
    ):
        check_labels(LABELS, sentences, "the dev split")


SENTENCES = [
    Sentence(("to", "new", "york"), ("O", "B-city", "I-city")),
    Sentence(("may", "4"), ("B-date_time", "I-date_time")),
]
CALIBRATION = ("ece", "brier", "nll", "accuracy", "bins")


def test_without_posteriors_there_are_no_calibration_figures() -> None:
    tags = [LABELS.encode_iob2(sentence.tags or ()) for sentence in SENTENCES]
    result = evaluate(LABELS, SENTENCES, [Prediction(ids, None) for ids in tags])
    assert result["f1"] == 1 and result["words"] == 5
    assert not [name for name in (*CALIBRATION, "malformed", "unexplored") if name in result]


def test_malformed_outputs_are_counted_by_kind_and_as_o() -> None:
    right = LABELS.encode_iob2(SENTENCES[0].tags or ())
    predictions = [
        Prediction(right, None, malformed=()),
        Prediction(np.zeros(2, np.int32), None, malformed=("no_end", "unknown_tag")),
        Prediction(np.zeros(3, np.int32), None, malformed=("no_end",)),
    ]
    result = evaluate(LABELS, [*SENTENCES, SENTENCES[0]], predictions)
    assert result["malformed"] == pytest.approx(2 / 3)
    assert result["malformations"] == {
        "no_end": pytest.approx(2 / 3),
        "unknown_tag": pytest.approx(1 / 3),
    }
    assert (result["precision"], result["recall"]) == (1, pytest.approx(1 / 3))
    assert "ece" not in result
    none = evaluate(LABELS, SENTENCES[:1], predictions[:1])
    assert (none["malformed"], none["malformations"]) == (0, {})


def test_pruned_words_are_counted_as_what_is_known_of_them() -> None:
    """Two words: one whose gold tag was looked at, one whose gold tag was not."""
    scores = np.log(np.array([[0.9, 0, 0.1, 0], [0.9, 0, 0, 0]], np.float32) + 1e-45)
    scores[scores < -90] = -np.inf
    tags = np.array([[False, False, False, True], [False, False, True, True]])
    mass = np.array([0.2, 0.1], np.float32)
    found = Prediction(
        np.zeros(2, np.int32), scores.astype(np.float32), unexplored=Unexplored(mass, tags)
    )
    result = evaluate(LABELS, [Sentence(("berlin", "may"), ("B-city", "B-city"))], [found])
    assert result["unexplored"] == pytest.approx(0.15)
    assert result["gold_unexplored"] == pytest.approx(0.5)
    # The mass is spread evenly: 0.8 of the first word's, and half of 0.1 for the second's gold tag.
    assert result["nll"] == pytest.approx(-(np.log(0.8 * 0.1) + np.log(0.05)) / 2, rel=1e-5)
    assert result["ece"] == pytest.approx(0.9 * 0.8 / 2 + 0.9 / 2, rel=1e-5)
