"""The site of `make docs`: its pages and the Python it shows are there. (MkDocs itself checks links.)"""

import pydoc
import re
import runpy

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, name_of

CONFIGURATION = (ROOT / "mkdocs.yml").read_text("utf-8")
SHOWN = [
    (name_of(document), name)
    for document in sorted((ROOT / "docs/reference").glob("*.md"))
    for name in re.findall(r"^::: (\S+)$", document.read_text("utf-8"), re.M)
]


def test_every_document_is_in_the_navigation_or_left_out_by_name() -> None:
    named = re.findall(r"(?:: |^  /)(\S+\.md)$", CONFIGURATION, re.M)
    assert sorted(named) == sorted(map(name_of, DOCUMENTS))


@pytest.mark.parametrize(("document", "name"), SHOWN)
def test_what_a_page_shows_is_there_and_says_what_it_is(document: str, name: str) -> None:
    shown = pydoc.locate(name)
    assert shown is not None
    assert shown.__doc__


def test_nothing_is_loaded_from_elsewhere() -> None:
    assert "font: false" in CONFIGURATION
    assert "://" not in CONFIGURATION
    assert "://" not in (ROOT / "docs/site/style.css").read_text("utf-8")


def test_links_and_tables_mean_the_same_on_the_site() -> None:
    pytest.importorskip("mkdocs", reason="MkDocs is not installed (extra docs)")
    layout = runpy.run_path(str(ROOT / "docs/site/layout.py"))
    read = "[a](b/) and [c](https://d/) and [e](f.md)\n| `g\\|h` | i \\| j |\n`k\\|l`\n"
    assert layout["on_page_markdown"](read, None, None, None) == (
        "a and [c](https://d/) and [e](f.md)\n| `g|h` | i \\| j |\n`k\\|l`\n"
    )
    paths = {path for pattern in layout["BESIDE_DOCS"] for path in ROOT.glob(pattern)}
    outside = {document for document in DOCUMENTS if ROOT / "docs" not in document.parents}
    assert outside <= paths


def test_pictures_load_nothing_either() -> None:
    for picture in (ROOT / "docs/pictures").glob("*.svg"):
        assert not re.search(r'(href|src)="|url\((?!#)|@import', picture.read_text("utf-8"))


def test_no_other_file_takes_the_place_of_a_document() -> None:
    """Beside an `index.html` that is part of the site MkDocs leaves a README out."""
    pytest.importorskip("mkdocs", reason="MkDocs is not installed (extra docs)")
    from mkdocs.config import load_config
    from mkdocs.structure.files import get_files

    files = get_files(load_config(str(ROOT / "mkdocs.yml")))
    documents = {document for document in DOCUMENTS if ROOT / "docs" in document.parents}
    assert {ROOT / "docs" / page.src_uri for page in files.documentation_pages()} == documents
    assert not [file for file in files.static_pages() if file.src_uri.startswith("browser/")]
