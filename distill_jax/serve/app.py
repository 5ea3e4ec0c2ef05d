"""The ASGI application."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from distill_jax.serve.bodies import json_answer, refusal
from distill_jax.serve.errors import RequestError
from distill_jax.serve.metrics import Metrics
from distill_jax.serve.middleware import Guard
from distill_jax.serve.models import Models
from distill_jax.serve.openapi import openapi
from distill_jax.serve.page import Page, docs_page, front_page
from distill_jax.serve.protocol import ProtocolRoutes
from distill_jax.serve.routes import PredictRoutes
from distill_jax.serve.settings import ServeSettings


def make_app(
    models: Models, settings: ServeSettings, metrics: Metrics, *, token: str | None = None
) -> ASGIApp:
    """What answers for some models; with `token` only to those who have it."""
    description = openapi(settings, needs_token=token is not None)

    async def openapi_json(request: Request) -> Response:
        return json_answer(description)

    routes = [
        *PredictRoutes(models, settings, metrics).routes(),
        *ProtocolRoutes(models, settings, metrics).routes(),
        Route("/openapi.json", openapi_json, methods=["GET"]),
        _page_route("/", front_page()),
        _page_route("/docs", docs_page(description)),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={RequestError: _refused, HTTPException: _no_route, Exception: _failed},
    )
    return Guard(
        app,
        metrics,
        token=token,
        ending=lambda: models.ending,
        log_requests=settings.log_requests,
    )


def _page_route(path: str, page: Page) -> Route:
    async def shown(request: Request) -> Response:
        return Response(page.html, headers=page.headers, media_type="text/html")

    shown.__name__ = "page" if path == "/" else path.strip("/")
    return Route(path, shown, methods=["GET"])


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return refusal(error)


async def _no_route(request: Request, error: Exception) -> Response:
    """404 and 405."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path[:80]}: {error.detail}; see /docs"
    return json_answer({"error": message}, error.status_code, dict(error.headers or {}))


async def _failed(request: Request, error: Exception) -> Response:
    """The cause is for the log alone, which `Guard` writes."""
    return json_answer({"error": "the server failed; its log says why"}, 500)
