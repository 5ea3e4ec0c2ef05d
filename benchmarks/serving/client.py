"""Clients over HTTP that cost little beside the server: one connection each, kept open."""

import asyncio
import json
import time
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes
    closes: bool

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Lost(Exception):
    """A request was sent, and the connection ended without an answer."""


class Client:
    """One connection, made when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, body: bytes, path: str = "/predict") -> Answer:
        """Sends a request and reads its answer.

        Raises `ConnectionRefusedError` if nobody listens, `Lost` if there is no answer.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n"
        try:
            writer.write(head.encode() + body)
            answer = await self._read(reader)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            await self.close()
            raise Lost(repr(error)) from None
        if answer.closes:
            await self.close()
        return answer

    async def send_part(self, content: bytes) -> None:
        """Sends some bytes, whatever they are."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        self._streams[1].write(content)
        await self._streams[1].drain()

    async def answer(self) -> Answer:
        """Reads an answer to what `send_part` has sent."""
        assert self._streams is not None
        return await self._read(self._streams[0])

    async def close(self) -> None:
        """Ends the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _read(self, reader: asyncio.StreamReader) -> Answer:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(
            int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length")
        )
        body = await reader.readexactly(length)
        return Answer(int(head.split(b" ", 2)[1]), body, b"connection: close" in lines)


def request(text: str) -> bytes:
    """The body that asks for the spans of a text."""
    return json.dumps({"inputs": text}).encode()


async def load(port: int, texts: list[str], clients: int, seconds: float) -> list[float]:
    """The seconds that each request took of clients that ask one after the other, a text each time."""
    took: list[float] = []
    bodies = [request(text) for text in texts]
    end = time.perf_counter() + seconds

    async def one(number: int) -> None:
        client = Client(port)
        while (start := time.perf_counter()) < end:
            answer = await client.ask(bodies[number % len(bodies)])
            took.append(time.perf_counter() - start)
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {answer.body[:200]!r}")
            number += clients
        await client.close()

    await asyncio.gather(*(one(number) for number in range(clients)))
    return took
