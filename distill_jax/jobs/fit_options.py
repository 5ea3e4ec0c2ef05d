"""What is said to `distill-jax fit`, and where it answers."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """What the user says; None is decided by `jobs.fit_plan`.

    Attributes:
        data: a folder or file of labelled sentences.
        out: the folder that everything is written to.
        unlabelled: files.
        teacher: a directory.
        minutes: how long all of it may take, roughly.
        dev: sentences that are held out where there is no dev split.
        student: its kind.
        vectors: a file of word vectors for a BiLSTM.
        steps, teacher_steps: of training.
        seed: of everything.
        bindings: Gin bindings for the student's run.
    """

    data: str
    out: str
    unlabelled: Sequence[str] = ()
    teacher: str | None = None
    minutes: float = 20.0
    dev: int | None = None
    student: Literal["bilstm", "bert"] = "bilstm"
    vectors: str | None = None
    steps: int | None = None
    teacher_steps: int | None = None
    seed: int = 0
    bindings: Sequence[str] = ()


class Screen(Protocol):
    """Where a person is told what happens."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def command(self, what: str, command: str) -> None:
        """A command to be copied."""

    def working(self, what: str, log: Path) -> contextlib.AbstractContextManager[None]:
        """A step that takes long; what it says of itself goes to a file."""
