"""Training stops, goes on, selects and reports as promised."""

import dataclasses
import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

from distill_jax.errors import UserError
from distill_jax.parallel.mesh import Placement, make_mesh
from distill_jax.train.checkpoints import RunCheckpoints
from distill_jax.train.loop import fit
from distill_jax.train.optimizers import Adafactor, AdamW, adamw
from distill_jax.train.same_run import NO_ORIGIN
from distill_jax.train.selection import Evaluate, Outcome
from distill_jax.train.state import abstract_state
from distill_jax.train.training import Schedule
from tests.compiled_once import cache_environment
from tests.train import toy
from tests.train.toy import (
    Made,
    Regression,
    Stop,
    assert_same,
    failing_at,
    make_data,
    metrics,
    never,
    run,
    score,
    stop,
    training,
)

TOY = Path(toy.__file__)


DEVICES = jax.devices()[:2]


def places(optimizer: optax.GradientTransformation | None = None) -> Any:
    return abstract_state(Regression(), optimizer or adamw(0.05), make_mesh(devices=DEVICES))


def saved(
    directory: Path, optimizer: optax.GradientTransformation | None = None
) -> tuple[Any, dict[str, Any]]:
    """The latest checkpoint of a run of the toy, without what the clock and other tests decide."""
    with RunCheckpoints(directory / "checkpoints") as checkpoints:
        state, facts = checkpoints.restore(places(optimizer))
    for changing in (facts, facts["window"]):
        changing.pop("seconds")
    facts["window"].pop("waited")
    assert facts["origin"] == NO_ORIGIN.to_json()
    return state, facts


def scripted(scores: Iterable[float]) -> tuple[Evaluate, list[Any]]:
    """Gives these scores in turn, and keeps a copy of the parameters it was shown."""
    remaining, shown = iter(scores), []

    def evaluate(params: Any) -> dict[str, float]:
        shown.append(jax.tree.map(np.array, params))
        return {"selection": next(remaining)}

    return evaluate, shown


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    directory = tmp_path_factory.mktemp("uninterrupted")
    return directory, run(directory)


def assert_same_run(
    directory: Path, outcome: Outcome, expected_directory: Path, expected: Outcome
) -> None:
    assert_same(outcome.params, expected.params)
    assert (outcome.metrics, outcome.best_step, outcome.steps) == (
        expected.metrics,
        expected.best_step,
        expected.steps,
    )
    assert metrics(directory) == metrics(expected_directory)
    (state, facts), (expected_state, expected_facts) = saved(directory), saved(expected_directory)
    assert_same(state, expected_state)
    assert facts == expected_facts


# Evaluations are at steps 2, 4, …, 12, checkpoints at 3, 6, 9, 12, log lines at 5 and 10: the first
# stop is before any checkpoint, the others lie between a checkpoint and the next log line.
@pytest.mark.parametrize("calls", [(1,), (2,), (3,), (6,), (2, 2, 2)])
def test_going_on_equals_never_stopping(
    calls: tuple[int, ...], uninterrupted: tuple[Path, Outcome], tmp_path: Path
) -> None:
    for call in calls:
        with pytest.raises(Stop):
            run(tmp_path, failing_at(call, stop))
    assert_same_run(tmp_path, run(tmp_path), *uninterrupted)


