"""Gives the site the layout of the checkout, so that links between documents lead there in both.

MkDocs takes documents from one folder; these are README.md and others beside it, and what they link to: Gin
files, a module, a figure. Each keeps its path below the top of the checkout.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
BESIDE_DOCS = (
    "*.md",
    "CITATION.cff",
    "LICENSE",
    "benchmarks/README.md",
    "tpu_scripts/README.md",
    "gin/**/*.gin",
    "distill_jax/distill/*.py",
)
_FOLDER = re.compile(r"\[([^\]]+)\]\((?![a-z]+:)[^)\s#]+/\)")
_ROW = re.compile(r"^\|.*", re.M)
_CODE = re.compile(r"`[^`\n]+`")
_SHARED = re.compile(
    r"(<b><code><span[^>]*>[\w, ]+,</span>)</code></b>\s*\(<code>(<span[^>]*>[^<]+</span>)</code>\)"
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's files as they are, ours from the top of the checkout."""
    ours = [file for file in files if file.src_dir == config.docs_dir]
    docs = Path(config.docs_dir).relative_to(ROOT).as_posix()
    paths = [f"{docs}/{file.src_uri}" for file in ours]
    for pattern in BESIDE_DOCS:
        paths += sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))
    made = [
        File(path, str(ROOT), config.site_dir, config.use_directory_urls)
        for path in dict.fromkeys(paths)
    ]
    return Files([*(file for file in files if file not in ours), *made])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """What GitHub and MkDocs read differently.

    Links to folders of the checkout become their text, for a site has no page for a folder; in the code of a
    table GitHub wants `|` escaped, MkDocs does not.
    """
    markdown = _FOLDER.sub(r"\1", markdown)
    return _ROW.sub(
        lambda row: _CODE.sub(lambda code: code[0].replace("\\|", "|"), row[0]), markdown
    )


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Attributes that share a line of a docstring, `beam, epsilon: …`: the second is no type."""
    return _SHARED.sub(r"\1 \2</code></b>", output)
