"""Real processes, connected over the loopback: as one program, and ending together."""

import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.train.same_run import alone_in
from tests.train.processes import ended, free_port, start, start_job, wait_for_line
from tests.train.toy import metrics

MESH = {"data": 2, "fsdp": 2}
LONG: dict[str, Any] = {"mesh": MESH, "steps": 5000, "save": 5, "pause": 0.02}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(
    compilation_cache_directory: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Metrics and parameters of a single process with four devices."""
    directory = tmp_path_factory.mktemp("alone")
    process = start(compilation_cache_directory, 4, directory=str(directory), mesh=MESH)
    code, error = ended(process)
    assert code == 0, error
    return results(directory)


def results(directory: Path) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    return metrics(directory), dict(np.load(directory / "params.npz"))


def own_lines(error: str) -> list[str]:
    return [line for line in error.splitlines() if line.startswith(("[ ", "distill-jax"))]


def assert_same_up_to_float(found: Any, expected: Any, steps: int) -> None:
    """The same curve over so many steps, and the same parameters behind the last of all."""
    train, params = [line for line in found[0] if line["kind"] == "train"], found[1]
    expected_train = [line for line in expected[0] if line["kind"] == "train"]
    assert len(train) == steps
    if steps < len(expected_train):
        expected_train, params = expected_train[:steps], {}
    assert [line["step"] for line in train] == [line["step"] for line in expected_train]
    for name in ("loss", "size", "grad_norm"):
        curve = [line[name] for line in train]
        assert curve == pytest.approx([line[name] for line in expected_train], rel=1e-5)
    for name, value in params.items():
        np.testing.assert_allclose(value, expected[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("processes", "steps"), [(2, 12), (4, 4)])
def test_the_loss_curve_is_that_of_a_single_process(
    processes: int, steps: int, alone: Any, compilation_cache_directory: str, tmp_path: Path
) -> None:
    # Each process refuses to make a row that is not its own.
    options = {"directory": str(tmp_path), "mesh": MESH, "steps": steps}
    job = start_job(compilation_cache_directory, processes, 4, **options)
    ends = [ended(process) for process in job]
    assert [code for code, _ in ends] == [0] * processes, ends
    assert_same_up_to_float(results(tmp_path), alone, steps)
    # Only the first one logs.
    assert own_lines(ends[0][1])
    assert [own_lines(error) for _, error in ends[1:]] == [[]] * (processes - 1)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others_and_the_job_goes_on(
    killed: int, alone: Any, compilation_cache_directory: str, tmp_path: Path
) -> None:
    options = {**LONG, "directory": str(tmp_path)}
    job = start_job(compilation_cache_directory, 2, 4, **options)
    # The checkpoint of step 5 is complete when that of step 10 is begun.
    wait_for_line(tmp_path / "metrics.jsonl", 11, job[0])
    job[killed].send_signal(signal.SIGKILL)
    start_of_end = time.monotonic()
    code, error = ended(job[1 - killed], timeout=60)
    assert time.monotonic() - start_of_end < 60
    ended(job[killed])
    if code == -signal.SIGABRT:  # JAX's runtime was faster
        assert "another task died" in error
    else:
        assert code == 75, error
        assert f"distill-jax: error: lost process {killed} (" in error
        assert "start the job again, it goes on from its last checkpoint" in error
    # Started again, on as many hosts or fewer, for a few steps more than it has.
    saved = max(
        int(p.name) for p in (tmp_path / "checkpoints/latest").iterdir() if p.name.isdigit()
    )
    assert saved in (5, 10)
    again = {**options, "steps": saved + 3}
    if killed == 0:
        job = [start(compilation_cache_directory, 4, **again)]
    else:
        job = start_job(compilation_cache_directory, 2, 4, **again)
    ends = [ended(process) for process in job]
    assert [code for code, _ in ends] == [0] * len(job), ends
    assert f"steps {saved} to {saved + 3}, resumed from" in ends[0][1]
    found = metrics(tmp_path)
    assert [line["step"] for line in found if line["kind"] == "train"] == [*range(1, saved + 4)]
    first, expected = (
        [line["loss"] for line in lines if line["kind"] == "train"][:12]
        for lines in (found, alone[0])
    )
    assert first == pytest.approx(expected[: len(first)], rel=1e-5)


def test_sigterm_to_one_process_stops_all_after_the_same_step(
    compilation_cache_directory: str, tmp_path: Path
) -> None:
    options = {**LONG, "directory": str(tmp_path)}
    job = start_job(compilation_cache_directory, 2, 4, **options)
    wait_for_line(tmp_path / "metrics.jsonl", 3, job[0])
    job[1].send_signal(signal.SIGTERM)
    ends = [ended(process) for process in job]
    assert [code for code, _ in ends] == [143, 143], ends
    (said,) = [line for line in own_lines(ends[0][1]) if "SIGTERM" in line]
    step = said.partition("after step ")[2].partition(",")[0]
    assert (tmp_path / "checkpoints/latest" / step).exists()
    assert max(line["step"] for line in metrics(tmp_path)) == int(step)


def test_a_job_lost_in_an_evaluation_goes_on_from_the_step_before_it(
    compilation_cache_directory: str, tmp_path: Path
) -> None:
    options = {"mesh": MESH, "steps": 8, "save": 4, "directory": str(tmp_path)}
    job = start_job(compilation_cache_directory, 2, 4, lost_at=4, **options)
    ends = [ended(process) for process in job]
    assert ends[0][0] == -signal.SIGKILL, ends
    job = start_job(compilation_cache_directory, 2, 4, **options)
    ends = [ended(process) for process in job]
    assert [code for code, _ in ends] == [0, 0], ends
    assert "steps 4 to 8, resumed from" in ends[0][1]
    found = [(line["kind"], line["step"]) for line in metrics(tmp_path)]
    assert [step for kind, step in found if kind == "dev"] == [4, 8]
    assert [step for kind, step in found if kind == "train"] == list(range(1, 9))


def test_a_process_that_never_comes_is_noticed(
    compilation_cache_directory: str, tmp_path: Path
) -> None:
    (process, other) = start_job(
        compilation_cache_directory, 2, 2, directory=str(tmp_path), mesh={}, start_seconds=3
    )
    other.kill()
    ended(other)
    code, error = ended(process)
    assert code == 75  # nobody's mistake: scripts may start the job again
    (said,) = [line for line in error.splitlines() if line.startswith("distill-jax: error:")]
    assert "did not come together within 3 s" in said
    assert not (tmp_path / "checkpoints").exists()


def test_processes_with_other_settings_are_refused(
    compilation_cache_directory: str, tmp_path: Path
) -> None:
    job = start_job(
        compilation_cache_directory, 2, 2, directory=str(tmp_path), mesh={}, rates=[0.05, 0.1]
    )
    ends = [ended(process) for process in job]
    assert [code for code, _ in ends] == [2, 2], ends
    said = [line for line in ends[0][1].splitlines() if line.startswith("distill-jax: error:")]
    assert len(said) == 1
    assert "process 1 (" in said[0] and "has another configuration than process 0" in said[0]
    name = "training.optimizer.learning_rate"
    assert f"'{name} = 0.1' instead of '{name} = 0.05'" in said[0]
    assert not (tmp_path / "checkpoints").exists()


def test_processes_that_would_not_end_together_are_refused(
    compilation_cache_directory: str, tmp_path: Path
) -> None:
    """A run may go on with more steps, but all of its processes must."""
    job = start_job(
        compilation_cache_directory, 2, 2, directory=str(tmp_path), mesh={}, lengths=[12, 16]
    )
    ends = [ended(process) for process in job]
    assert [code for code, _ in ends] == [2, 2], ends
    name = "training.schedule.train_steps"
    assert f"'{name} = 16' instead of '{name} = 12'" in ends[0][1]
    assert not (tmp_path / "checkpoints").exists()


def test_all_processes_of_a_job_are_told_that_another_run_is_there(
    compilation_cache_directory: str, tmp_path: Path
) -> None:
    with alone_in(tmp_path):
        job = start_job(compilation_cache_directory, 2, 2, directory=str(tmp_path), mesh={})
        ends = [ended(process) for process in job]
    assert [code for code, _ in ends] == [2, 2], ends
    assert all("another run is training there; wait until it has ended" in e for _, e in ends)
    assert not (tmp_path / "checkpoints").exists()


def test_processes_that_count_differently_are_refused(
    compilation_cache_directory: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"directory": str(tmp_path), "mesh": {}, "port": free_port()}
    job = [
        start(compilation_cache_directory, 1, processes=count, process=number, **options)
        for number, count in enumerate((2, 3))
    ]
    ends = [ended(process, timeout=60) for process in job]
    assert [code for code, _ in ends] == [2, 2], ends
    said = [line for line in ends[0][1].splitlines() if line.startswith("distill-jax: error:")]
    assert len(said) == 1
    assert "is one of 3 processes and process 0 one of 2" in said[0]
    assert not (tmp_path / "checkpoints").exists()
