"""Minutes of everything that befalls a server, and whether it answers rightly all the time.

* Clients that send valid requests: every answer has to be that of one of the two models that are there in
  turns. 429 with `Retry-After` is an answer, and the client waits as long.
* The model's directory is replaced again and again by the other one, or by a damaged one, and loaded.
* Others send malformed bodies, bodies and heads that end half-way, and go before the answer comes.
* At the end SIGTERM, with all of them at it: what was sent and not answered is lost; a connection that is
  refused is not.

Memory is the median of the last tenth of the time against that of the second tenth.
"""

import argparse
import asyncio
import itertools
import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.tables import at_most
from benchmarks.serving.client import Client, Lost, request
from benchmarks.serving.server import Server, expected, make_model, serving

MALFORMED = (
    b"",
    b"{",
    b'{"inputs": "\xff\xfe"}',
    b'{"inputs": 7}',
    b'{"input": "x"}',
    b'{"inputs": "a", "parameters": {"top_k": -1}}',
    b'{"inputs": "' + b"a " * 5000 + b'"}',
    b'{"inputs": "\\ud800"}',
    b"[" * 100_000,
    b"x" * (2 << 20),
)
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 40\r\n\r\n"
BROKEN = (HEAD[:30], HEAD + b'{"inputs": ', b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n")


class Trial:
    """What was asked and answered."""

    def __init__(self, server: Server, answers: list[dict[str, list[Any]]]) -> None:
        self.server = server
        self.port = server.port
        self.answers = answers
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.took: list[float] = []
        self.ending = False

    def fault(self, what: str, why: str) -> None:
        """Counts what may not happen."""
        self.counts[what] += 1
        if len(self.faults) < 20:
            self.faults.append(f"{what}: {why}")

    async def valid(self, texts: list[str], seed: int) -> None:
        """One client that does everything right."""
        rng, client = random.Random(seed), Client(self.port)
        while True:
            text = rng.choice(texts)
            start = time.perf_counter()
            try:
                answer = await client.ask(request(text))
            except OSError:
                if not self.ending:
                    self.fault("refused", "a connection, while nobody had asked the server to end")
                return
            except Lost as error:
                self.fault("lost", str(error))
                continue
            self.took.append(time.perf_counter() - start)
            if answer.status == 429:
                self.counts["told to come again"] += 1
                await asyncio.sleep(0.1)
            elif answer.status != 200:
                self.fault("wrong", f"{answer.status} {answer.body[:200]!r}")
            else:
                self.counts["answered"] += 1
                if not any(_equal(text, answer.json, one[text]) for one in self.answers):
                    self.fault("wrong", f"{text!r}: {answer.body[:300]!r}")

    async def malformed(self) -> None:
        """Bodies that are refused, each by a status from 400 to 499 with an `error`."""
        for body in itertools.cycle(MALFORMED):
            client = Client(self.port)
            try:
                answer = await client.ask(body)
                if not 400 <= answer.status < 500 or "error" not in answer.json:
                    self.fault("malformed taken", f"{body[:40]!r}: {answer.status}")
                self.counts["malformed"] += 1
            except Lost:  # a connection that is closed over a long body is an answer, too
                self.counts["malformed"] += 1
            except OSError:
                return
            await client.close()
            await asyncio.sleep(0.02)

    async def broken(self, seed: int) -> None:
        """Half requests and none at all; some stay, some go."""
        rng = random.Random(seed)
        while not self.ending:
            client = Client(self.port)
            try:
                await client.send_part(rng.choice(BROKEN))
                if rng.random() < 0.3:
                    await asyncio.wait_for(client.answer(), 3)
            except (
                OSError,
                TimeoutError,
                asyncio.IncompleteReadError,
                StopIteration,
                RuntimeError,
            ):
                pass
            self.counts["broken off"] += 1
            await client.close()
            await asyncio.sleep(0.05)

    async def gone(self, texts: list[str], seed: int) -> None:
        """Valid requests whose clients do not wait."""
        rng = random.Random(seed)
        while not self.ending:
            client = Client(self.port)
            body = request(rng.choice(texts))
            try:
                head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
                await client.send_part(head.encode() + body)
            except OSError:
                return
            await client.close()
            self.counts["gone"] += 1
            await asyncio.sleep(0.02)

    async def replaced(self, served: Path, models: list[Path], every: float) -> None:
        """Other models, and damaged ones, where the served one is."""
        for number in itertools.count(1):
            await asyncio.sleep(every)
            if self.ending:
                return
            damaged = number % 3 == 0
            await asyncio.to_thread(_replace, served, models[number % 2], damaged)
            answer = await Client(self.port).ask(b"", "/v2/repository/models/m/load")
            if answer.status != (409 if damaged else 200):
                self.fault("reload", f"{answer.status} {answer.body[:300]!r}")
            self.counts["damaged refused" if damaged else "reloaded"] += 1


def _equal(text: str, entities: list[Any], spans: list[Any]) -> bool:
    """Whether entities with places in characters are spans with places in words."""
    words = text.split(" ")
    starts = list(itertools.accumulate((len(word) + 1 for word in words), initial=0))
    wanted = [(label, starts[start], starts[end] - 1) for label, (start, end) in spans]
    return wanted == [(one["entity_group"], one["start"], one["end"]) for one in entities]


def _replace(served: Path, model: Path, damaged: bool) -> None:
    """Puts a copy of a model where another is, by two renames; of a damaged one a file is cut."""
    new, old = served.with_name("new"), served.with_name("old")
    shutil.copytree(model, new)
    if damaged:
        largest = max(new.iterdir(), key=lambda path: path.stat().st_size)
        os.truncate(largest, largest.stat().st_size // 2)
    served.rename(old)
    new.rename(served)
    shutil.rmtree(old)


async def _run(trial: Trial, work: list[Any], minutes: float) -> list[int]:
    tasks = [asyncio.create_task(one) for one in work]
    memory: list[int] = []
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        memory.append(trial.server.memory())
        await asyncio.sleep(min(1.0, 0.6 * minutes))
    trial.ending = True
    trial.server.terminate()
    code = await asyncio.to_thread(trial.server.wait)
    if code != 0:
        trial.fault("exit code", str(code))
    await asyncio.wait(tasks, timeout=5)
    for task in tasks:
        if not task.done():
            task.cancel()
        elif task.exception() is not None:
            trial.fault("client", repr(task.exception()))
    return memory


def soak(folder: Path, texts: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Minutes of it; what was counted, and the targets."""
    onnx = not options.jax
    models = [make_model(folder, f"model{n}", seed=n, dim=options.dim, onnx=onnx) for n in range(2)]
    answers = [expected(model, texts) for model in models]
    served = folder / "served"
    shutil.copytree(models[0], served)
    arguments = ["--body_timeout", "2", *options.serve]
    with serving(served, *arguments) as server:
        trial = Trial(server, answers)
        work = [
            *(trial.valid(texts, number) for number in range(options.clients)),
            trial.malformed(),
            *(trial.broken(number) for number in range(4)),
            *(trial.gone(texts, number) for number in range(2)),
            trial.replaced(served, models, min(5.0, 6 * options.soak)),
        ]
        memory = asyncio.run(_run(trial, work, options.soak))
        faults = [*trial.faults, *server.faults[:5]]
    tenth = max(1, len(memory) // 10)
    before, after = np.median(memory[tenth : 2 * tenth]), np.median(memory[-tenth:])
    bad = sum(trial.counts[name] for name in ("wrong", "lost", "refused", "exit code", "client"))
    p99 = 1e3 * float(np.percentile(trial.took, 99))
    return {
        "soak": {
            **dict(trial.counts),
            "p99_ms": round(p99, 1),
            "memory_mb": [round(float(one) / 1e6, 1) for one in (before, after)],
            "faults": faults,
        },
        "targets": [
            at_most("wrong or lost answers to valid requests", bad, 0),
            at_most("malformed taken, reloads that went wrong, tracebacks", len(faults) - bad, 0),
            at_most("growth of memory, %", 100 * float(after / before - 1), 5.0),
        ],
    }
