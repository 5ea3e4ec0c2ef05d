"""What reading a file came to: format, layout, scheme, counts, and all that was not taken as it stood.

Nothing that a reader leaves out, mends or decides for itself passes unseen: it is counted here under
a name of `REMARKS`, with the first lines it happened on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MOST_LINES = 5
"""Of a remark, so many line numbers are kept."""


class Meaning(NamedTuple):
    """What a remark says: of lines that hold no word, of a repair, or of something lost or changed."""

    text: str
    kind: str


LEFT_OUT, REPAIR, LOSS = "left_out", "repair", "loss"

REMARKS: dict[str, Meaning] = {
    "comments": Meaning("comment lines, left out", LEFT_OUT),
    "document_marks": Meaning(
        "lines that mark a document (-DOCSTART-, #begin, …), left out", LEFT_OUT
    ),
    "header": Meaning("a line with the columns' names, left out", LEFT_OUT),
    "multiword_ranges": Meaning("multiword tokens (1-2), left out for their words", LEFT_OUT),
    "empty_nodes": Meaning("empty nodes (1.1), left out", LEFT_OUT),
    "space_after": Meaning("SpaceAfter=No, not kept: words are joined by blanks", LEFT_OUT),
    "blank_rows": Meaning("rows whose word is a blank, left out", LEFT_OUT),
    "sentence_marks": Meaning("sentences between BOS and EOS, which are left out", LEFT_OUT),
    "unread_misc": Meaning("words whose MISC has an annotation that is not read", LEFT_OUT),
    "language_prefixes": Meaning("words with a language before them (en:…), removed", REPAIR),
    "inclusive_ends": Meaning(
        "spans whose last character is counted as in them, by their text", REPAIR
    ),
    "byte_order_marks": Meaning("byte order marks, removed", REPAIR),
    "cr_line_ends": Meaning("lines that end in a carriage return alone", REPAIR),
    "odd_blanks": Meaning("columns between blanks other than space and tab", REPAIR),
    "lower_case_tags": Meaning("tags in lower case (o, b-…), read as if in upper case", REPAIR),
    "illegal_sequences": Meaning(
        "sentences illegal in their scheme, read as conlleval does", REPAIR
    ),
    "trimmed_spans": Meaning("spans that began or ended in a blank, trimmed", REPAIR),
    "duplicate_spans": Meaning("spans that occur twice, taken once", REPAIR),
    "utf16_offsets": Meaning("spans counted in UTF-16 units, converted", REPAIR),
    "blank_tokens": Meaning("tokens of blanks alone, left out", REPAIR),
    "cut_words": Meaning("spans that begin or end within a word, widened to whole words", LOSS),
    "spans_in_one_word": Meaning("spans that share a word with a longer one, dropped", LOSS),
    "further_annotations": Meaning("records annotated more than once, the first taken", LOSS),
    "rejected_records": Meaning(
        "records whose annotation was rejected or cancelled, left out", LOSS
    ),
}


@dataclass
class Remark:
    """How often something happened, and on which lines (or records) first."""

    name: str
    count: int = 0
    lines: list[int] = field(default_factory=list)

    def add(self, line: int | None = None, count: int = 1) -> None:
        """Counts it again, on a line if one is told."""
        self.count += count
        if line is not None and len(self.lines) < MOST_LINES and line not in self.lines:
            self.lines.append(line)

    @property
    def text(self) -> str:
        """What happened, in words."""
        return REMARKS[self.name].text

    @property
    def kind(self) -> str:
        """`left_out`, `repair` or `loss`."""
        return REMARKS[self.name].kind

    def to_json(self) -> dict[str, Any]:
        """As `distill-jax inspect --json` writes it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "text": self.text,
            "count": self.count,
            "lines": self.lines,
        }

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.lines) else ""
        where = f" (line {', '.join(map(str, self.lines))}{more})" if self.lines else ""
        return f"{self.count} {self.text}{where}"


@dataclass
class ReadReport:
    """Filled while a file is read; whole when its last sentence was given.

    Attributes:
        format: one of `options.FORMATS`; None for a file in which nothing was recognised.
        layout: which columns or fields are read, in words.
        scheme: one of `tagging.SCHEMES`, `spans` for spans in characters, None without tags.
        sentences, words: how many were given.
        empty: how many of the sentences have no words.
        remarks: by name.
    """

    name: str = ""
    format: str | None = None
    layout: str = ""
    scheme: str | None = None
    sentences: int = 0
    words: int = 0
    empty: int = 0
    remarks: dict[str, Remark] = field(default_factory=dict)

    def note(self, name: str, line: int | None = None, count: int = 1) -> None:
        """Counts a remark, with its line if one is told."""
        remark = self.remarks.get(name)
        if remark is None:
            remark = self.remarks[name] = Remark(name)
        remark.add(line, count)

    def of_kind(self, *kinds: str) -> Iterator[Remark]:
        """The remarks of these kinds, in the order of `REMARKS`."""
        for name, meaning in REMARKS.items():
            if meaning.kind in kinds and name in self.remarks:
                yield self.remarks[name]

    @property
    def lines_without_words(self) -> int:
        """How many lines that are not blank hold no word of a sentence."""
        names = (
            "comments",
            "document_marks",
            "header",
            "multiword_ranges",
            "empty_nodes",
            "blank_rows",
        )
        return sum(self.remarks[name].count for name in names if name in self.remarks)
