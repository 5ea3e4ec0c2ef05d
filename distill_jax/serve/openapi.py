"""What is served, as an OpenAPI 3.1 document."""

from typing import Any

from distill_jax.serve.schemas import AGGREGATIONS
from distill_jax.serve.settings import Limits, ServeSettings
from distill_jax.version import __version__

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "number"}
_WHOLE: Json = {"type": "integer"}
_MODEL: Json = {
    "name": "model",
    "in": "path",
    "required": True,
    "schema": _TEXT,
    "description": "The name of a model, as /models has it.",
}
_REFUSALS = {
    "400": "The body is not UTF-8, or no JSON object.",
    "401": "The token is missing or wrong.",
    "404": "There is no such model.",
    "408": "The body did not come in time.",
    "413": "The body is too long.",
    "422": "A field is wrong, or a text too long; the answer names it.",
    "429": "Too many sentences wait; the header Retry-After says when to try again.",
    "503": "The model is being made ready, the server is ending, or the answer took too long.",
}


def openapi(settings: ServeSettings, *, needs_token: bool) -> Json:
    """The document, with the limits of this server."""
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "distill_jax",
            "version": __version__,
            "description": "Tags texts: spans with labels, scores and offsets in Unicode code points.",
        },
        "paths": _predict_paths() | _protocol_paths() | _other_paths(),
        "components": {"schemas": _schemas(settings.limits)},
    }
    if needs_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _object(properties: Json, *required: str) -> Json:
    found: Json = {"type": "object", "properties": properties}
    return found | {"required": list(required)} if required else found


