"""`/predict` and what belongs to it."""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from distill_jax.serve.bodies import json_answer, read_body
from distill_jax.serve.entities import answer
from distill_jax.serve.errors import RequestError
from distill_jax.serve.loading import Tagged
from distill_jax.serve.metrics import CONTENT_TYPE, Metrics
from distill_jax.serve.models import Models, ServedModel
from distill_jax.serve.schemas import Text, parse_json, predict_request
from distill_jax.serve.settings import ServeSettings


class ModelRoutes:
    """What answers requests for models."""

    def __init__(self, models: Models, settings: ServeSettings, metrics: Metrics) -> None:
        self._models = models
        self._limits = settings.limits
        self._metrics = metrics


class PredictRoutes(ModelRoutes):
    """Hugging Face's token classification, the list of models, and metrics."""

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/predict", self.predict, methods=["POST"]),
            Route("/models", self.models, methods=["GET"]),
            Route("/models/{model}/predict", self.predict, methods=["POST"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def predict(self, request: Request) -> Response:
        """Tags the texts of a request."""
        name = request.path_params.get("model")
        if name is None and request.scope["query_string"]:
            name = request.query_params.get("model")
        model = self._models.get(name)
        fields = parse_json(await read_body(request, self._limits))
        asked = predict_request(fields, self._limits, model.current.text_words)
        tagged = await tag(request, model, asked.texts, self._metrics)
        answers = [
            answer(text, one, asked.parameters)
            for text, one in zip(asked.texts, tagged, strict=True)
        ]
        return json_answer(answers[0] if asked.single else answers)

    async def models(self, request: Request) -> Response:
        """The models, the first of which is meant where none is named."""
        return json_answer({"models": [model.facts() for model in self._models]})

    async def metrics(self, request: Request) -> Response:
        """Prometheus's text format."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)


async def tag(
    request: Request, model: ServedModel, texts: Sequence[Text], metrics: Metrics
) -> list[Tagged]:
    """Tags texts, and notes for the log and the metrics what was asked."""
    words = sum(len(text.words) for text in texts)
    note(request, model=model.name, texts=len(texts), words=words)
    tagged = await model.predict([text.words for text in texts])
    metrics.words.labels(model.name).inc(words)
    return tagged


def note(request: Request, **facts: Any) -> None:
    """Adds fields to the line that the log has of a request."""
    request.scope.setdefault("distill_jax.log", {}).update(facts)


async def reload_in_thread(model: ServedModel) -> str:
    """Reloads a model while requests are answered. Raises `RequestError` 409 if it cannot be."""
    try:
        return await asyncio.to_thread(model.reload)
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(
            409, f"{error} (the model that was loaded before serves on)", field="model"
        ) from error