def test_going_on_after_being_killed_equals_never_stopping(
    uninterrupted: tuple[Path, Outcome], compilation_cache_directory: str, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    environment = os.environ | cache_environment(compilation_cache_directory)
    environment["PYTHONPATH"] = str(TOY.parents[2])
    killed = subprocess.run(
        [sys.executable, "-m", "tests.train.toy", str(directory), "4"],
        env=environment,
        cwd=TOY.parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # The terminal shows the run's own lines, nothing of the libraries'.
    assert killed.stdout == ""
    assert killed.stderr and all(line.startswith("[") for line in killed.stderr.splitlines())
    # It was killed at step 8, with checkpoints at 3 and 6.
    assert metrics(directory)[-1]["step"] == 6
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "ki')
    assert_same_run(directory, run(directory), *uninterrupted)


@pytest.mark.slow
def test_adafactor_goes_on_too(tmp_path: Path) -> None:
    optimizer = Adafactor(0.05, min_dim_size_to_factor=8)
    expected = run(tmp_path / "a", optimizer=optimizer)
    with pytest.raises(Stop):
        run(tmp_path / "b", failing_at(4, stop), optimizer=optimizer)
    assert_same(run(tmp_path / "b", optimizer=optimizer).params, expected.params)
    assert_same(*(saved(tmp_path / name, optimizer.make()) for name in "ab"))


def test_a_run_may_go_on_on_another_mesh(
    uninterrupted: tuple[Path, Outcome], tmp_path: Path
) -> None:
    with pytest.raises(Stop):
        run(tmp_path, failing_at(3, stop), placement=Placement(data=2, fsdp=2, model=2))
    outcome = run(tmp_path)
    losses, expected = (
        [line["loss"] for line in metrics(directory) if line["kind"] == "train"]
        for directory in (tmp_path, uninterrupted[0])
    )
    assert losses == pytest.approx(expected, rel=1e-4)
    assert outcome.steps == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [{"data": 2, "fsdp": 2, "model": 2}, {"data": 1, "fsdp": 4, "model": 2}]
)
def test_a_run_goes_on_on_another_mesh_with_the_next_batch(
    shape: dict[str, int], tmp_path: Path
) -> None:
    """From 8 devices that split the batch to others, which split the parameters too."""
    expected = run(tmp_path / "a", placement=Placement(data=8))
    with pytest.raises(Stop):
        run(tmp_path / "b", failing_at(4, stop), placement=Placement(data=8))
    asked: list[int] = []
    run(tmp_path / "b", placement=Placement(**shape), data=toy.make_data(recording(asked)))
    assert asked == [6, 7, 8, 9, 10, 11]  # stopped at step 8, its newest checkpoint is of step 6
    a, b = ([line for line in metrics(tmp_path / name) if line["kind"] == "train"] for name in "ab")
    assert [line["step"] for line in b] == [line["step"] for line in a] == [5, 10]
    for name in ("loss", "size", "grad_norm"):
        assert [line[name] for line in b] == pytest.approx([line[name] for line in a], rel=1e-4)
    with RunCheckpoints(tmp_path / "b/checkpoints") as checkpoints:
        state, _ = checkpoints.restore(places())
    with RunCheckpoints(tmp_path / "a/checkpoints") as checkpoints:
        other, _ = checkpoints.restore(places())
    for found, value in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-3, atol=1e-5)
    assert expected.steps == 12


def recording(asked: list[int]) -> Callable[[int, Any], Any]:
    def change(number: int, batch: Any) -> Any:
        asked.append(number)
        return batch

    return change


def test_a_finished_run_is_not_trained_again(
    uninterrupted: tuple[Path, Outcome], tmp_path: Path
) -> None:
    directory, expected = uninterrupted
    shutil.copytree(directory, tmp_path / "run")
    outcome = run(tmp_path / "run", never, data=toy.make_data(never))
    assert_same_run(tmp_path / "run", outcome, directory, expected)
    with RunCheckpoints(directory / "checkpoints") as checkpoints:
        assert outcome.seconds > checkpoints.restore(places())[1]["seconds"]


def test_a_finished_run_goes_on_when_given_more_steps(tmp_path: Path) -> None:
    short, long = (Schedule(steps, eval_period=2, checkpoint_period=3) for steps in (4, 8))
    run(tmp_path / "a", schedule=short)
    outcome = run(tmp_path / "a", schedule=long)
    expected = run(tmp_path / "b", schedule=long)
    assert_same(outcome.params, expected.params)
    assert outcome.best_step == expected.best_step


