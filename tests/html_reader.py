"""Reads a page as strictly as the tests want it: balanced, self-contained, ids that are there once."""

from html.parser import HTMLParser

_VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """What a page holds; reading one that is broken fails."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.ids: set[str] = set()
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._cell = False
        assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert len(values) == len(attrs), f"an attribute twice in <{tag}>"
        assert tag not in ("script", "link", "iframe", "img", "object"), f"<{tag}>"
        for name, value in attrs:
            assert not name.startswith("on"), f"{name} of <{tag}>"
            if name == "id":
                assert value and value not in self.ids, f"id {value!r} twice"
                self.ids.add(value)
            if name.endswith("href") or name == "src":
                assert value and value.startswith("#"), f"{name}={value!r} leads out of the page"
        self.elements.append((tag, values))
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open, f"<{tag}/> is no HTML"
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "title"):
            return
        self.text += data
        if self._cell:
            self.tables[-1][-1][-1] += data

    def links_hold(self) -> bool:
        """Whether every link and reference of the page leads to an id of it."""
        targets = {
            value[1:]
            for _, values in self.elements
            for name, value in values.items()
            if name.endswith("href") and value
        }
        return targets <= self.ids
