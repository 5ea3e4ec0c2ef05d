"""Tables as values: columns that say what they hold, and rows of cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

Cell = str | float
"""Text as it is shown; in a column of bars a share from 0 to 1."""


class Column(NamedTuple):
    """A heading, and how the cells under it are shown."""

    heading: str
    kind: Literal["text", "number", "code", "note", "bar"] = "number"
    """Numbers and bars stand on the right; a bar is a number with its length drawn beside it."""


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows; a wide one scrolls by itself."""

    template: ClassVar[str] = "table.html.j2"
    caption: str
    """Said above the table, and by screen readers."""
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    row_classes: Sequence[str | None] = ()
    """A CSS class for each row, where it has one; empty: no row has any."""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.caption}: a row has not {len(self.columns)} cells")
        if self.row_classes and len(self.row_classes) != len(self.rows):
            raise ValueError(
                f"{self.caption}: {len(self.row_classes)} classes for {len(self.rows)} rows"
            )
