"""HTML as nested elements: what is text is escaped, and what is opened is closed.

Every other module here builds on `element`, so a page is well-formed however odd a word is.
"""

from collections.abc import Collection, Iterable, Sequence
from html import escape

Cell = str
"""Text, or `Html`."""


class Html(str):
    """Text that is HTML already; it is not escaped again."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: str | bool | None) -> Html:
    """`<name attribute="…">content</name>`.

    Args:
        name: of the element, which has an end tag.
        content: text, which is escaped, or `Html`.
        attributes: an underscore at the end is dropped and others become hyphens (`class_`,
            `aria_label`). None and False leave an attribute out, True gives it no value.
    """
    return Html(f"<{name}{_attributes(attributes)}>{join(content)}</{name}>")


def join(parts: Iterable[str], separator: str = "") -> Html:
    """The parts one after the other, escaped unless they are `Html`."""
    return Html(separator.join(as_html(part) for part in parts))


def as_html(part: str) -> Html:
    """Text escaped; `Html` as it is."""
    return part if isinstance(part, Html) else Html(escape(part))


def paragraph(*content: str, class_: str | None = None) -> Html:
    """A paragraph."""
    return element("p", *content, class_=class_)


def section(name: str, title: str, *content: str) -> Html:
    """A section with a heading, which `#name` links to."""
    return element("section", element("h2", title), *content, id=name)


def details(summary: str, *content: str) -> Html:
    """Something that a click unfolds; on paper it is unfolded, where the browser can."""
    return element("details", element("summary", summary), *content)


def table(
    head: Sequence[Cell],
    rows: Iterable[Sequence[Cell]],
    *,
    caption: str,
    text_columns: Collection[int] = (0,),
    row_classes: Sequence[str | None] | None = None,
) -> Html:
    """A table whose first column names its rows; a wide one scrolls by itself.

    Args:
        head: one heading a column.
        rows: cells; a row's first is its heading.
        caption: said above the table, and by screen readers.
        text_columns: which columns (from 0) hold text; the others hold numbers.
        row_classes: a CSS class for each row, where it has one.
    """
    lines = [list(row) for row in rows]
    classes = row_classes or [None] * len(lines)

    def kind(column: int) -> str | None:
        return None if column in text_columns else "number"

    headings = (
        element("th", cell, scope="col", class_=kind(column)) for column, cell in enumerate(head)
    )
    body = (
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(
                element("td", cell, class_=kind(column))
                for column, cell in enumerate(row)
                if column
            ),
            class_=class_,
        )
        for row, class_ in zip(lines, classes, strict=True)
    )
    return scrolling(
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", *headings)),
            element("tbody", join(body, "\n")),
        ),
        caption,
    )


def scrolling(content: Html, name: str) -> Html:
    """A part of the page that scrolls sideways where it is too wide, by keyboard as well."""
    return element("div", content, class_="scroll", role="region", aria_label=name, tabindex="0")


def _attributes(values: dict[str, str | bool | None]) -> str:
    text = ""
    for name, value in values.items():
        if value is None or value is False:
            continue
        name = name.removesuffix("_").replace("_", "-")
        text += f" {name}" if value is True else f' {name}="{escape(str(value))}"'
    return text
