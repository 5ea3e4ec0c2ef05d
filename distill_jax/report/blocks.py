"""The plain parts of a page: a heading, a paragraph, what a click unfolds, and columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from distill_jax.report.rendering import Block


@dataclass(frozen=True)
class Subheading:
    """A heading within a section."""

    template: ClassVar[str] = "subheading.html.j2"
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    template: ClassVar[str] = "paragraph.html.j2"
    text: str


@dataclass(frozen=True)
class Fold:
    """Blocks that a click unfolds; on paper they are unfolded, where the browser can."""

    template: ClassVar[str] = "fold.html.j2"
    summary: str
    """What stands there before the click."""
    content: Sequence[Block]


@dataclass(frozen=True)
class Beside:
    """Columns of blocks beside each other; below each other where the page is narrow."""

    template: ClassVar[str] = "beside.html.j2"
    columns: Sequence[Sequence[Block]]
