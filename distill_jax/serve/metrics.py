"""What `/metrics` says, in Prometheus's text format."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SENTENCES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self.requests = Counter(
            "distill_jax_requests",
            "Requests answered, by route and status",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "distill_jax_request_seconds",
            "Seconds from a request's headers to its answer",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "distill_jax_requests_in_flight", "Requests being answered", registry=self._registry
        )
        self.words = Counter(
            "distill_jax_words", "Words tagged", ["model"], registry=self._registry
        )
        self._batches = Histogram(
            "distill_jax_batch_sentences",
            "Sentences that went through a model together",
            ["model"],
            buckets=_SENTENCES,
            registry=self._registry,
        )
        self._batch_seconds = Histogram(
            "distill_jax_batch_seconds",
            "Seconds that a batch took",
            ["model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._queue = Gauge(
            "distill_jax_queue_sentences",
            "Sentences that wait for a model",
            ["model"],
            registry=self._registry,
        )
        self.reloads = Counter(
            "distill_jax_reloads",
            "Reloads of a model: loaded, unchanged or failed",
            ["model", "result"],
            registry=self._registry,
        )

    def queue_of(self, model: str, waiting: Callable[[], float]) -> None:
        """Has the length of a model's queue read when it is asked for."""
        self._queue.labels(model).set_function(waiting)

    def batch(self, model: str, sentences: int, seconds: float) -> None:
        """See `batching.Observer`."""
        self._batches.labels(model).observe(sentences)
        self._batch_seconds.labels(model).observe(seconds)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)
