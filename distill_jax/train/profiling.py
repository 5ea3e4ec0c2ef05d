"""A profiler trace of some steps, for TensorBoard's profile tab or Perfetto."""

from pathlib import Path
from types import TracebackType

import jax


class StepProfile:
    """Traces steps A to B (counted from 1, B included) into a directory; nothing if `steps` is None.

    A run that is resumed after A traces nothing.
    """

    def __init__(self, directory: Path, steps: tuple[int, int] | None) -> None:
        self._directory = directory
        self._steps = steps
        self._tracing = False

    def __str__(self) -> str:
        first, last = self._steps or (0, 0)
        return f"profiler trace of steps {first} to {last} in {self._directory}"

    def before(self, step: int) -> None:
        """To be called before step number `step` is begun."""
        if self._steps is not None and step == self._steps[0]:
            self._directory.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(str(self._directory))
            self._tracing = True

    def after(self, step: int, result: object) -> bool:
        """To be called with what the step returned; True once the trace is written."""
        if self._tracing and self._steps is not None and step >= self._steps[1]:
            jax.block_until_ready(result)  # dispatched only: the trace would end before the step
            self._stop()
            return True
        return False

    def _stop(self) -> None:
        self._tracing = False
        jax.profiler.stop_trace()

    def __enter__(self) -> "StepProfile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._tracing:
            self._stop()
