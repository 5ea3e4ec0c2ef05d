"""Relative links between the documents lead somewhere, down to the heading."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, FENCE, ROOT

_LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)(?:\s+\"[^\"]*\")?\)")


def links(text: str) -> list[str]:
    """The targets of all links and images that are not code."""
    text = re.sub(r"`[^`\n]*`", lambda code: "`" * len(code[0]), FENCE.sub("", text))
    return _LINK.findall(text)


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to headings; the second of equal ones ends in `-1`, and so on."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*\s*$", FENCE.sub("", text), re.M):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def broken(document: Path) -> list[str]:
    """Its links that lead nowhere, or out of the checkout."""
    missing = []
    for link in links(document.read_text("utf-8")):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        there = target.exists() and target.is_relative_to(ROOT)
        if there and anchor and target.suffix == ".md":
            there = anchor in anchors(target.read_text("utf-8"))
        if not there:
            missing.append(link)
    return missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    assert broken(document) == []


def test_the_index_names_every_document() -> None:
    index = ROOT / "docs/index.md"
    named = {(index.parent / link.partition("#")[0]).resolve() for link in links(index.read_text())}
    assert set(DOCUMENTS) - named == {index}


def test_links_in_code_are_none_and_headings_are_named_as_github_does() -> None:
    text = "# A `b`, C's – d\n[x](y.md#z) `[no](no)`\n```\n# no\n[no](no)\n```\n## E\n## E\n"
    assert links(text) == ["y.md#z"]
    assert anchors(text) == {"a-b-cs--d", "e", "e-1"}


def test_what_leads_nowhere_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(broken.__globals__, "ROOT", tmp_path)
    (tmp_path / "there.md").write_text("# Here\n")
    document = tmp_path / "document.md"
    good = "[a](there.md) [b](there.md#here) [c](https://example.org/x) [d](#top)"
    document.write_text(f"# Top\n{good} [e](gone.md) ![f](gone.png) [g](there.md#gone) [h](../out)")
    assert broken(document) == ["gone.md", "gone.png", "there.md#gone", "../out"]
