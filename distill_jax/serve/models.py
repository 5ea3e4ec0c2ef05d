"""The models that a server has, by name."""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from distill_jax.errors import UserError
from distill_jax.serve.batching import Batcher, Words
from distill_jax.serve.errors import RequestError, later
from distill_jax.serve.loading import LoadedModel, Loader, Tagged, fingerprint, load, warm_up
from distill_jax.serve.logs import log
from distill_jax.serve.metrics import Metrics
from distill_jax.serve.settings import ServeSettings

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_IN_RUNS = ("model", "onnx")  # folders that every run has, so that they tell none apart

Reloaded = Literal["loaded", "unchanged"]


def parse_models(given: Sequence[str]) -> dict[str, Path]:
    """`NAME=DIR` or `DIR`, which is called as the folder is, or the one above a folder `model` or `onnx`.

    Raises `UserError` for a name that cannot stand in an address, or that two models have.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, equals, directory = text.partition("=")
        if not equals or not _NAME.fullmatch(name) or Path(text).is_dir():
            folder = Path(text).absolute()
            name = (folder.parent if folder.name in _IN_RUNS else folder).name
            directory = text
        if not _NAME.fullmatch(name):
            raise UserError(
                f"--model {text}: {name!r} cannot stand in an address; name it: --model NAME={directory}"
            )
        if name in found:
            raise UserError(
                f"--model {text}: {name!r} is the name of {found[name]} already; name one of them: NAME=DIR"
            )
        found[name] = Path(directory)
    return found


class ServedModel:
    """A model with its queue and thread; what it is may be replaced while it answers."""

    def __init__(
        self,
        name: str,
        directory: Path,
        loader: Loader,
        settings: ServeSettings,
        metrics: Metrics,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Loads it; `warm` makes it ready. Raises `UserError` as `load` does."""
        self.name = name
        self.directory = directory
        self.ready = False
        self.loaded_at = time.time()
        self._loader = loader
        self._settings = settings
        self._metrics = metrics
        self._stopped = stopped
        self._reloading = threading.Lock()
        self.current: LoadedModel = load(directory, loader)
        self._batcher = Batcher(
            name, self._tag, settings.batching, settings.limits.queue, observer=metrics
        )
        metrics.queue_of(name, lambda: self._batcher.waiting)

    def _tag(self, sentences: list[Words]) -> Sequence[Tagged]:
        return self.current.tagger.predict(sentences)

    def warm(self) -> None:
        """Compiles what it needs; from then on it is ready, unless the server ends meanwhile."""
        start = time.perf_counter()
        programs = self._compile(self.current)
        if programs is None:
            return
        self.ready = True
        log(
            "ready",
            model=self.name,
            version=self.current.version,
            programs=programs,
            seconds=round(time.perf_counter() - start, 3),
        )

    def _compile(self, model: LoadedModel) -> int | None:
        settings = self._settings
        if not settings.warm_up:
            return 0
        return warm_up(model.tagger, settings.batching.size, settings.limits.words, self._stopped)

    async def predict(self, sentences: Sequence[Words]) -> list[Tagged]:
        """Tags the sentences of a request.

        Raises `RequestError` 503 before it is ready or where it takes too long, 429 as `submit` does.
        """
        if not self.ready:
            raise later(503, f"model {self.name!r} is being made ready")
        try:
            async with asyncio.timeout(self._settings.limits.seconds):
                return await self._batcher.submit(sentences)
        except TimeoutError:
            raise later(
                503, f"not answered within {self._settings.limits.seconds:g} s; try again"
            ) from None

    def reload(self) -> Reloaded:
        """Replaces the model by what its directory holds now, compiled before it answers.

        Called in a thread of the caller's. What is in the queue is answered by the one or the other.

        Raises:
            UserError: the directory holds no model that can be read. The old one serves on.
            RequestError: 409, it is being reloaded.
        """
        if not self._reloading.acquire(blocking=False):
            raise RequestError(409, f"model {self.name!r} is being reloaded")
        try:
            if self.directory.is_dir() and fingerprint(self.directory) == self.current.fingerprint:
                return self._reloaded("unchanged")
            try:
                new = load(self.directory, self._loader)
                if self._compile(new) is None:
                    raise later(503, "the server is ending")
            except Exception as error:
                self._metrics.reloads.labels(self.name, "failed").inc()
                log("reload", "error", model=self.name, result="failed", error=str(error))
                raise
            self.current, self.loaded_at = new, time.time()
            return self._reloaded("loaded")
        finally:
            self._reloading.release()

    def _reloaded(self, result: Reloaded) -> Reloaded:
        self._metrics.reloads.labels(self.name, result).inc()
        log("reload", model=self.name, result=result, version=self.current.version)
        return result

    def close(self) -> None:
        """Ends its thread."""
        self._batcher.close()

    def facts(self) -> dict[str, Any]:
        """What `/models` says of it."""
        return {
            "name": self.name,
            "version": self.current.version,
            "ready": self.ready,
            "loaded_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.loaded_at)),
            "text_words": self.current.text_words,
            "labels": list(self.current.labels),
        }


class Models:
    """All of them; the first is the one that a request that names none means."""

    def __init__(
        self,
        directories: dict[str, Path],
        loader: Loader,
        settings: ServeSettings,
        metrics: Metrics,
    ) -> None:
        """Loads them, one after the other. Raises `UserError` for the first that cannot be."""
        self.ending = False
        self._models = {
            name: ServedModel(name, directory, loader, settings, metrics, lambda: self.ending)
            for name, directory in directories.items()
        }

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    def get(self, name: str | None) -> ServedModel:
        """A model by its name, None the first. Raises `RequestError` 404."""
        if name is None:
            return next(iter(self))
        if name not in self._models:
            known = ", ".join(sorted(self._models))
            raise RequestError(404, f"no model {name[:64]!r} here, but {known}", field="model")
        return self._models[name]

    @property
    def ready(self) -> bool:
        """Whether all answer, and the server is not ending."""
        return not self.ending and all(model.ready for model in self)

    def warm(self) -> None:
        """Makes all of them ready."""
        for model in self:
            model.warm()

    def close(self) -> None:
        """Ends their threads."""
        for model in self:
            model.close()
