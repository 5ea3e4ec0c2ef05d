"""What a server allows and how it answers."""

from dataclasses import dataclass

from distill_jax.errors import UserError


@dataclass(frozen=True)
class Limits:
    """How much a request may ask, and how long it may take."""

    body: int = 1 << 20
    """Bytes of a request's body; more is 413."""
    texts: int = 256
    """Texts of one request; more is 422."""
    words: int = 256
    """Words of one text; more is 422."""
    queue: int = 1024
    """Sentences that wait for a model; a request that does not fit is 429."""
    body_seconds: float = 10.0
    """A client that has not sent its body by then is answered 408."""
    seconds: float = 30.0
    """A request that is not answered by then is answered 503."""


@dataclass(frozen=True)
class Batching:
    """Which sentences go through a model together."""

    size: int = 32
    """At most so many."""
    window_seconds: float = 0.002
    """How long a batch that is not full waits for more, while several requests come at a time. A
    request that comes alone never waits."""


@dataclass(frozen=True)
class ServeSettings:
    """All of them."""

    host: str = "127.0.0.1"
    port: int = 8000
    limits: Limits = Limits()
    batching: Batching = Batching()
    drain_seconds: float = 0.5
    """After SIGTERM connections are still accepted and requests answered for so long, each answer with
    `Connection: close`, and `/v2/health/ready` says no: time for clients and balancers to turn away."""
    grace_seconds: float = 30.0
    """How long requests in flight are then waited for."""
    warm_up: bool = True
    """Whether programs are compiled before a model answers; else by the first requests that need them."""
    log_requests: bool = True

    def check(self) -> None:
        """Raises `UserError` where values contradict one another or are out of range."""
        if not 0 <= self.port <= 65535:
            raise UserError(f"--port is {self.port}; give a number from 0 (any free one) to 65535")
        limits, batching = self.limits, self.batching
        for name, value in (
            ("--max_body", limits.body),
            ("--max_texts", limits.texts),
            ("--max_words", limits.words),
            ("--timeout", limits.seconds),
            ("--body_timeout", limits.body_seconds),
            ("--batch_size", batching.size),
        ):
            if value <= 0:
                raise UserError(f"{name} is {value}; give a number above 0")
        if limits.queue < limits.texts:
            raise UserError(
                f"--queue {limits.queue} is smaller than --max_texts {limits.texts}, so that a request could "
                "never be taken; raise the one or lower the other"
            )
        for name, value in (
            ("--window_ms", batching.window_seconds),
            ("--drain", self.drain_seconds),
            ("--grace", self.grace_seconds),
        ):
            if value < 0:
                raise UserError(f"{name} is negative; give a number from 0")
