"""A tagger of few lines, and servers of it in this process or in a thread."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import uvicorn

from distill_jax.inference.tagged import TaggedSentence, TaggedSpan
from distill_jax.serve.app import make_app
from distill_jax.serve.metrics import Metrics
from distill_jax.serve.models import Models
from distill_jax.serve.settings import Batching, ServeSettings
from distill_jax.tagging import LabelSet, sbio_from_spans, spans_from_iob2

LABELS = LabelSet(("city", "date_time"))


class FakeTagger:
    """Words that are written large are spans: `city`, with a digit `date_time`.

    It sees how it is used: `batches` are those it was given, `gate` must be set for it to answer.
    """

    def __init__(self, labels: LabelSet = LABELS, text_words: str = "punctuation") -> None:
        self.labels = labels
        self.settings = SimpleNamespace(text_words=text_words)
        self.batches: list[list[Sequence[str]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails: Exception | None = None
        self.warmed: list[tuple[int, int]] = []

    def warm_up(self, sentences: Sequence[Sequence[str]]) -> int:
        self.warmed.append((len(sentences), len(sentences[0])))
        return 1

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[TaggedSentence]:
        self.batches.append(list(sentences))
        assert self.gate.wait(30)
        if self.fails is not None:
            raise self.fails
        return [self._tag(tuple(words)) for words in sentences]

    def label_of(self, word: str) -> str | None:
        """The label of a word, if it has one."""
        if any(character.isdigit() for character in word):
            return self.labels.names[1]
        return self.labels.names[0] if word[0].isupper() else None

    def _tag(self, words: tuple[str, ...]) -> TaggedSentence:
        tags: list[str] = []
        for word in words:
            label = self.label_of(word)
            inside = label and tags and tags[-1].endswith(f"-{label}")
            tags.append("O" if label is None else f"{'I' if inside else 'B'}-{label}")
        spans = spans_from_iob2(tags)
        tag_set = self.labels.tags
        posteriors = np.full((len(words), len(tag_set)), 0.1 / (len(tag_set) - 1), np.float32)
        for row, tag in enumerate(sbio_from_spans(spans, len(words))):
            posteriors[row, tag_set.index(tag)] = 0.9
        return TaggedSentence(
            words,
            tuple(tags),
            tuple(
                TaggedSpan(*span, " ".join(words[span.start : span.end]), 0.75) for span in spans
            ),
            tag_set,
            posteriors,
            np.log(posteriors),
        )


class World:
    """Models `a` and `b` of folders below `folder`, whose files say nothing, and their application."""

    def __init__(
        self,
        folder: Path,
        settings: ServeSettings | None = None,
        *,
        token: str | None = None,
        taggers: dict[str, FakeTagger] | None = None,
    ) -> None:
        self.folder = folder
        self.settings = settings or ServeSettings(batching=Batching(8), log_requests=False)
        self.taggers = taggers or {"a": FakeTagger(), "b": FakeTagger()}
        self.metrics = Metrics()
        directories = {name: folder / name for name in self.taggers}
        for directory in directories.values():
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "weights").write_text("1")
        self.models = Models(directories, self.load, self.settings, self.metrics)
        self.app = make_app(self.models, self.settings, self.metrics, token=token)

    def load(self, directory: Path) -> FakeTagger:
        """What is there now."""
        return self.taggers[directory.name]

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Asks the application without a network."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://test", **options)

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """The application behind a socket of this machine; its address."""
        config = uvicorn.Config(
            self.app, log_config=None, lifespan="off", ws="none", loop="asyncio"
        )
        server = uvicorn.Server(config)
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
        )
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 30))


def post(world: World, body: Any, path: str = "/predict", **options: Any) -> httpx.Response:
    """The answer to one request; `body` is sent as JSON unless it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def asked() -> httpx.Response:
        async with world.client() as client:
            return await client.post(path, content=content, **options)

    return run(asked())


def get(world: World, path: str, **options: Any) -> httpx.Response:
    async def asked() -> httpx.Response:
        async with world.client() as client:
            return await client.get(path, **options)

    return run(asked())


def entity(label: str, word: str, start: int, score: float = 0.75) -> dict[str, Any]:
    place = {"word": word, "start": start, "end": start + len(word)}
    return {"entity_group": label, "score": score, **place}
