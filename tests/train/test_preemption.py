"""SIGTERM: the run saves its step, exits with 143, and goes on as if it had never stopped."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_jax.train.preemption import EXIT_PREEMPTED, Interrupted, PreemptionWatch
from distill_jax.train.selection import Outcome
from distill_jax.train.training import Schedule
from tests.train import toy
from tests.train.processes import ended, start, wait_for_line
from tests.train.toy import assert_same, failing_at, metrics, run, score

# Everything falls on different steps: evaluations at 4, 8, 12, checkpoints at 6 and 12.
SCHEDULE = Schedule(train_steps=12, eval_period=4, checkpoint_period=6, log_period=5)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    directory = tmp_path_factory.mktemp("uninterrupted")
    return directory, run(directory, schedule=SCHEDULE)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def assert_goes_on(directory: Path, uninterrupted: tuple[Path, Outcome]) -> None:
    outcome = run(directory, schedule=SCHEDULE)
    assert_same(outcome.params, uninterrupted[1].params)
    assert (outcome.best_step, outcome.metrics) == (
        uninterrupted[1].best_step,
        uninterrupted[1].metrics,
    )
    assert metrics(directory) == metrics(uninterrupted[0])


def test_the_exit_code_is_that_of_sigterm() -> None:
    assert EXIT_PREEMPTED == 143


def terminating_at(batch: int) -> Callable[[int, Any], Any]:
    def change(number: int, values: Any) -> Any:
        if number == batch:
            terminate()
        return values

    return change


@pytest.mark.parametrize("batch", [0, 5, 9, 11])
def test_between_steps(
    batch: int,
    uninterrupted: tuple[Path, Outcome],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        run(tmp_path, schedule=SCHEDULE, data=toy.make_data(terminating_at(batch)))
    except SystemExit as stopped:
        assert stopped.code == EXIT_PREEMPTED
        assert "SIGTERM: stopped after step " in capsys.readouterr().err.splitlines()[-1]
    else:
        assert batch > 8  # the signal may come when everything is done
    assert signal.getsignal(signal.SIGTERM) == before
    assert_goes_on(tmp_path, uninterrupted)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_an_evaluation_is_given_up_and_done_again(
    call: int, uninterrupted: tuple[Path, Outcome], tmp_path: Path
) -> None:
    after = []

    def evaluate(params: Any) -> dict[str, float]:
        values = given(params)
        after.append(values)
        return values

    given = failing_at(call, terminate)
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path, evaluate, schedule=SCHEDULE)
    assert stopped.value.code == EXIT_PREEMPTED
    assert len(after) == call - 1
    # Saved at the step of the evaluation, at which there is no checkpoint otherwise.
    steps = {int(path.name) for path in (tmp_path / "checkpoints/latest").iterdir()}
    assert max(steps) == 4 * call
    assert_goes_on(tmp_path, uninterrupted)
    # And once more: it is finished now.
    assert_same(run(tmp_path, score, schedule=SCHEDULE).params, uninterrupted[1].params)


def test_interruption_is_only_where_it_is_allowed() -> None:
    with PreemptionWatch() as watch:
        assert not watch.reached(1)
        with pytest.raises(Interrupted), watch.interruptible():
            terminate()
            for _ in range(1000):
                pass
            raise AssertionError("not interrupted")
        terminate()  # a second one changes nothing
        assert watch.reached(2)
        with pytest.raises(Interrupted), watch.interruptible():
            raise AssertionError("begun after SIGTERM")


@pytest.mark.slow
def test_a_process_ends_with_the_code(compilation_cache_directory: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"mesh": {}, "steps": 2000, "save": 1000, "pause": 0.05}
    process = start(compilation_cache_directory, 2, directory=str(tmp_path), **options)
    wait_for_line(tmp_path / "metrics.jsonl", 3, process)
    process.send_signal(signal.SIGTERM)
    code, error = ended(process)
    assert code == EXIT_PREEMPTED
    last = error.splitlines()[-1]
    assert "SIGTERM: stopped after step " in last and "(exit code 143)" in last
    step = last.partition("after step ")[2].partition(",")[0]
    assert (tmp_path / "checkpoints/latest" / step).exists()
