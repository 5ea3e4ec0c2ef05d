"""Sentences of many requests, put through a model together by one thread.

While the thread computes, sentences wait; it then takes as many as a batch holds. So batches grow with
the load by themselves, and a request that comes alone is computed at once. The window is for clients that
all wait for the same batch: when it ends they ask again, a little one after the other.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from distill_jax.serve.errors import later
from distill_jax.serve.settings import Batching

Words = Sequence[str]


class Observer(Protocol):
    """Told what a batcher does; called from its thread."""

    def batch(self, model: str, sentences: int, seconds: float) -> None:
        """A batch went through the model."""


class _Job:
    """The sentences of a request, answered together."""

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self.future: asyncio.Future[list[Any]] = loop.create_future()
        self.answers: list[Any] = [None] * size
        self.missing = size
        self.error: BaseException | None = None

    def finish(self) -> None:
        """In the loop's thread."""
        if self.future.done():  # its client was told that it took too long, or has gone
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.answers)


class _Waiting(NamedTuple):
    job: _Job
    position: int
    words: Words


class Batcher:
    """Tags sentences of an event loop's requests in a thread of its own.

    Methods are called in the loop's thread.
    """

    def __init__(
        self,
        name: str,
        tag: Callable[[list[Words]], Sequence[Any]],
        batching: Batching,
        most_waiting: int,
        observer: Observer | None = None,
    ) -> None:
        """`tag` answers a list of sentences in order; what it raises, their requests raise."""
        self.name = name
        self._tag = tag
        self._batching = batching
        self._most_waiting = most_waiting
        self._observer = observer
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._idle = False  # whether the thread waits for a first sentence
        self._rate = 0.0  # sentences a second, of the last batches
        self._thread = threading.Thread(target=self._run, name=f"tagger {name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Sentences that no batch has taken yet."""
        return len(self._waiting)

    async def submit(self, sentences: Sequence[Words]) -> list[Any]:
        """The answers for some sentences, in order.

        Raises `RequestError` 429 if so many do not fit into the queue, 503 after `close`.
        """
        if not sentences:
            return []
        loop = asyncio.get_running_loop()
        job = _Job(loop, len(sentences))
        with self._changed:
            if self._closed:
                raise later(503, "the server is ending")
            waiting = len(self._waiting)
            if waiting + len(sentences) > self._most_waiting:
                seconds = waiting / self._rate if self._rate else 1.0
                raise later(
                    429,
                    f"{waiting} sentences wait for model {self.name!r}, of at most {self._most_waiting}",
                    round(seconds),
                )
            self._waiting.extend(
                _Waiting(job, position, words) for position, words in enumerate(sentences)
            )
            if self._idle or len(self._waiting) >= self._batching.size:
                self._changed.notify()
        return await job.future

    def close(self, seconds: float = 5.0) -> None:
        """Ends the thread after what waits has been answered, or the time is over."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        crowded = False
        while batch := self._next_batch(crowded):
            crowded = len({id(item.job) for item in batch}) > 1
            start = time.perf_counter()
            try:
                answers = self._tag([item.words for item in batch])
                for item, answer in zip(batch, answers, strict=True):
                    item.job.answers[item.position] = answer
            except BaseException as error:
                for item in batch:
                    item.job.error = error
            seconds = time.perf_counter() - start
            rate = len(batch) / max(seconds, 1e-6)
            self._rate = rate if not self._rate else 0.8 * self._rate + 0.2 * rate
            self._give_back(batch)
            if self._observer is not None:
                self._observer.batch(self.name, len(batch), seconds)
            del batch

    def _next_batch(self, crowded: bool) -> list[_Waiting]:
        """Sentences whose requests still wait, at least one; none after `close`."""
        size = self._batching.size
        while True:
            with self._changed:
                self._idle = True
                while not self._waiting and not self._closed:
                    self._changed.wait()
                self._idle = False
                if not self._waiting:
                    return []
                end = time.monotonic() + self._batching.window_seconds
                while crowded and not self._closed and len(self._waiting) < size:
                    left = end - time.monotonic()
                    if left <= 0 or not self._changed.wait(left):
                        break
                batch: list[_Waiting] = []
                while self._waiting and len(batch) < size:
                    item = self._waiting.popleft()
                    if not item.job.future.done() and item.job.error is None:
                        batch.append(item)
            if batch:
                return batch

    @staticmethod
    def _give_back(batch: list[_Waiting]) -> None:
        finished: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        for item in batch:
            job = item.job
            job.missing -= 1
            if job.missing == 0 or job.error is not None:
                finished.setdefault(job.future.get_loop(), []).append(job)
        for loop, jobs in finished.items():
            try:
                loop.call_soon_threadsafe(_finish, jobs)
            except RuntimeError:  # the loop is closed: nobody waits any more
                continue


def _finish(jobs: list[_Job]) -> None:
    for job in jobs:
        job.finish()
