"""Sentences of several requests in a batch."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from distill_jax.serve.batching import Batcher
from distill_jax.serve.errors import RequestError
from distill_jax.serve.settings import Batching
from tests.serve.fake import run


class Echo:
    """Answers each sentence by its words; waits for `gate`."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.seen: list[str] = []
        self.started, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def __call__(self, sentences: list[Sequence[str]]) -> list[str]:
        self.sizes.append(len(sentences))
        self.seen += [" ".join(words) for words in sentences]
        self.started.set()
        assert self.gate.wait(30)
        if any("bad" in words for words in sentences):
            raise ValueError("bad")
        return [" ".join(words) for words in sentences]


def batcher(echo: Echo, size: int = 4, window: float = 0.0, waiting: int = 100) -> Batcher:
    return Batcher("m", echo, Batching(size, window), waiting)


async def started(echo: Echo) -> None:
    while not echo.started.is_set():
        await asyncio.sleep(0.001)


def test_what_waits_goes_together_and_comes_back_in_order() -> None:
    """While the first is computed, three requests of seven sentences come: batches of 4 and 3."""
    echo = Echo()
    echo.gate.clear()
    made = batcher(echo)

    async def asked() -> list[Any]:
        first = asyncio.create_task(made.submit([["x"]]))
        await started(echo)
        rest = [
            asyncio.create_task(made.submit([[f"{n}{k}"] for k in range(size)]))
            for n, size in enumerate((3, 1, 3))
        ]
        await asyncio.sleep(0)
        assert made.waiting == 7
        echo.gate.set()
        return await asyncio.gather(first, *rest)

    assert run(asked()) == [["x"], ["00", "01", "02"], ["10"], ["20", "21", "22"]]
    assert echo.sizes == [1, 4, 3]
    made.close()


def test_one_alone_does_not_wait_for_the_window() -> None:
    made = batcher(Echo(), window=5.0)

    async def asked() -> None:
        for _ in range(3):
            await made.submit([["a"]])

    start = time.monotonic()
    run(asked())
    assert time.monotonic() - start < 2.0
    made.close()


def test_the_window_gathers_those_who_come_together() -> None:
    """After a batch of two requests the next waits for more, and goes at once when it is full."""
    echo = Echo()
    echo.gate.clear()
    made = batcher(echo, size=3, window=20.0)

    async def asked() -> None:
        first = asyncio.create_task(made.submit([["x"]]))
        await started(echo)
        both = [asyncio.create_task(made.submit([[name]])) for name in "ab"]
        await asyncio.sleep(0)
        echo.gate.set()
        await asyncio.gather(first, *both)
        late = [asyncio.create_task(made.submit([[name]])) for name in "cd"]
        await asyncio.sleep(0.05)
        assert echo.sizes == [1, 2]
        await asyncio.gather(made.submit([["e"]]), *late)

    run(asked())
    assert echo.sizes == [1, 2, 3]
    made.close()


def test_who_has_gone_is_not_computed() -> None:
    echo = Echo()
    echo.gate.clear()
    made = batcher(echo, size=1)

    async def asked() -> None:
        first = asyncio.create_task(made.submit([["x"]]))
        await started(echo)
        gone = asyncio.create_task(made.submit([["gone"]]))
        await asyncio.sleep(0)
        gone.cancel()
        after = asyncio.create_task(made.submit([["after"]]))
        await asyncio.sleep(0.01)
        echo.gate.set()
        await asyncio.gather(first, after)

    run(asked())
    assert echo.seen == ["x", "after"]
    made.close()


def test_what_fails_fails_alone() -> None:
    made = batcher(Echo())

    async def asked() -> None:
        with pytest.raises(ValueError, match="bad"):
            await made.submit([["bad"]] * 9)
        assert await made.submit([["good"]]) == ["good"]

    run(asked())
    made.close()


def test_a_full_queue_and_a_closed_one() -> None:
    """What waits when it is closed is answered; what comes later is refused."""
    echo = Echo()
    echo.gate.clear()
    made = batcher(echo, waiting=2)

    async def asked() -> None:
        first = asyncio.create_task(made.submit([["x"]]))
        await started(echo)
        second = asyncio.create_task(made.submit([["a"], ["b"]]))
        await asyncio.sleep(0)
        with pytest.raises(RequestError) as full:
            await made.submit([["c"]])
        assert full.value.status == 429
        made.close(0.0)
        with pytest.raises(RequestError) as closed:
            await made.submit([["d"]])
        assert closed.value.status == 503
        echo.gate.set()
        assert await asyncio.gather(first, second) == [["x"], ["a", "b"]]

    run(asked())
    made.close()
