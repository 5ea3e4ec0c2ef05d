"""Where a run's numbers go: a JSONL file, TensorBoard, and a line on the terminal."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

from tensorboardX import SummaryWriter


class RunLog:
    """Writes metrics of a run to `metrics.jsonl`, to TensorBoard's `events…` and to the terminal.

    On resume, lines of steps after `first_step` are dropped from the JSONL file, so that it reads
    as if the run had never stopped.
    """

    def __init__(self, directory: Path, *, first_step: int, terminal: TextIO = sys.stderr) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "metrics.jsonl"
        kept = []
        if path.exists() and first_step:
            lines = path.read_text().splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= first_step]
        path.write_text("".join(f"{line}\n" for line in kept))
        self._file = path.open("a")
        self._events = SummaryWriter(str(directory / "tensorboard"), purge_step=first_step + 1)
        self._terminal = terminal
        self._start = time.monotonic()

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Records scalars of one kind (`train`, `dev`) at a step."""
        self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._events.add_scalar(f"{kind}/{name}", value, step)

    def say(self, text: str) -> None:
        """One line for the person who watches, with the time since the start."""
        elapsed = time.monotonic() - self._start
        print(f"[{elapsed:7.1f}s] {text}", file=self._terminal, flush=True)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._events.close()
