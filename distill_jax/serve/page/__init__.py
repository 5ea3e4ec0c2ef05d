"""The pages: each one HTML document with its style and script inside, and nothing from elsewhere.

The Content Security Policy allows those by their hashes, and questions to this server alone.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_FOLDER = Path(__file__).parent
_SCRIPTS = ("text.js", "colours.js", "compare.js", "draw.js", "main.js")
"""In this order: each uses those before it."""


@dataclass(frozen=True)
class Page:
    """A document and the headers it is sent with."""

    html: str
    headers: dict[str, str]


def front_page() -> Page:
    """Where models are tried: texts in, spans in colour out."""
    script = "\n".join(_read(name) for name in _SCRIPTS)
    return _page("front.html.j2", _read("front.css"), f'"use strict";\n(() => {{\n{script}}})();\n')


def docs_page(description: Mapping[str, Any]) -> Page:
    """An OpenAPI document, to read."""
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    return _page(
        "docs.html.j2",
        "",
        None,
        info=description["info"],
        operations=operations,
        schemas=description["components"]["schemas"],
        needs_token="security" in description,
    )


def _page(template: str, style: str, script: str | None, **values: Any) -> Page:
    style = _read("base.css") + style
    html = _ENVIRONMENT.get_template(template).render(
        style=Markup(style), script=None if script is None else Markup(script), **values
    )
    allowed = "'none'" if script is None else _hash(script)
    policy = {
        "default-src": "'none'",
        "script-src": allowed,
        "style-src": _hash(style),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return Page(
        html,
        {
            "content-security-policy": "; ".join(f"{key} {value}" for key, value in policy.items()),
            "referrer-policy": "no-referrer",
        },
    )


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _schema_name(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "oneOf" in schema:
        return " or ".join(_schema_name(one) for one in schema["oneOf"])
    if schema.get("type") == "array":
        items = schema.get("items")
        return "list" if not items else f"list of {_schema_name(items)}"
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return json.dumps(schema["const"])
    kind = schema.get("type", "any value")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_ENVIRONMENT.filters["schema_name"] = _schema_name