def test_only_a_run_that_begins_asks_where_to_start(tmp_path: Path) -> None:
    start = jax.tree.map(np.asarray, run(tmp_path / "start", schedule=Schedule(2, 2)).params)
    asked: list[Any] = []

    def begin(steps: int) -> Outcome:
        def initial() -> Any:
            asked.append(steps)
            return start

        settings = training(tmp_path / "a", schedule=Schedule(steps, 2), optimizer=AdamW(0.0))
        return fit(Regression(), make_data(), score, settings, initial_params=initial)

    assert_same(begin(2).params, start)
    assert_same(begin(4).params, start)
    assert asked == [2]


def test_the_best_step_wins_and_a_tie_keeps_the_earlier(tmp_path: Path) -> None:
    evaluate, shown = scripted([0.25, 0.75, 0.75, 0.5, 0.75, 0.0])
    outcome = run(tmp_path, evaluate)
    assert (outcome.best_step, outcome.metrics, outcome.steps) == (4, {"selection": 0.75}, 12)
    assert_same(outcome.params, shown[1])


def test_the_last_parameters_are_taken_where_no_score_is_a_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate, shown = scripted([float("nan")] * 6)
    outcome = run(tmp_path, evaluate)
    assert (outcome.best_step, outcome.metrics) == (12, {})
    assert_same(outcome.params, shown[-1])
    assert "no dev score is a number" in capsys.readouterr().err


def test_patience_stops_the_run_for_good(tmp_path: Path) -> None:
    # No checkpoint falls on the step of the stop by itself.
    schedule = Schedule(100, eval_period=2, checkpoint_period=5, patience=2)
    evaluate, shown = scripted([0.5, 0.75, 0.5, 0.75, 1.0])
    outcome = run(tmp_path, evaluate, schedule=schedule)
    assert (outcome.best_step, outcome.steps, len(shown)) == (4, 8, 4)
    assert_same(outcome.params, shown[1])
    again = run(tmp_path, never, schedule=schedule, data=toy.make_data(never))
    assert_same(again.params, outcome.params)
    assert (again.best_step, again.steps) == (4, 8)


def test_patience_counts_across_a_stop(tmp_path: Path) -> None:
    schedule = Schedule(100, eval_period=2, checkpoint_period=2, patience=3)
    with pytest.raises(StopIteration):
        run(tmp_path, scripted([0.5, 0.25, 0.25])[0], schedule=schedule)
    evaluate, shown = scripted([0.25])
    assert run(tmp_path, evaluate, schedule=schedule).steps == 8
    assert len(shown) == 1


def test_a_better_score_that_no_checkpoint_counts_on_is_forgotten(tmp_path: Path) -> None:
    schedule = functools.partial(Schedule, eval_period=1, checkpoint_period=4)
    evaluate, shown = scripted([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    with pytest.raises(StopIteration):
        run(tmp_path, evaluate, schedule=schedule(12))
    # As if it had never gone beyond the checkpoint at step 4.
    outcome = run(tmp_path, never, schedule=schedule(4))
    assert (outcome.best_step, outcome.steps) == (4, 4)
    assert_same(outcome.params, shown[3])
    assert [path.name for path in (tmp_path / "checkpoints/best").iterdir()] == ["4"]


def test_a_best_score_before_the_first_checkpoint_is_forgotten(tmp_path: Path) -> None:
    schedule = Schedule(8, eval_period=1, checkpoint_period=4)
    with pytest.raises(StopIteration):
        run(tmp_path, scripted([0.1, 0.2, 0.9])[0], schedule=schedule)
    evaluate, shown = scripted([0.0, 0.1, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1])
    outcome = run(tmp_path, evaluate, schedule=schedule)
    assert (outcome.best_step, outcome.metrics) == (3, {"selection": 0.3})
    assert_same(outcome.params, shown[2])


def bad_from(number: int, **values: float) -> Callable[[int, Any], Any]:
    def change(index: int, batch: Any) -> Any:
        full = {name: np.full(toy.BATCH, value, np.float32) for name, value in values.items()}
        return {**batch, **full} if index == number else batch

    return change


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"targets": np.inf, "weights": 1}, "loss is inf"),
        ({"targets": np.nan}, "loss is nan"),
        # Were only the loss watched, a checkpoint of spoilt parameters would replace the good one.
        ({"bad": 1.0}, "norm of the gradient is nan"),
    ],
)
def test_a_loss_that_is_not_finite_stops_the_run(
    values: dict[str, float], what: str, uninterrupted: tuple[Path, Outcome], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"^the {what} at step 9 \(batch 8 of the data") as error:
        run(tmp_path, data=toy.make_data(bad_from(8, **values)))
    assert "\n" not in str(error.value)
    assert int(saved(tmp_path)[0].step) == 6
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(saved(tmp_path)[0]))
    assert_same_run(tmp_path, run(tmp_path), *uninterrupted)


