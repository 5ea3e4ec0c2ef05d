"""Where a run's numbers go: a JSONL file, TensorBoard, and a line on the terminal."""

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

from distill_jax.files import write_text


class RunLog:
    """Writes metrics of a run to `metrics.jsonl`, to TensorBoard's `events…` and to the terminal.

    On resume, lines of steps after `first_step` are dropped from the JSONL file, and those of dev scores
    after step `evaluated` (None: `first_step`), so that it reads as if the run had never stopped.
    `terminal` None is standard error. Of several processes only the first writes; in the others
    (`writes` False) nothing happens.
    """

    def __init__(
        self,
        directory: Path,
        *,
        first_step: int,
        evaluated: int | None = None,
        terminal: TextIO | None = None,
        writes: bool = True,
    ) -> None:
        self._start = time.monotonic()
        self._writes = writes
        if not writes:
            return
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "metrics.jsonl"
        last = {"dev": first_step if evaluated is None else evaluated}
        kept = list(_lines_until(path, first_step, last))
        write_text(path, "".join(f"{line}\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")
        # It imports PyTorch where that is installed: only the process that writes need wait for it.
        from tensorboardX import SummaryWriter

        self._events = SummaryWriter(
            str(directory / "tensorboard"),
            purge_step=first_step + 1,
            flush_secs=5,
            # Files are named after the second otherwise, and overwritten by a quick second run.
            filename_suffix=f".{first_step}",
        )
        self._terminal = sys.stderr if terminal is None else terminal

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Records scalars of one kind (`train`, `dev`) at a step.

        JSON has no number for what is not finite: it is null there, and left out of TensorBoard.
        """
        if not self._writes:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, "kind": kind, **finite}) + "\n")
        self._file.flush()
        for name, value in finite.items():
            if value is not None:
                self._events.add_scalar(f"{kind}/{name}", value, step)

    def say(self, text: str) -> None:
        """One line for the person who watches, with the time since the start."""
        if not self._writes:
            return
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
        if self._writes:
            self._file.close()
            self._events.close()


_WIDTH = 100 - len("[12345.6s] ")


def dev_line(step: int, scores: Mapping[str, float], *, better: bool) -> str:
    """The first of the dev scores, as many as fit into a line; `metrics.jsonl` has all of them.

    What models are selected by goes by its own name where it has another.
    """
    best = "  (best)" if better else ""
    line = f"step {step}  dev"
    names = list(scores)
    if any(scores[name] == scores["selection"] for name in names if name != "selection"):
        names.remove("selection")
    for name in names:
        part = f"  {name} {scores[name]:.4f}"
        if len(line + part + best) > _WIDTH:
            break
        line += part
    return line + best


def _lines_until(path: Path, last_step: int, last_of_kind: Mapping[str, int]) -> Iterator[str]:
    """The lines of steps up to `last_step`, of some kinds up to another one.

    A run that was killed may have left half a line.
    """
    if not last_step or not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            read = json.loads(line)
            step, kind = read["step"], read["kind"]
        except (ValueError, KeyError, TypeError):
            continue
        if step <= last_of_kind.get(kind, last_step):
            yield line
