"""Where a run's numbers go: a JSONL file, TensorBoard, and a line on the terminal."""

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TextIO

from distill_jax.files import write_text
from distill_jax.terminal import WIDTH, clear_line, rewrite_line

EVERY = 30.0
"""Seconds between lines of progress where there is no terminal."""


class RunLog:
    """Writes metrics of a run to `metrics.jsonl`, to TensorBoard's `events…` and to the terminal.

    On resume, lines of steps after `first_step` are dropped from the JSONL file, and those of dev scores
    after step `evaluated` (None: `first_step`), so that it reads as if the run had never stopped.
    What is going on is one line that a terminal shows in place of the one before, and that comes every 30
    seconds where there is none; if `verbose`, every step that is logged and every evaluation is a line of its
    own. `terminal` None is standard error. Of several processes only the first writes; in the others
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
        verbose: bool = False,
    ) -> None:
        self._start = self._last = time.monotonic()
        self._verbose, self._best = verbose, ""
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
        self._clear()
        print(self._timed(text), file=self._terminal, flush=True)

    def working(self, text: str, brief: str) -> None:
        """What is going on: `text` where every step is to be seen, else `brief` and the best dev score."""
        if not self._writes:
            return
        if self._verbose:
            self.say(text)
        elif self._terminal.isatty():
            rewrite_line(self._terminal, self._timed(brief + self._best))
        elif time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            self.say(brief + self._best)

    def evaluated(self, step: int, scores: Mapping[str, float], *, better: bool) -> None:
        """Dev scores at a step."""
        self.write(step, "dev", scores)
        if better:
            self.best(step, scores["selection"])
        self.working(dev_line(step, scores, better=better), f"step {step} evaluated")

    def best(self, step: int, score: float) -> None:
        """The best dev score so far, which is shown beside what is going on."""
        self._best = f"  best dev {score:.4f} (step {step})"

    def _timed(self, text: str) -> str:
        return f"[{time.monotonic() - self._start:7.1f}s] {text}"

    def _clear(self) -> None:
        if not self._verbose and self._terminal.isatty():
            clear_line(self._terminal)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writes:
            self._clear()
            self._file.close()
            self._events.close()


_WIDTH = WIDTH - len("[12345.6s] ")


def dev_line(step: int, scores: Mapping[str, float], *, better: bool) -> str:
    """The first of the dev scores, as many as fit into a line; `metrics.jsonl` has all of them.

    What models are selected by goes by its own name where it has another.
    """
    names = list(scores)
    if any(scores[name] == scores["selection"] for name in names if name != "selection"):
        names.remove("selection")
    shown = [f"{name} {scores[name]:.4f}" for name in names]
    return fitted(f"step {step}  dev", shown, "  (best)" if better else "")


def fitted(line: str, parts: Iterable[str], end: str = "") -> str:
    """A line with as many of the parts as there is room for, from the first."""
    for part in parts:
        if len(f"{line}  {part}{end}") > _WIDTH:
            break
        line += f"  {part}"
    return line + end


def joined(texts: Iterable[str]) -> list[str]:
    """Texts that are said at once, in one line if they fit into it."""
    some = [text for text in texts if text]
    line = "; ".join(some)
    return [line] if len(line) <= _WIDTH else some


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
