"""From typed values to HTML: every page is made by the Jinja2 templates beside this module.

Nothing else turns text into HTML, and templates escape whatever they are given, so that a page is
well-formed however odd a word is.
"""

from pathlib import Path
from typing import ClassVar, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from distill_jax.report.number_format import probability


class Block(Protocol):
    """A part of a page: a dataclass whose fields are the variables of its template."""

    template: ClassVar[str]
    """The file in `templates/` that lays it out."""


def render(template: str, **values: object) -> Markup:
    """The HTML that a template makes of its variables."""
    return Markup(ENVIRONMENT.get_template(template).render(values))


def _block(block: Block) -> Markup:
    return render(block.template, **vars(block))


ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,  # a variable that nobody gave is an error, not an empty cell
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
ENVIRONMENT.filters["block"] = _block  # {{ table | block }}: a part within a part
ENVIRONMENT.filters["probability"] = probability
ENVIRONMENT.filters["thousands"] = "{:,}".format
