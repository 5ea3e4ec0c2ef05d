"""SIGINT and SIGTERM end a command so that it tidies up after itself.

Python runs a signal's handler between any two of its instructions, and what the handler raises there is
lost if they belong to a callback of C code or to a finaliser ("Exception ignored in …", such as JAX's at
each garbage collection): the job would run on. So the handler notes the signal as well, and long work
asks `check_stopped` at places where it may end: between two batches, or two steps. While a run trains,
SIGTERM is its own (`train.preemption`).

A module that is being imported is not interrupted: libraries written in C may crash on an exception in the
middle of their start. The signal comes again a moment later.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

_AT_ONCE_AFTER = 0.5
"""Seconds after which another Ctrl-C ends the process at once. `timeout` and terminals may send a signal
twice, to a process and to its group, which means it once."""

_AGAIN_AFTER = 0.05
"""Seconds until a signal that came within an import is sent again."""


class Terminated(SystemExit):
    """SIGTERM; ends Python with exit code 143, which a shell reports of a process that it ended."""

    def __init__(self) -> None:
        super().__init__(128 + int(signal.SIGTERM))


_received: tuple[int, float] | None = None
"""The signal that came first, and when."""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """In the block SIGINT raises `KeyboardInterrupt` and SIGTERM `Terminated`, once.

    A second SIGINT half a second later or more ends the process at once. Signals that are ignored
    (`nohup`) stay so, and only the main thread of a program can do this; others change nothing.
    """
    global _received
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _received = None
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM)
        # None is a handler that is not Python's.
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    }
    for number in before:
        signal.signal(number, _handle)
    hook = sys.unraisablehook

    def without_ours(event: "sys.UnraisableHookArgs") -> None:
        # What was lost is raised again by `check_stopped`; Python would print a traceback of it.
        if _received is None or not issubclass(event.exc_type, KeyboardInterrupt | Terminated):
            hook(event)

    sys.unraisablehook = without_ours
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
        _received = None


def check_stopped() -> None:
    """Raises what a signal should have raised, if one has come in the block of `stoppable`."""
    if _received is not None and threading.current_thread() is threading.main_thread():
        raise _exception(_received[0])


def _handle(number: int, frame: FrameType | None) -> None:
    global _received
    if _received is None:
        if _importing(frame):
            again = threading.Timer(_AGAIN_AFTER, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        _received = number, time.monotonic()
        raise _exception(number)
    if number == signal.SIGINT and time.monotonic() - _received[1] > _AT_ONCE_AFTER:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _importing(frame: FrameType | None) -> bool:
    """Whether a module's own start is among the calls."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()
