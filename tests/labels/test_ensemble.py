"""Several teachers: the mean of probabilities, and stores that do not belong together."""

from pathlib import Path

import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.labels.ensemble import average_teachers
from distill_jax.labels.store import TeacherLabels, write_store
from distill_jax.tagging import LabelSet, Sentence

LABELS = LabelSet(("city", "day"))
POOL = (("to", "new", "york"), ("monday",), ("a", "b"))
O, I, CITY, DAY = range(4)  # noqa: E741
INF = np.inf


def store(
    path: Path,
    scores: dict[tuple[str, ...], list[list[float]]],
    *,
    labels: LabelSet = LABELS,
    pool: tuple[tuple[str, ...], ...] = POOL,
) -> TeacherLabels:
    """A store whose posteriors are those given, uniform elsewhere; all tags O."""

    def label(chunk: list[Sentence]) -> list[tuple[np.ndarray, np.ndarray]]:
        found = []
        for words in (tuple(sentence.words) for sentence in chunk):
            rows = scores.get(words, [[1.0] * labels.num_tags] * len(words))
            with np.errstate(divide="ignore"):
                found.append((np.zeros(len(words), np.int32), np.log(np.array(rows, np.float32))))
        return found

    written = write_store(path, [Sentence(words) for words in pool], labels, label, settings={})  # type: ignore[arg-type]
    assert written is not None
    return written


def test_probabilities_are_averaged(tmp_path: Path) -> None:
    # Sure of `O` and unsure of a city: scores of one are far apart, and must not outvote the others.
    first = {POOL[0]: [[0.9, 0, 0.05, 0.05], [0.2, 0, 0.7, 0.1], [0.1, 0.8, 0.05, 0.05]]}
    second = {POOL[0]: [[0.5, 0, 0.25, 0.25], [0.9, 0, 0.05, 0.05], [0.98, 0, 0.01, 0.01]]}
    third = {POOL[0]: [[0.6, 0, 0.2, 0.2], [0.1, 0, 0.8, 0.1], [0.2, 0.7, 0.05, 0.05]]}
    stores = [store(tmp_path / str(i), one) for i, one in enumerate((first, second, third))]
    averaged = average_teachers(stores)
    assert [label.words for label in averaged] == list(POOL)
    expected = np.mean([one[POOL[0]] for one in (first, second, third)], axis=0)
    np.testing.assert_allclose(np.exp(averaged[0].log_posteriors), expected, atol=2e-3)
    np.testing.assert_allclose(np.exp(averaged[0].log_posteriors).sum(-1), 1, atol=2e-3)
    # I is illegal for every teacher at the first word.
    assert averaged[0].log_posteriors[0, I] == -INF
    # No single word decides: the tags are the best legal sequence.
    assert averaged[0].tag_ids.tolist() == [O, CITY, I]
    np.testing.assert_allclose(averaged[1].log_posteriors, np.log(1 / 4), atol=2e-3)


def test_one_teacher_is_itself(tmp_path: Path) -> None:
    one = store(tmp_path / "a", {})
    for label, same in zip(one, average_teachers([one]), strict=True):
        assert label.words == same.words
        np.testing.assert_array_equal(label.tag_ids, same.tag_ids)
        np.testing.assert_array_equal(label.log_posteriors, same.log_posteriors)


def test_a_teacher_twice_is_that_teacher(tmp_path: Path) -> None:
    scores = {POOL[2]: [[0.25, 0, 0.7, 0.05], [0.3, 0.4, 0.2, 0.1]]}
    one, two = store(tmp_path / "a", scores), store(tmp_path / "b", scores)
    for label, mean in zip(one, average_teachers([one, two]), strict=True):
        np.testing.assert_allclose(mean.log_posteriors, label.log_posteriors, rtol=1e-5)


def test_stores_that_do_not_belong_together(tmp_path: Path) -> None:
    one = store(tmp_path / "a", {})
    others = store(tmp_path / "b", {}, labels=LabelSet(("city", "date")))
    with pytest.raises(UserError, match="other labels"):
        average_teachers([one, others])
    fewer = store(tmp_path / "c", {}, pool=POOL[:2])
    with pytest.raises(UserError, match=r"c: has no labels for 'a b', which .*a has"):
        average_teachers([one, fewer])
    with pytest.raises(UserError, match=r"c: has no labels for 'a b', which .*a has"):
        average_teachers([fewer, one])
