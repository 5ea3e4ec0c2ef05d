"""What the cut by confidence leaves, whose labels are never cut, and what is refused."""

import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.labels.cut import sure_labels
from distill_jax.labels.record import TeacherLabel


def label(word: str, *sureness: float) -> TeacherLabel:
    with np.errstate(divide="ignore"):
        log_p = np.log(np.array([[p, 1 - p] for p in sureness], np.float32))
    return TeacherLabel((word,) * len(sureness), np.zeros(len(sureness), np.int32), log_p)


LABELS = [label("a", 0.9, 0.9), label("b", 0.9, 0.8), label("c", 1.0), label("d", 0.6, 0.6)]


def test_a_sentence_is_as_sure_as_all_its_tags_together() -> None:
    sure = sure_labels(LABELS, 0.75)
    assert [one.words[0] for one in sure] == ["a", "c"] and len(sure) == 2
    assert sure[1] is LABELS[2]
    assert sure_labels(LABELS, 0.0) is LABELS


def test_gold_stays() -> None:
    gold = {LABELS[3].words}
    assert [one.words[0] for one in sure_labels(LABELS, 0.75, gold)] == ["a", "c", "d"]
    assert len(sure_labels(LABELS[3:], 0.75, gold)) == 1  # nothing but gold, and nothing cut


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match=r"of none of the 1 silver sentences .* as sure as 0\.99"):
        sure_labels(LABELS[1:2], 0.99)
    for least in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match="use a probability from 0 to below 1"):
            sure_labels(LABELS, least)
