"""The page around its sections: style, title, the figures read first, contents."""

from collections.abc import Sequence
from typing import NamedTuple

from distill_jax.report.rendering import Block, render


class Section(NamedTuple):
    """A part of a page with a heading, which the contents link to."""

    name: str
    """What links to it are called: a word of letters, digits and hyphens."""
    title: str
    content: Sequence[Block]


class Tile(NamedTuple):
    """A figure that is read before all others."""

    name: str
    value: str
    note: str = ""


def page(title: str, lead: str, tiles: Sequence[Tile], sections: Sequence[Section]) -> str:
    """A whole HTML document.

    Args:
        title: of the page.
        lead: a sentence or two under it.
        tiles: the most important figures.
        sections: in order; a list of links to them stands above.
    """
    html = render("page.html.j2", title=title, lead=lead, tiles=tiles, sections=sections)
    return f"{html}\n"
