"""Chunks: full ones of a file, and of a pipe what has come."""

import threading
import time
from collections.abc import Iterator

import pytest

from distill_jax.data.chunks import chunks, chunks_as_they_come


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_all_items_in_order(count: int) -> None:
    assert list(chunks(range(count), 3)) == [
        list(range(count))[start : start + 3] for start in range(0, count, 3)
    ]
    found = list(chunks_as_they_come(range(count), 3))
    assert [item for chunk in found for item in chunk] == list(range(count))
    assert all(1 <= len(chunk) <= 3 for chunk in found)


def test_what_has_come_does_not_wait_for_more() -> None:
    go_on = threading.Semaphore(0)

    def items() -> Iterator[int]:
        for number in range(6):
            if number in (1, 5):
                assert go_on.acquire(timeout=60)
            yield number

    found = chunks_as_they_come(items(), 4)
    assert next(found) == [0]
    go_on.release()
    read: list[int] = []
    while len(read) < 4:
        read += next(found)
    assert read == [1, 2, 3, 4]
    go_on.release()
    assert list(found) == [[5]]


def test_an_error_comes_after_what_was_read_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("line 3")

    found: list[int] = []
    with pytest.raises(ValueError, match="line 3"):
        for chunk in chunks_as_they_come(items(), 5):
            found += chunk
    assert found == [1, 2]


def test_who_takes_no_more_leaves_no_thread() -> None:
    before = threading.active_count()
    found = chunks_as_they_come(iter(range(1000)), 2)
    next(found)
    found.close()  # type: ignore[attr-defined]
    until = time.monotonic() + 60
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.001)
    assert threading.active_count() == before
