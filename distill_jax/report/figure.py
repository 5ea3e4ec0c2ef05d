"""Drawings of matplotlib's inside a page: their SVG made a part of its HTML."""

import re
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup, escape


@dataclass(frozen=True)
class Figure:
    """A drawing with what is said of it."""

    template: ClassVar[str] = "figure.html.j2"
    svg: Markup
    title: str
    """What it shows, for those who cannot see it."""
    caption: str
    """Said under it."""
    width: str
    """As it was drawn, a length of CSS."""


def figure(svg: str, *, name: str, title: str, caption: str = "") -> Figure:
    """A drawing of matplotlib's as a part of a page.

    Args:
        svg: the text of the file, whose elements and texts are trusted.
        name: a word that no other figure of the page has, for the ids within it.
        title: what the drawing shows, for those who cannot see it.
        caption: said under it; without one, the title.
    """
    inner = _inline(svg, escape(name))
    width = re.search(r'<svg [^>]*\bwidth="([\d.]+(?:pt|px))"', inner)
    return Figure(inner, title, caption or title, width[1] if width else "32rem")


def _inline(svg: str, name: Markup) -> Markup:
    """The `<svg>` element alone, without metadata, its ids made the page's own."""
    inner = svg[svg.index("<svg") :].rstrip()
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.S)
    inner = re.sub(r"<!--.*?-->\s*", "", inner, flags=re.S)
    inner = re.sub(r' xmlns(:\w+)?="[^"]*"', "", inner)  # HTML knows them
    for before in ('id="', "url(#", 'href="#'):
        inner = re.sub(rf"\b{re.escape(before)}", lambda match: f"{match[0]}{name}-", inner)
    return Markup(inner)
