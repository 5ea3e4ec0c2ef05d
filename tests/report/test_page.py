"""HTML is well-formed and shows text as text, whatever the text is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError, nodes
from markupsafe import Markup

from distill_jax.report.blocks import Fold, Paragraph, Subheading
from distill_jax.report.page import Section, Tile, page
from distill_jax.report.rendering import ENVIRONMENT, Block, render
from distill_jax.report.table import Column, Table
from tests.html_reader import Page

NASTY = "<script>alert('x')</script> & \"quoted\" </td>"
# What HTML itself cannot hold is not asked of it: control characters, and lone surrogates.
words = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=20)


def html_of(*blocks: Block) -> str:
    return page("t", "", [], [Section("s", "s", blocks)])


def test_text_is_escaped_and_html_is_not() -> None:
    assert render("paragraph.html.j2", text="a < b") == "<p>a &lt; b</p>"
    assert render("paragraph.html.j2", text=Markup("<b>&amp;</b> c")) == "<p><b>&amp;</b> c</p>"
    assert "<h3>&lt;i&gt;</h3>" in html_of(Subheading("<i>"))


def test_attributes() -> None:
    caption = "say \"x\" & 'y'"
    html = html_of(Table(caption, [Column("a", "text")], []))
    assert 'aria-label="say &#34;x&#34; &amp; &#39;y&#39;"' in html
    regions = [values for _, values in Page(html).elements if values.get("role") == "region"]
    assert [region["aria-label"] for region in regions] == [caption]


@pytest.mark.parametrize("name", ENVIRONMENT.list_templates())
def test_every_template_escapes(name: str) -> None:
    """Nothing in a template says that what it was given is HTML already, or stops the escaping."""
    assert ENVIRONMENT.loader is not None
    source, _, _ = ENVIRONMENT.loader.get_source(ENVIRONMENT, name)
    parsed = ENVIRONMENT.parse(source)
    assert "safe" not in {node.name for node in parsed.find_all(nodes.Filter)}
    assert not list(parsed.find_all(nodes.EvalContextModifier))
    assert ENVIRONMENT.autoescape is True


def test_a_variable_that_nobody_gave_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="text"):
        render("paragraph.html.j2")


@given(st.lists(st.lists(words, min_size=2, max_size=2), max_size=4), words)
def test_tables_give_back_their_cells(rows: list[list[str]], caption: str) -> None:
    table = Table(caption, [Column("a", "text"), Column("b")], rows)
    read = Page(page("t", "", [], [Section("one", caption, [Fold(caption, [table])])]))
    assert read.tables == [[["a", "b"], *rows]]
    assert read.text.count(caption) >= 3
    headings = [values.get("scope") for tag, values in read.elements if tag == "th"]
    assert headings == ["col", "col"] + ["row"] * len(rows)


def test_columns_of_text_and_of_numbers() -> None:
    columns = [Column("a", "text"), Column("b"), Column("c", "text")]
    html = html_of(Table("", columns, [["x", "1", "y"]]))
    assert '<td class="number">1</td>\n<td>y</td>' in html


def test_columns_of_code_notes_and_bars() -> None:
    columns = [Column("a", "code"), Column("b", "bar"), Column("c", "note")]
    html = html_of(Table("", columns, [["<x>", 0.12345, "<y>"]]))
    assert '<th scope="row"><code>&lt;x&gt;</code></th>' in html
    assert '<td><span class="quiet">&lt;y&gt;</span></td>' in html
    assert '<td class="number">0.1235<span class="bar" aria-hidden="true">' in html
    assert '<i style="width:12.3%"></i>' in html


def test_rows_of_a_class() -> None:
    columns = [Column("a", "text"), Column("b")]
    html = html_of(Table("", columns, [["x", "1"], ["y", "2"]], ["paper", None]))
    rows = [values.get("class") for tag, values in Page(html).elements if tag == "tr"]
    assert rows == [None, "paper", None]


def test_rows_that_do_not_fit_their_columns() -> None:
    columns = [Column("a", "text"), Column("b")]
    with pytest.raises(ValueError, match="results: a row has not 2 cells"):
        Table("results", columns, [["x", "1"], ["y"]])
    with pytest.raises(ValueError, match="results: 1 classes for 2 rows"):
        Table("results", columns, [["x", "1"], ["y", "2"]], ["paper"])


def test_a_page_of_nasty_text() -> None:
    sections = [Section("one", NASTY, [Paragraph(NASTY)]), Section("two", "more", [])]
    html = page(NASTY, NASTY, [Tile(NASTY, NASTY, NASTY)], sections)
    read = Page(html)
    assert "<script" not in html
    assert read.text.count(NASTY) == 8  # title, lead, tile (3), link, heading, paragraph
    assert read.links_hold() and {"one", "two"} <= read.ids
    assert html == page(NASTY, NASTY, [Tile(NASTY, NASTY, NASTY)], sections)
