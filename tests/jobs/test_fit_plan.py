"""The rules of `fit` for steps, batch and time, and the files and commands that come of them."""

import shlex
from pathlib import Path

import pytest

from distill_jax.errors import UserError
from distill_jax.jobs import fit_plan
from distill_jax.jobs.fit_data import FitData
from distill_jax.jobs.fit_plan import Extent, Rate, Wanted
from distill_jax.jobs.fit_recipes import Places, StudentStart, steps_by_hand, student_gin
from distill_jax.jobs.fit_teacher import TeacherSource
from distill_jax.tagging import LabelSet, Sentence


def test_steps_are_those_of_the_recipes_where_there_is_time() -> None:
    assert fit_plan.wanted_of_teacher("bert", 100).steps == 500  # gin/runs/bert_gold.gin
    assert fit_plan.wanted_of_student("bilstm", 600).steps == 1200  # the study
    assert (
        fit_plan.wanted_of_student("bilstm", 13_000).steps == 8000
    )  # gin/runs/distil.gin's example
    rate = Rate(start=10.0, step=0.1, evaluation=1.0)
    wanted = Wanted(500, 100)
    assert fit_plan.extent(wanted, rate, left=1200.0, passed=0.0, share=0.5) == Extent(500, 50)


def test_a_student_that_ends_with_gold_has_time_for_it() -> None:
    assert fit_plan.ends_with_gold("bilstm", 100, 500)
    for kind, train, silver in (("bert", 100, 500), ("bilstm", 1000, 500), ("bilstm", 100, 1)):
        assert not fit_plan.ends_with_gold(kind, train, silver)
    wanted = fit_plan.wanted_of_student("bilstm", 13_000, then_gold=True)
    assert (wanted.steps, fit_plan.gold_steps(3000)) == (3000, 500)  # distil_then_gold.gin
    rate = Rate(start=10.0, step=0.1, evaluation=0.2)
    steps, period = fit_plan.extent(wanted, fit_plan.with_gold(rate), 300.0, 0.0, 0.8)
    phases = fit_plan.GOLD_PHASES * fit_plan.gold_steps(steps)
    seconds = rate.seconds(steps, -(-steps // period)) + 0.1 * phases + 3 * 20 * 0.2
    assert 1000 < steps < 3000 and seconds <= 0.8 * 300


@pytest.mark.parametrize("left", [40.0, 60.0, 100.0, 140.0])
@pytest.mark.parametrize("evaluation", [0.01, 1.0, 3.0])
def test_a_run_ends_within_its_share(left: float, evaluation: float) -> None:
    rate = Rate(start=1.0, step=0.1, evaluation=evaluation)
    steps, period = fit_plan.extent(Wanted(5000, 100), rate, left, passed=5.0, share=0.5)
    assert rate.seconds(steps, -(-steps // period)) <= 0.5 * left
    assert 100 <= steps < 5000


def test_programs_of_the_wanted_steps_are_there_already_and_others_are_not() -> None:
    rate, wanted = Rate(1.0, 0.1, 0.01, compiling=30.0), Wanted(500, 100)
    assert fit_plan.extent(wanted, rate, left=60.0, passed=0.0, share=1.0).steps == 500
    fewer = fit_plan.extent(wanted, rate, left=50.0, passed=0.0, share=1.0)
    assert fewer.steps <= (50.0 - 31.0) / 0.1
    with pytest.raises(UserError, match="too little here"):
        fit_plan.extent(wanted, rate, left=40.0, passed=0.0, share=1.0)
    # To compile for the least steps would take longer than to train the wanted ones.
    wanted, rate = Wanted(500, 400), Rate(1.0, 0.1, 0.01, compiling=30.0)
    assert fit_plan.extent(wanted, rate, left=1.0, passed=0.0, share=1.0, first=False).steps == 500


def test_minutes_that_are_too_few_say_how_many_would_do() -> None:
    rate = Rate(start=30.0, step=2.0, evaluation=5.0)
    wanted = Wanted(500, 100)
    with pytest.raises(UserError, match="--minutes 5 is too little here: 9 are needed"):
        fit_plan.extent(wanted, rate, left=240.0, passed=60.0, share=0.5)
    enough = 9 * 60 - 60.0
    assert fit_plan.extent(wanted, rate, left=enough, passed=60.0, share=0.5).steps >= 100
    # What was trained before must not be in vain.
    later = fit_plan.extent(wanted, rate, left=-60.0, passed=600.0, share=0.8, first=False)
    assert later.steps == 100
    with pytest.raises(UserError, match="give 1 or more"):
        fit_plan.check_minutes(0.5)
    with pytest.raises(UserError, match="give 1 or more"):
        fit_plan.check_minutes(float("nan"))


def test_a_calibrated_teacher_is_not_softened() -> None:
    assert fit_plan.teaching(100, ece=0.04) == fit_plan.teaching(5000, ece=0.04) == (1.0, 1.0, True)
    few = (1.0, 4.0, False)  # as the few-shot study has it
    assert fit_plan.teaching(100, ece=0.1) == fit_plan.teaching(100, ece=None) == few
    assert fit_plan.teaching(5000, ece=0.1) == (1.0, 2.0, True)


def test_as_many_are_labelled_as_there_is_time_for() -> None:
    assert fit_plan.labelled(1000, 0.01, left=100.0, whole=300.0) == 1000
    assert fit_plan.labelled(100_000, 0.01, left=100.0, whole=300.0) == 3000
    # Late as it may be, a teacher that was trained labels something.
    assert fit_plan.labelled(1000, 0.05, left=-10.0, whole=300.0) == 300
    assert fit_plan.labelled(200, 0.05, left=-10.0, whole=300.0) == 200


def test_the_steps_by_hand_are_those_of_a_shell(tmp_path: Path) -> None:
    out = tmp_path / "my runs" / "it's (new)"
    one = Sentence(("a",), ("O",))
    data = FitData("d", LabelSet(("x",)), [one], [one], [one], [], "blanks")
    script = steps_by_hand(Places(out), data, TeacherSource(tmp_path / "a b", "bert"), 5)
    lines = [shlex.split(line) for line in script.splitlines()[2:]]
    again = f"{out}-by-hand"
    assert lines[0] == [
        *("distill-jax", "train", f"--gin_file={out}/fit/teacher.gin"),
        f"--gin.MODEL_DIR={again}/teacher",
    ]
    assert [lines[1][place] for place in (2, 3, 8, 13)] == [
        *("5", f"{out}/data/unlabelled.jsonl"),
        *(f"{again}/teacher/model", f"{again}/labels"),
    ]
    assert lines[-1][-2:] == [f"{again}/student/model", f"{again}/onnx"]
    gin = student_gin(
        Places(out), data, StudentStart(), fit_plan.with_evaluations(2), 0, teaching=None
    )
    said = next(line for line in gin.splitlines() if line.startswith("# distill-jax"))
    assert shlex.split(said.removeprefix("# "))[2] == f"--gin_file={out}/fit/student.gin"