def test_metrics_are_sums_over_sums_of_weights(tmp_path: Path) -> None:
    objective = Regression(noise=0.0)
    schedule = Schedule(6, eval_period=100, checkpoint_period=4, log_period=6)
    frozen = Made(optax.sgd(0.0))
    evaluate, shown = scripted([1.0])
    run(tmp_path, evaluate, schedule=schedule, objective=objective, optimizer=frozen)
    sums = [
        objective.loss(shown[0], None, toy.make_batch(number), None)["loss"] for number in range(6)
    ]
    totals, weights = np.array(sums, np.float64).T
    assert len(set(weights)) > 3
    (line,) = [line for line in metrics(tmp_path) if line["kind"] == "train"]
    assert line["loss"] == pytest.approx(totals.sum() / weights.sum(), rel=1e-5)
    assert line["loss"] != pytest.approx((totals / weights).mean(), rel=1e-2)


@pytest.mark.slow
def test_evaluation_does_not_count_as_time_of_steps(tmp_path: Path) -> None:
    def slow(params: Any) -> dict[str, float]:
        time.sleep(1)
        return {"selection": 0.0}

    schedule = Schedule(4, eval_period=2, log_period=4)
    run(tmp_path / "warm", schedule=schedule)
    start = time.monotonic()
    run(tmp_path / "run", slow, schedule=schedule)
    elapsed = time.monotonic() - start
    line = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-2]
    steps_per_second = float(line.split('"steps_per_second": ')[1].rstrip("}"))
    assert 4 / steps_per_second < elapsed - 2


@pytest.mark.parametrize("batch_size", [0, 7])
def test_a_batch_that_does_not_fit_is_refused_before_anything_is_made(
    batch_size: int, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"BATCH_SIZE {batch_size} "):
        run(tmp_path / "run", batch_size=batch_size)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train_steps", -1),
        ("eval_period", 0),
        ("checkpoint_period", 0),
        ("log_period", 0),
        ("patience", 0),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(name: str, value: int) -> None:
    with pytest.raises(UserError, match=f"^Schedule: {name} is {value}; "):
        Schedule(**({"train_steps": 1} | {name: value}))


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_no_threads_are_left_behind(fails: bool, tmp_path: Path) -> None:
    run(tmp_path / "warm")
    before = set(threading.enumerate())
    if fails:
        with pytest.raises(Stop):
            run(tmp_path / "run", failing_at(2, stop))
    else:
        run(tmp_path / "run")
    deadline = time.monotonic() + 10
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_every_step_is_shown_where_it_is_wanted_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, schedule=dataclasses.replace(toy.SCHEDULE, verbose=True))
    run(tmp_path)
    output = capfd.readouterr()
    assert output.out == ""
    lines = output.err.splitlines()
    assert all(line.startswith("[") for line in lines), output.err
    assert "287 parameters; steps 0 to 12" in lines[0]
    assert "step 5/12  loss " in output.err
    assert "step 12  dev  selection " in output.err
    assert lines[-1].endswith(f"already trained for 12 steps in {tmp_path}")


def test_scores_are_those_of_the_parameters_returned(
    uninterrupted: tuple[Path, Outcome],
) -> None:
    _, outcome = uninterrupted
    assert outcome.metrics == score(outcome.params)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(outcome.params))
