"""Items that are worked on together: so many at a time, or what has arrived."""

import contextlib
import itertools
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class _End(NamedTuple):
    """What ends the items: an exception, or nothing more."""

    error: BaseException | None = None


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last one may be shorter."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def chunks_as_they_come(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of what has arrived, at least one item and at most `size`.

    Another thread waits for the items, so that one that takes long to come does not hold up those
    before it. What the items raise is raised here, after those before it.
    """
    arrived: queue.Queue[T | _End] = queue.Queue(size)
    is_over = threading.Event()

    def wait_for_items() -> None:
        try:
            for item in items:
                arrived.put(item)
                if is_over.is_set():
                    return
            arrived.put(_End())
        except BaseException as error:
            arrived.put(_End(error))

    threading.Thread(target=wait_for_items, daemon=True).start()
    try:
        end: _End | None = None
        while end is None:
            chunk: list[T] = []
            with contextlib.suppress(queue.Empty):
                while end is None and len(chunk) < size:
                    item = arrived.get(block=not chunk)
                    if isinstance(item, _End):
                        end = item
                    else:
                        chunk.append(item)
            if chunk:
                yield chunk
        if end.error is not None:
            raise end.error
    finally:
        is_over.set()
        with contextlib.suppress(queue.Empty):  # the thread may wait for room
            while True:
                arrived.get_nowait()
