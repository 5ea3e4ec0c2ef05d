"""A sentence as it is written out: span scores, thresholds, the best tags and the rest."""

import json

import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.inference import Prediction, Unexplored
from distill_jax.inference.tagged import tagged, without_improbable_spans
from distill_jax.tagging import BeamPart
from tests.tiny import LABELS

WORDS = ("to", "new", "york")
TAGS = np.array([0, 2, 1], np.int32)
POSTERIORS = np.array(
    [[0.7, 0.0, 0.2, 0.1], [0.1, 0.1, 0.5, 0.3], [0.25, 0.6, 0.1, 0.05]], np.float32
)


def prediction(**changes: object) -> Prediction:
    with np.errstate(divide="ignore"):
        return Prediction(TAGS, np.log(POSTERIORS))._replace(**changes)  # type: ignore[arg-type]


def test_the_best_tags_and_the_mass_of_the_others() -> None:
    record = tagged(WORDS, prediction(), LABELS).to_json(top_k=2)
    assert list(record) == ["words", "tags", "spans", "top_k", "tail"]
    names = [[tag for tag, _ in word] for word in record["top_k"]]
    assert names == [["O", "city"], ["city", "date_time"], ["I", "O"]]
    values = [[posterior for _, posterior in word] for word in record["top_k"]]
    np.testing.assert_allclose(values, [[0.7, 0.2], [0.5, 0.3], [0.6, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(record["tail"], [0.1, 0.2, 0.15], rtol=1e-5)
    json.dumps(record, allow_nan=False)


def test_more_tags_than_there_are() -> None:
    record = tagged(WORDS, prediction(), LABELS).to_json(top_k=9)
    # Of the first word I is impossible, and not among its best tags.
    assert [len(word) for word in record["top_k"]] == [3, 4, 4]
    assert record["tail"] == [0, 0, 0]
    empty = tagged((), Prediction(TAGS[:0], np.zeros((0, 4), np.float32)), LABELS)
    assert empty.to_json(top_k=2)["top_k"] == empty.to_json(top_k=2)["tail"] == []


def test_what_was_not_looked_at_is_in_the_tail_and_told() -> None:
    scores = np.log(POSTERIORS[1:2])
    scores[:, [0, 1]] = -np.inf
    found = Prediction(
        np.array([2], np.int32),
        scores,
        unexplored=Unexplored(np.array([0.2], np.float32), np.array([[True, True, False, False]])),
    )
    record = tagged(("new",), found, LABELS).to_json(top_k=1, posteriors=True)
    assert record["top_k"] == [[["city", pytest.approx(0.5)]]]
    assert record["tail"] == [pytest.approx(0.5)]
    assert record["unexplored"] == [pytest.approx(0.2)]
    np.testing.assert_allclose(record["posteriors"], [[0, 0, 0.5, 0.3]], rtol=1e-5)
    assert record["log_likelihoods"][0][:2] == [None, None]


def test_no_posteriors_no_scores() -> None:
    record = tagged(WORDS, prediction(log_likelihoods=None), LABELS)
    assert [span.score for span in record.spans] == [None]
    assert list(record.to_json()) == ["words", "tags", "spans"]
    for options in ({"posteriors": True}, {"top_k": 1}):
        with pytest.raises(UserError, match="no posteriors"):
            record.to_json(**options)  # type: ignore[arg-type]


def test_malformed_outputs_are_told() -> None:
    free = tagged(WORDS, Prediction(TAGS * 0, None, malformed=("no_end",)), LABELS)
    assert free.to_json()["malformed"] == ["no_end"]


def test_scores_and_thresholds_are_those_of_the_beam() -> None:
    sequences = np.array([[0, 2, 1], [0, 2, 0], [2, 0, 0]])
    beam = (BeamPart(0, sequences, np.log([0.5, 0.3, 0.2])),)
    plain, with_beam = prediction(), prediction(beam=beam)
    assert tagged(WORDS, plain, LABELS).spans[0].score == pytest.approx(0.5 * 0.6)
    assert tagged(WORDS, with_beam, LABELS).spans[0].score == pytest.approx(0.5)
    warm = with_beam._replace(temperature=2.0)
    roots = np.sqrt([0.5, 0.3, 0.2])
    assert tagged(WORDS, warm, LABELS).spans[0].score == pytest.approx(roots[0] / roots.sum())
    for found, dropped in ((plain, True), (with_beam, False)):
        kept = without_improbable_spans(found, LABELS, {"city": 0.4}).tag_ids
        assert kept.tolist() == ([0, 0, 0] if dropped else TAGS.tolist())
        other = without_improbable_spans(found, LABELS, {"date_time": 0.9}).tag_ids
        assert other.tolist() == TAGS.tolist()
    bare = prediction(log_likelihoods=None)
    assert without_improbable_spans(bare, LABELS, {"city": 0.9}).tag_ids.tolist() == TAGS.tolist()
    assert TAGS.tolist() == [0, 2, 1]
