"""Bodies of requests, read within limits; JSON answers."""

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from distill_jax.serve.errors import RequestError
from distill_jax.serve.settings import Limits

# `json.dumps` with settings would make one for each answer.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_CLOSE = {"connection": "close"}
"""What is left of such a body is not read."""


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body of a request.

    Raises:
        RequestError: 413 if it is too long, 408 if it does not come in time.
        starlette.requests.ClientDisconnect: the client has gone.
    """
    said = request.headers.get("content-length")
    if said is not None and said.isdecimal() and int(said) > limits.body:
        raise _too_long(limits)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.body:
                    raise _too_long(limits)
                parts.append(part)
    except TimeoutError:
        raise RequestError(
            408, f"did not come within {limits.body_seconds:g} s", field="body", headers=_CLOSE
        ) from None
    return b"".join(parts)


def _too_long(limits: Limits) -> RequestError:
    return RequestError(
        413, f"is too long; at most {limits.body:,} bytes", field="body", headers=_CLOSE
    )


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer, in UTF-8."""
    return Response(_ENCODER.encode(value).encode(), status, headers, media_type="application/json")


def refusal(error: RequestError) -> Response:
    """The answer to a request that is refused."""
    return json_answer(error.body(), error.status, error.headers)
