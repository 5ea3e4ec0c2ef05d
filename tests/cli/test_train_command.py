"""`distill-jax train` from the outside: exit codes, a stop, and going on."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill_jax.cli import main
from tests.compiled_once import cache_environment, compiled_once

FEW = (
    "--gin.MIXTURE_OR_TASK_NAME='demo'",
    "--gin.TRAIN_SPLIT='train'",
    "--gin.EVAL_SPLIT='valid'",
    "--gin.BATCH_SIZE=8",
    "--gin.BiLSTMConfig.word_dim=8",
    "--gin.BiLSTMConfig.char_dim=4",
    "--gin.BiLSTMConfig.char_hidden=4",
    "--gin.BiLSTMConfig.hidden=8",
)


def command(directory: Path, *more: str) -> list[str]:
    model_dir = f"--gin.MODEL_DIR={str(directory)!r}"
    return ["train", "--gin_file=gin/runs/distil_gold.gin", model_dir, *FEW, *more]


def files(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("steps", ["3", "3:", "0:2", "5:4", "a:b"])
def test_steps_to_profile_that_make_no_sense(
    steps: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--gin_file=gin/runs/distil_gold.gin", f"--profile_steps={steps}"]) == 2
    assert f"--profile_steps is '{steps}'" in capsys.readouterr().err


def test_half_a_job_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--num_processes=2", "--process_id=0"]) == 2
    assert "add --coordinator_address" in capsys.readouterr().err


def test_the_help_states_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    assert end.value.code == 0
    assert {"0", "2", "75", "143"} <= set(re.findall(r"^  (\d+) ", capsys.readouterr().out, re.M))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The run that goes on need not compile what the one that was stopped has compiled."""
    directory = str(tmp_path / "xla")
    for name, value in cache_environment(directory).items():
        monkeypatch.setenv(name, value)
    with compiled_once(directory):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_a_run_stops_at_sigterm_and_goes_on_only_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "run"
    long = command(directory, "--gin.TRAIN_STEPS=100000", "--gin.Schedule.log_period=1")
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(
        [sys.executable, "-m", "distill_jax", *long, "--profile_steps=2:3"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = directory / "metrics.jsonl"
    deadline = time.monotonic() + 240
    while process.poll() is None and (not log.exists() or len(log.read_bytes()) < 2000):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 143, error
    stopped = int(error.splitlines()[-1].partition("after step ")[2].partition(",")[0])
    assert list((directory / "profile").rglob("*.xplane.pb"))

    before = files(directory)
    capsys.readouterr()
    assert main([*long, "--gin.LEARNING_RATE=0.5"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "optimizer.learning_rate.peak = 0.001 and would go on with 0.5" in said
    assert files(directory) == before

    # More or fewer steps, other periods: the same run.
    short = [f"--gin.TRAIN_STEPS={stopped + 2}", "--gin.EVAL_PERIOD=7"]
    assert main(command(directory, *short)) == 0
    assert f"steps {stopped} to {stopped + 2}, resumed from" in capsys.readouterr().err
    assert (directory / "model" / "config.json").exists()
