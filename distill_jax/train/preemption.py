"""SIGTERM: what a cluster sends before it takes a machine away, some tens of seconds earlier.

The run finishes its step, saves a checkpoint and exits with `EXIT_PREEMPTED`; started again, it
goes on as if nothing had happened. With one process a handler of our own sets a flag. With several,
any of them may be told; JAX's preemption service then has all of them stop after the same step.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from jax.experimental import multihost_utils

from distill_jax.parallel import processes

EXIT_PREEMPTED = 128 + int(signal.SIGTERM)
"""143, what a shell reports of a process that SIGTERM ended: saved, to be started again."""


class Preempted(SystemExit):
    """The run was told to stop and has saved a checkpoint; ends Python with `EXIT_PREEMPTED`."""

    def __init__(self) -> None:
        super().__init__(EXIT_PREEMPTED)


class Interrupted(Exception):
    """SIGTERM came in a block that may be given up half-way."""


class PreemptionWatch:
    """Notices SIGTERM while the context is entered.

    Only the main thread of a program can; in another one, SIGTERM does what it did before.
    """

    def __init__(self) -> None:
        self._told = False
        self._may_interrupt = False
        self._before: Any = None
        self._installed = False

    def __enter__(self) -> "PreemptionWatch":
        main = threading.current_thread() is threading.main_thread()
        # JAX's preemption service has a handler of its own, which must stay.
        if main and not processes.is_distributed():
            self._before = signal.signal(signal.SIGTERM, self._handle)
            self._installed = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)
            self._installed = False

    def reached(self, step: int) -> bool:
        """Whether to stop after this step; all processes must ask once after each step."""
        if processes.is_distributed():
            return bool(multihost_utils.reached_preemption_sync_point(step))
        return self._told

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """In the block SIGTERM raises `Interrupted`; it must be one that can be done again."""
        self._may_interrupt = True
        try:
            if self._told:
                raise Interrupted
            yield
        finally:
            self._may_interrupt = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._told = True
        if self._may_interrupt:
            self._may_interrupt = False
            raise Interrupted
