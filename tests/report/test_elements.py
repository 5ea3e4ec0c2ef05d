"""HTML is well-formed and shows text as text, whatever the text is."""

from hypothesis import given
from hypothesis import strategies as st

from distill_jax.report.elements import Html, as_html, details, element, join, table
from distill_jax.report.page import Section, Tile, page
from tests.html_reader import Page

NASTY = "<script>alert('x')</script> & \"quoted\" </td>"
# What HTML itself cannot hold is not asked of it: control characters, and lone surrogates.
words = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=20)


def test_text_is_escaped_and_html_is_not() -> None:
    assert element("p", "a < b") == "<p>a &lt; b</p>"
    assert element("p", element("b", "&"), " c") == "<p><b>&amp;</b> c</p>"
    assert as_html(Html("<i>")) == "<i>"
    assert join(["<", Html("<b>")], " ") == "&lt; <b>"


def test_attributes() -> None:
    made = element("td", class_="a", aria_label='say "x"', style=None, hidden=True, title=False)
    assert made == '<td class="a" aria-label="say &quot;x&quot;" hidden></td>'


@given(st.lists(st.lists(words, min_size=2, max_size=2), max_size=4), words)
def test_tables_give_back_their_cells(rows: list[list[str]], caption: str) -> None:
    content = details(caption, table(("a", "b"), rows, caption=caption))
    read = Page(page("t", "", [], [Section("one", caption, content)]))
    assert read.tables == [[["a", "b"], *rows]]
    assert read.text.count(caption) >= 3
    headings = [values.get("scope") for tag, values in read.elements if tag == "th"]
    assert headings == ["col", "col"] + ["row"] * len(rows)


def test_columns_of_text_and_of_numbers() -> None:
    made = table(("a", "b", "c"), [["x", "1", "y"]], caption="", text_columns=(0, 2))
    assert '<td class="number">1</td><td>y</td>' in made


def test_a_page_of_nasty_text() -> None:
    sections = [Section("one", NASTY, element("p", NASTY)), Section("two", "more", Html())]
    html = page(NASTY, NASTY, [Tile(NASTY, NASTY, NASTY)], sections)
    read = Page(html)
    assert "<script" not in html
    assert read.text.count(NASTY) == 8  # title, lead, tile (3), link, heading, paragraph
    assert read.links_hold() and {"one", "two"} <= read.ids
    assert html == page(NASTY, NASTY, [Tile(NASTY, NASTY, NASTY)], sections)
