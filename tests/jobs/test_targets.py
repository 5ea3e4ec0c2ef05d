"""What students learn from: gold tags where there are any, the teacher's scores everywhere."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distill_jax.distill.tags import DistillationWeights
from distill_jax.errors import UserError
from distill_jax.jobs.student import recipe_name
from distill_jax.jobs.targets import student_targets
from distill_jax.labels.record import TeacherLabel
from distill_jax.labels.store import TeacherLabels, write_store
from distill_jax.tagging import LabelSet, Sentence

LABELS = LabelSet(("city",))
GOLD = [
    Sentence(("to", "new", "york"), ("O", "B-city", "I-city")),
    Sentence(("rome",), ("B-city",)),
    Sentence((), ()),
    Sentence(("to", "new", "york"), ("O", "O", "B-city")),
]


@pytest.fixture
def store(tmp_path: Path) -> TeacherLabels:
    pool = [Sentence(words) for words in (("oslo",), ("to", "new", "york"), ("to", "bonn"))]
    written = write_store(
        tmp_path / "s",
        pool,
        LABELS,
        lambda chunk: [
            (np.zeros(len(s.words), np.int32), np.zeros((len(s.words), 3), np.float32))
            for s in chunk
        ],
        settings={},
    )
    assert written is not None
    return written


def test_gold_alone() -> None:
    targets = student_targets(GOLD, LABELS, None)
    assert [target.words for target in targets] == [GOLD[i].words for i in (0, 1, 3)]
    assert [target.tag_ids.tolist() for target in targets] == [[0, 2, 1], [2], [0, 0, 2]]
    assert all(target.scores is None and target.weight == 1 for target in targets)


def test_gold_and_teacher(store: TeacherLabels) -> None:
    targets = student_targets(GOLD, LABELS, store)
    gold, silver = targets[:3], targets[3:]
    assert [target.tag_ids.tolist() for target in gold] == [[0, 2, 1], [2], [0, 0, 2]]
    # A sentence that occurs twice has the teacher's scores both times.
    assert [target.scores is not None for target in gold] == [True, False, True]
    assert [target.words for target in silver] == [("oslo",), ("to", "bonn")]
    for target in silver:
        assert not target.tag_ids.any()
        np.testing.assert_allclose(target.teacher_scores(), np.log(1 / 3), rtol=1e-3)  # type: ignore[arg-type]


def test_scores_stay_in_the_store_until_a_batch_needs_them(store: TeacherLabels) -> None:
    read: list[int] = []

    class Watched:
        def __len__(self) -> int:
            return len(store)

        def __iter__(self) -> Iterator[TeacherLabel]:
            return iter(store)

        def __getitem__(self, index: int) -> TeacherLabel:
            read.append(index)
            return store[index]

    targets = student_targets(GOLD, LABELS, Watched())
    assert not read
    scores = targets[-1].teacher_scores()
    assert scores is not None and scores.shape == (2, 3) and len(read) == 1
    whole = targets[0].teacher_scores()
    window = targets[0].window(1, 3)
    assert whole is not None and len(read) == 2
    found = window.teacher_scores()
    assert found is not None and len(read) == 3
    np.testing.assert_array_equal(found, whole[1:3])


def test_silver_is_weighted_by_the_teachers_confidence(store: TeacherLabels) -> None:
    targets = student_targets(GOLD, LABELS, store, "top_posterior")
    # Gold counts whole, whatever the teacher thinks of it; its posteriors are uniform over 3 tags.
    assert [target.weight for target in targets[:3]] == [1, 1, 1]
    assert [target.weight for target in targets[3:]] == pytest.approx([1 / 3] * 2, rel=1e-3)
    uniform = student_targets(GOLD, LABELS, store, "entropy")[3:]
    assert [target.weight for target in uniform] == pytest.approx([0, 0], abs=1e-3)


def test_gold_needs_tags(store: TeacherLabels) -> None:
    with pytest.raises(UserError, match=r"gold sentence 1 \(x y…\) has no tags"):
        student_targets([GOLD[0], Sentence(("x", "y"))], LABELS, store)


def test_recipe_names() -> None:
    assert recipe_name(False, DistillationWeights()) == "gold"
    assert recipe_name(True, DistillationWeights(kl_weight=0.0)) == "pseudo"
    assert recipe_name(True, DistillationWeights()) == "kd"
