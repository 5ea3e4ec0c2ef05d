"""Around every request: who may ask, how long it took, and what became of it."""

import hmac
import itertools
import re
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distill_jax.serve.bodies import json_answer, refusal
from distill_jax.serve.errors import RequestError
from distill_jax.serve.logs import log
from distill_jax.serve.metrics import Metrics

OPEN = frozenset({"/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"})
"""What needs no token: pages without content of anybody's, and what tells whether the server lives."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_GONE = 499
"""The status that logs give a request whose client did not wait (nginx's)."""


class Guard:
    """ASGI middleware, the outermost."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        *,
        token: str | None,
        ending: Callable[[], bool],
        log_requests: bool,
    ) -> None:
        """With `token`, requests have to say `Authorization: Bearer TOKEN`. While the server is
        `ending`, answers ask for the connection to be closed."""
        self._app = app
        self._metrics = metrics
        self._token = None if token is None else token.encode()
        self._ending = ending
        self._log_requests = log_requests
        # Unlike random ones these cost no call of the system each.
        self._prefix, self._numbers = secrets.token_hex(4), itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        identity = (
            given if _REQUEST_ID.fullmatch(given) else f"{self._prefix}-{next(self._numbers)}"
        )
        answered = _Answer(send, identity, self._ending)
        self._metrics.in_flight.inc()
        try:
            if refused := self._refused(scope, headers):
                await refusal(refused)(scope, receive, answered.send)
            else:
                await self._answer(scope, receive, answered)
        finally:
            self._metrics.in_flight.dec()
            self._note(scope, answered.status, time.perf_counter() - start, identity)

    def _refused(self, scope: Scope, headers: Headers) -> RequestError | None:
        """Why a request is not even looked at, if it is not."""
        # Browsers say from which page a request comes: those of other sites have no business here.
        origin = headers.get("origin")
        if origin is not None and _place(origin) != headers.get("host"):
            return RequestError(403, "pages of other origins may not ask", field="Origin")
        if self._token is None or scope["path"] in OPEN:
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token):
            return None
        return RequestError(
            401,
            "needs `Authorization: Bearer TOKEN` with this server's token",
            field="Authorization",
            headers={"www-authenticate": "Bearer", "connection": "close"},
        )

    async def _answer(self, scope: Scope, receive: Receive, answered: "_Answer") -> None:
        try:
            await self._app(scope, receive, answered.send)
        except ClientDisconnect:
            answered.status = _GONE
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            log("error", "error", request=answered.identity, error=str(error), traceback=trace)
            if answered.status is None:
                message = f"the server failed; its log says why, at request {answered.identity}"
                await json_answer({"error": message}, 500)(scope, receive, answered.send)

    def _note(self, scope: Scope, status: int | None, seconds: float, identity: str) -> None:
        route = getattr(scope.get("endpoint"), "__name__", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(route, method, str(status or _GONE)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if self._log_requests:
            log(
                "request",
                id=identity,
                method=method,
                path=scope["path"][:200],
                status=status or _GONE,
                seconds=round(seconds, 6),
                client=scope["client"][0] if scope.get("client") else None,
                **scope.get("distill_jax.log", {}),
            )


def _place(origin: str) -> str | None:
    """Host and port of an origin; None of one that is malformed."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Answer:
    """What is sent back, with its status noted and the headers of every answer added."""

    def __init__(
        self, send: Callable[[Message], Awaitable[None]], identity: str, ending: Callable[[], bool]
    ) -> None:
        self.identity = identity
        self.status: int | None = None
        self._send = send
        self._ending = ending

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.identity
            headers["x-content-type-options"] = "nosniff"
            headers.setdefault("cache-control", "no-store")
            if self._ending():
                headers["connection"] = "close"
        await self._send(message)
