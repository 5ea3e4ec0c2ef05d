"""Figures of predictions, by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.inference import Prediction, evaluate
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


def test_untagged_sentences_and_unknown_labels_are_refused() -> None:
    with pytest.raises(UserError, match="'to berlin…' has no tags"):
        evaluate(LABELS, [Sentence(("to", "berlin"))], [prediction(("O", "O"), 0.5)])
    with pytest.raises(UserError, match="'genre' is not in the label set"):
        evaluate(LABELS, [Sentence(("jazz",), ("B-genre",))], [prediction(("O",), 0.5)])