def _content(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _operation(summary: str, schema: Json, *refusals: str, body: Json | None = None) -> Json:
    answers: Json = {"200": {"description": "OK", "content": _content(schema)}}
    for status in refusals:
        answers[status] = {"description": _REFUSALS[status], "content": _content(_ref("Error"))}
    found: Json = {"summary": summary, "responses": answers}
    if body is not None:
        found["requestBody"] = {"required": True, "content": _content(body)}
    return found


def _predict_paths() -> Json:
    operation = _operation(
        "Tags a text, or a list of texts",
        {"oneOf": [_ref("Answer"), _array(_ref("Answer"))]},
        *_REFUSALS,
        body=_ref("PredictRequest"),
    )
    by_query = {
        "name": "model",
        "in": "query",
        "required": False,
        "schema": _TEXT,
        "description": "The name of a model; the first of /models where it is left out.",
    }
    models = _object({"models": _array(_ref("Model"))}, "models")
    return {
        "/predict": {"post": operation | {"parameters": [by_query]}},
        "/models/{model}/predict": {"post": operation | {"parameters": [_MODEL]}},
        "/models": {"get": _operation("The models", models, "401")},
    }


def _protocol_paths() -> Json:
    answer = {"200": {"description": "Yes"}, "503": {"description": "No"}}
    metadata = _object({"name": _TEXT, "versions": _array(_TEXT), "platform": _TEXT})
    loaded = _object({"name": _TEXT, "version": _TEXT, "result": {"enum": ["loaded", "unchanged"]}})
    load = _operation("Replaces a model by what its directory holds now", loaded, "401", "404")
    load["responses"]["409"] = {
        "description": "It cannot be read, or is being reloaded; the old one serves on.",
        "content": _content(_ref("Error")),
    }
    infer = _operation(
        "Tags the texts of a tensor", _ref("InferAnswer"), *_REFUSALS, body=_ref("InferRequest")
    )
    listed = _array(_object({"name": _TEXT, "version": _TEXT, "state": _TEXT}))
    return {
        "/v2": {"get": _operation("The server", _object({"name": _TEXT, "version": _TEXT}), "401")},
        "/v2/health/live": {"get": {"summary": "Whether the process answers", "responses": answer}},
        "/v2/health/ready": {"get": {"summary": "Whether all models answer", "responses": answer}},
        "/v2/models/{model}": {
            "get": _operation("A model", metadata, "401", "404") | {"parameters": [_MODEL]}
        },
        "/v2/models/{model}/ready": {
            "get": {
                "summary": "Whether a model answers",
                "parameters": [_MODEL],
                "responses": answer,
            }
        },
        "/v2/models/{model}/infer": {"post": infer | {"parameters": [_MODEL]}},
        "/v2/repository/index": {"post": _operation("The models and their states", listed, "401")},
        "/v2/repository/models/{model}/load": {"post": load | {"parameters": [_MODEL]}},
    }


def _other_paths() -> Json:
    def shows(summary: str, kind: str) -> Json:
        answer = {"description": "OK", "content": {kind: {"schema": _TEXT}}}
        return {"get": {"summary": summary, "responses": {"200": answer}}}

    return {
        "/metrics": shows("Figures for Prometheus", "text/plain"),
        "/": shows("The page to try models on", "text/html"),
        "/docs": shows("This description, to read", "text/html"),
    }


def _schemas(limits: Limits) -> Json:
    text: Json = {
        "description": f"A text, or its words; at most {limits.words} words.",
        "oneOf": [_TEXT, _array({"type": "string", "minLength": 1})],
    }
    texts = _array(text) | {"maxItems": limits.texts}
    place = {"word": _TEXT, "start": _WHOLE, "end": _WHOLE}
    score: Json = {"type": ["number", "null"]}
    entity = _object(
        {"entity_group": _TEXT, "entity": _TEXT, "score": score, "index": _WHOLE, **place},
        "score",
        *place,
    )
    entity["description"] = (
        "A span (`entity_group`), or with `none` a word (`entity`, `index` from 1). `start` and `end` "
        "count Unicode code points of the text, `end` exclusive."
    )
    pair = {"type": "array", "prefixItems": [_TEXT, _NUMBER], "minItems": 2, "maxItems": 2}
    detailed = _object(
        {
            "entities": _array(_ref("Entity")),
            "words": _array(_object({**place, "tag": _TEXT})),
            "labels": _array(_TEXT),
            "posteriors": _array(_array(_NUMBER)),
            "top_k": _array(_array(pair)),
            "tail": _array(_NUMBER),
            "truncated_words": _array(_WHOLE),
            "windows": _WHOLE,
        },
        "entities",
        "words",
    )
    detailed["description"] = "With `top_k` or `posteriors`: rows are words, columns are `labels`."
    tensor = _object(
        {
            "name": _TEXT,
            "datatype": {"const": "BYTES"},
            "shape": _array(_WHOLE),
            "data": _array({}),
        },
        "name",
        "datatype",
        "shape",
        "data",
    )
    return {
        "PredictRequest": _object(
            {"inputs": {"oneOf": [_TEXT, texts]}, "parameters": _ref("Parameters")}, "inputs"
        ),
        "Parameters": _object(
            {
                "aggregation_strategy": {"enum": list(AGGREGATIONS), "default": "simple"},
                "top_k": {"type": "integer", "minimum": 1},
                "posteriors": {"type": "boolean", "default": False},
            }
        ),
        "Answer": {"oneOf": [_array(_ref("Entity")), _ref("Detailed")]},
        "Entity": entity,
        "Detailed": detailed,
        "Model": _object(
            {
                "name": _TEXT,
                "version": _TEXT,
                "ready": {"type": "boolean"},
                "loaded_at": _TEXT,
                "text_words": _TEXT,
                "labels": _array(_TEXT),
            }
        ),
        "Tensor": tensor,
        "InferRequest": _object(
            {
                "id": _TEXT,
                "parameters": _ref("Parameters"),
                "inputs": _array(_ref("Tensor")) | {"minItems": 1, "maxItems": 1},
                "outputs": _array(_object({"name": {"const": "entities"}}, "name")),
            },
            "inputs",
        ),
        "InferAnswer": _object(
            {
                "id": _TEXT,
                "model_name": _TEXT,
                "model_version": _TEXT,
                "outputs": _array(_ref("Tensor")),
            },
            "model_name",
            "outputs",
        ),
        "Error": _object({"error": _TEXT, "field": _TEXT}, "error"),
    }
