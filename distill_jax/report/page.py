"""The page around its sections: style, title, contents."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from distill_jax.report.elements import Html, as_html, element, join, paragraph, section
from distill_jax.report.style import STYLE


class Section(NamedTuple):
    """A part of a page."""

    name: str
    """What links to it are called: a word of letters, digits and hyphens."""
    title: str
    content: Html


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
    links = (element("li", element("a", part.title, href=f"#{part.name}")) for part in sections)
    shown = (
        element(
            "div",
            element("dt", tile.name),
            element("dd", element("b", tile.value), *_note(tile.note)),
        )
        for tile in tiles
    )
    body = element(
        "body",
        element(
            "header",
            element("h1", title),
            paragraph(lead, class_="lead"),
            element("dl", *shown, class_="tiles") if tiles else Html(),
            element("nav", element("ul", *links), aria_label="Contents"),
        ),
        Html("\n"),
        element(
            "main",
            join((section(*part) for part in sections), "\n"),
        ),
    )
    head = join(
        (
            Html('<meta charset="utf-8">'),
            # Nothing is loaded and nothing runs, whatever a sentence holds.
            Html(
                '<meta http-equiv="Content-Security-Policy" '
                "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
            ),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta name="color-scheme" content="light dark">'),
            element("title", title),
            element("style", Html(STYLE)),
        ),
        "\n",
    )
    document = element("html", Html("\n"), element("head", head), Html("\n"), body, lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


def figure(svg: str, *, name: str, title: str, caption: str = "") -> Html:
    """A drawing of matplotlib's inside the page.

    Args:
        svg: the text of the file.
        name: a word that no other figure of the page has, for the ids within the drawing.
        title: what the drawing shows, for those who cannot see it.
        caption: said under it.
    """
    drawing = element("div", _inline(svg, name), role="img", aria_label=title, class_="drawing")
    return element("figure", drawing, element("figcaption", caption or title))


def _note(text: str) -> tuple[str, ...]:
    return (element("small", text),) if text else ()


def _inline(svg: str, name: str) -> Html:
    """The `<svg>` element alone, without metadata, its ids made the page's own."""
    drawing = svg[svg.index("<svg") :].rstrip()
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.S)
    drawing = re.sub(r"<!--.*?-->\s*", "", drawing, flags=re.S)
    drawing = re.sub(r' xmlns(:\w+)?="[^"]*"', "", drawing)  # HTML knows them
    drawing = re.sub(r'\bid="', f'id="{as_html(name)}-', drawing)
    drawing = re.sub(r"url\(#", f"url(#{as_html(name)}-", drawing)
    drawing = re.sub(r'href="#', f'href="#{as_html(name)}-', drawing)
    return Html(drawing)
