"""The Open Inference Protocol, version 2, over HTTP with JSON (KServe, Triton and others speak it).

A model has one input, `text` (BYTES, shape [n] or [n, 1]), and one output, `entities` (BYTES, shape [n]):
for each text the JSON that `/predict` answers for it, written as a string. Request parameters are those of
`/predict`. Tensors in binary after the JSON are refused.
"""

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from distill_jax.serve.bodies import json_answer, read_body
from distill_jax.serve.entities import answer
from distill_jax.serve.errors import RequestError, wrong
from distill_jax.serve.routes import ModelRoutes, note, reload_in_thread, tag
from distill_jax.serve.schemas import check_fields, parameters, parse_json, read_texts
from distill_jax.version import __version__

INPUT, OUTPUT = "text", "entities"


class ProtocolRoutes(ModelRoutes):
    """`/v2/…`."""

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/v2", self.server, methods=["GET"]),
            Route("/v2/health/live", self.live, methods=["GET"]),
            Route("/v2/health/ready", self.ready, methods=["GET"]),
            Route("/v2/models/{model}", self.model, methods=["GET"]),
            Route("/v2/models/{model}/ready", self.model_ready, methods=["GET"]),
            Route("/v2/models/{model}/infer", self.infer, methods=["POST"]),
            Route("/v2/repository/index", self.index, methods=["POST"]),
            Route("/v2/repository/models/{model}/load", self.load, methods=["POST"]),
        ]

    async def server(self, request: Request) -> Response:
        """Who answers."""
        return json_answer(
            {"name": "distill_jax", "version": __version__, "extensions": ["model_repository"]}
        )

    async def live(self, request: Request) -> Response:
        """Whether the process answers at all."""
        return json_answer({"live": True})

    async def ready(self, request: Request) -> Response:
        """Whether every model answers; no while the server starts or ends."""
        ready = self._models.ready
        return json_answer({"ready": ready}, 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        """What a model is."""
        model = self._models.get(request.path_params["model"])
        return json_answer(
            {
                "name": model.name,
                "versions": [model.current.version],
                "platform": "distill_jax",
                "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
                "outputs": [{"name": OUTPUT, "datatype": "BYTES", "shape": [-1]}],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        """Whether a model answers."""
        model = self._models.get(request.path_params["model"])
        ready = model.ready and not self._models.ending
        return json_answer({"name": model.name, "ready": ready}, 200 if ready else 503)

    async def infer(self, request: Request) -> Response:
        """Tags the texts of a tensor."""
        model = self._models.get(request.path_params["model"])
        if "inference-header-content-length" in request.headers:
            raise RequestError(400, "tensors in binary are not taken; send `data` as JSON")
        fields = parse_json(await read_body(request, self._limits))
        check_fields(fields, ("id", "parameters", "inputs", "outputs"), "")
        identity = fields.get("id")
        if identity is not None and not isinstance(identity, str):
            raise wrong("id", "is no string")
        _check_outputs(fields.get("outputs"))
        asked = parameters(fields.get("parameters"), "parameters")
        current = model.current
        given = _strings(fields.get("inputs"))
        texts = read_texts(given, "inputs[0].data", self._limits, current.text_words)
        tagged = await tag(request, model, texts, self._metrics)
        data = [
            json.dumps(answer(text, one, asked), ensure_ascii=False, allow_nan=False)
            for text, one in zip(texts, tagged, strict=True)
        ]
        output = {"name": OUTPUT, "datatype": "BYTES", "shape": [len(data)], "data": data}
        found = {"model_name": model.name, "model_version": current.version, "outputs": [output]}
        return json_answer(found if identity is None else {"id": identity, **found})

    async def index(self, request: Request) -> Response:
        """The models and whether they answer."""
        return json_answer(
            [
                {
                    "name": model.name,
                    "version": model.current.version,
                    "state": "READY" if model.ready else "UNAVAILABLE",
                }
                for model in self._models
            ]
        )

    async def load(self, request: Request) -> Response:
        """Replaces a model by what its directory holds now."""
        model = self._models.get(request.path_params["model"])
        note(request, model=model.name)
        result = await reload_in_thread(model)
        return json_answer({"name": model.name, "version": model.current.version, "result": result})


def _strings(inputs: Any) -> list[str]:
    """The texts of the one input tensor."""
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise wrong("inputs", f"give a list of one tensor, called {INPUT!r}")
    tensor: Mapping[str, Any] = inputs[0]
    check_fields(tensor, ("name", "shape", "datatype", "data", "parameters"), "inputs[0].")
    for name, expected in (("name", INPUT), ("datatype", "BYTES")):
        if tensor.get(name) != expected:
            raise wrong(f"inputs[0].{name}", f"has to be {expected!r}")
    shape, data = tensor.get("shape"), tensor.get("data")
    if not isinstance(data, list):
        raise wrong("inputs[0].data", "has to be a list of texts")
    if data and all(isinstance(row, list) and len(row) == 1 for row in data):
        data = [row[0] for row in data]
    if shape not in ([len(data)], [len(data), 1]):
        raise wrong("inputs[0].shape", f"has to be [{len(data)}], as many as there are texts")
    for number, text in enumerate(data):
        if not isinstance(text, str):
            raise wrong(f"inputs[0].data[{number}]", "is no string")
    return data


def _check_outputs(outputs: Any) -> None:
    if outputs is None:
        return
    if not isinstance(outputs, list) or any(
        not isinstance(one, dict) or one.get("name") != OUTPUT for one in outputs
    ):
        raise wrong("outputs", f"there is one, called {OUTPUT!r}")
