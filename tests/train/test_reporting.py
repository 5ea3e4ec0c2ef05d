"""The files a run writes its numbers to, and how they go on after a stop."""

import io
import json
import math
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from distill_jax.train import reporting
from distill_jax.train.reporting import RunLog, dev_line, joined
from distill_jax.train.window import brief_line, train_line


def scalars(directory: Path) -> list[tuple[str, int, float]]:
    """(tag, step, value) of all TensorBoard events, read as TFRecords."""
    found = []
    for path in sorted(directory.glob("tensorboard/events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + size])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            data = data[16 + size :]
    return found


def lines(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_numbers_go_to_jsonl_tensorboard_and_the_terminal(tmp_path: Path) -> None:
    terminal = io.StringIO()
    with RunLog(tmp_path, first_step=0, terminal=terminal) as log:
        log.write(5, "train", {"loss": 0.5})
        log.write(5, "dev", {"f1": 0.25, "ece": 0.125})
        log.say("step 5")
    assert lines(tmp_path) == [
        {"step": 5, "kind": "train", "loss": 0.5},
        {"step": 5, "kind": "dev", "f1": 0.25, "ece": 0.125},
    ]
    assert scalars(tmp_path) == [("train/loss", 5, 0.5), ("dev/f1", 5, 0.25), ("dev/ece", 5, 0.125)]
    assert terminal.getvalue().endswith("s] step 5\n")


def test_lines_are_on_disk_while_the_run_goes_on(tmp_path: Path) -> None:
    with RunLog(tmp_path, first_step=0, terminal=io.StringIO()) as log:
        log.write(1, "train", {"loss": 0.5})
        assert len(lines(tmp_path)) == 1


def test_what_is_not_finite_is_still_json(tmp_path: Path) -> None:
    with RunLog(tmp_path, first_step=0, terminal=io.StringIO()) as log:
        log.write(1, "dev", {"nll": math.inf, "ece": math.nan, "f1": 1.0})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text == '{"step": 1, "kind": "dev", "nll": null, "ece": null, "f1": 1.0}\n'
    assert scalars(tmp_path) == [("dev/f1", 1, 1.0)]


def test_going_on_drops_later_lines_and_half_lines(tmp_path: Path) -> None:
    with RunLog(tmp_path, first_step=0, terminal=io.StringIO()) as log:
        for step in (1, 2, 3, 4):
            log.write(step, "train", {"loss": step / 2})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "kind": "tr')
    with RunLog(tmp_path, first_step=2, terminal=io.StringIO()) as log:
        log.write(3, "train", {"loss": 9.0})
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [
        (1, 0.5),
        (2, 1.0),
        (3, 9.0),
    ]
    # TensorBoard hides by itself what a later file's step 3 makes void.
    assert [step for _, step, _ in scalars(tmp_path)] == [1, 2, 3, 4, 3]


def test_a_run_without_checkpoint_starts_its_file_anew(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        with RunLog(tmp_path, first_step=0, terminal=io.StringIO()) as log:
            log.write(1, "train", {"loss": value})
    assert [line["loss"] for line in lines(tmp_path)] == [2.0]


def test_a_line_of_dev_scores_fits_a_screen() -> None:
    names = ("f1", "f1_strict", "precision", "recall", "perfect", "illegal", "ece", "nll", "brier")
    scores = {"selection": 0.5, **dict.fromkeys(names, 0.5), "seconds": 3.0}
    line = dev_line(120_000, scores, better=True)
    assert len("[12345.6s] " + line) <= 100
    assert line.startswith("step 120000  dev  f1 0.5000  f1_strict 0.5000")
    assert line.endswith("  (best)") and "selection" not in line
    assert dev_line(1, {"selection": -2.0, "loss": 2.0}, better=False) == (
        "step 1  dev  selection -2.0000  loss 2.0000"
    )


class Terminal(io.StringIO):
    """What is shown on one."""

    def isatty(self) -> bool:
        return True


def work(log: RunLog) -> None:
    log.say("steps 0 to 4")
    log.working("step 2/4  loss 2.0000  grad 1", "step 2/4  loss 2.0000")
    log.evaluated(2, {"selection": 0.5, "f1": 0.5, "ece": 0.1}, better=True)
    log.working("step 4/4  loss 1.0000  grad 1", "step 4/4  loss 1.0000")


def test_a_terminal_shows_one_line_of_progress_which_goes_again(tmp_path: Path) -> None:
    terminal = Terminal()
    with RunLog(tmp_path, first_step=0, terminal=terminal) as log:
        work(log)
    stayed, shown = terminal.getvalue().split("\n")
    assert stayed.endswith("s] steps 0 to 4")
    parts = [part.partition("] ")[2] for part in shown.split("\r\x1b[K")]
    assert parts == [
        "",
        "step 2/4  loss 2.0000",
        "step 2 evaluated  best dev 0.5000 (step 2)",
        "step 4/4  loss 1.0000  best dev 0.5000 (step 2)",
        "",
    ]
    assert [line["kind"] for line in lines(tmp_path)] == ["dev"]


def test_elsewhere_a_line_comes_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now)
    terminal = io.StringIO()
    with RunLog(tmp_path, first_step=0, terminal=terminal) as log:
        for now in (1001.0, 1031.0, 1040.0, 1060.9, 1061.0):
            log.working("", f"at {now:.0f}")
    assert terminal.getvalue() == "[   31.0s] at 1031\n[   61.0s] at 1061\n"


def test_every_line_stays_where_that_is_wanted(tmp_path: Path) -> None:
    terminal = Terminal()
    with RunLog(tmp_path, first_step=0, terminal=terminal, verbose=True) as log:
        work(log)
    assert [line.partition("] ")[2] for line in terminal.getvalue().splitlines()] == [
        "steps 0 to 4",
        "step 2/4  loss 2.0000  grad 1",
        "step 2  dev  f1 0.5000  ece 0.1000  (best)",
        "step 4/4  loss 1.0000  grad 1",
    ]


def test_lines_of_steps_fit_a_screen() -> None:
    means = {"loss": 1234.5, "grad_norm": 123.4, "learning_rate": 1.23e-5}
    rates = dict.fromkeys(
        ("steps_per_second", "examples_per_second", "target_tokens_per_second", "memory_bytes"), 1e5
    ) | {"mfu": 0.5, "input_wait_seconds": 1.0, "step_seconds": 2.0, "compile_seconds": 100.0}
    best = "  best dev 0.5000 (step 100000)"
    for line in (
        train_line(100_000, 200_000, means, rates),
        brief_line(100_000, 200_000, means, rates) + best,
    ):
        assert len("[12345.6s] " + line) <= 100
    slow = brief_line(300, 1200, means, {"steps_per_second": 6.0})
    assert slow == "step 300/1200  loss 1234.5000  0:02:30 left"


def test_what_is_said_at_once_is_one_line_if_it_fits() -> None:
    assert joined(["a", "", "b"]) == ["a; b"]
    assert joined(["a" * 60, "b" * 60]) == ["a" * 60, "b" * 60]
