"""The files a run writes its numbers to, and how they go on after a stop."""

import io
import json
import math
import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from distill_jax.train.reporting import RunLog, dev_line


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
