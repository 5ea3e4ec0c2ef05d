"""Columns: a word a line, a blank line after each sentence; CoNLL, CoNLL-U and their relatives.

Columns are parted by tabs if the first row has one, else by blanks. A no-break space never parts
columns. `# …` before a sentence's first word is a comment unless it reads as a word `#` with a tag.
"""

import re
from collections.abc import Iterator, Sequence

from distill_jax.data.readers.brackets import are_bracketed, tags_from_brackets
from distill_jax.data.readers.layouts import Layout, Row, find_layout
from distill_jax.data.readers.misc import ENTITY_KEYS, entity_tag, has_no_space_after
from distill_jax.data.readers.source import BLANK, Line, Located, Source, is_blank
from distill_jax.data.readers.tags import is_tag_shaped
from distill_jax.data.readers.wordlike import EMPTY_NODE, INDEX, RANGE
from distill_jax.tagging.sentence import Sentence

DOCUMENT_STARTS = ("-DOCSTART-", "###MEDLINE:")

_BLANKS = re.compile(r"[ \t]+")
# Every blank but the no-break spaces U+00A0, U+2007 and U+202F.
_ODD_BLANKS = re.compile(r"[ \t\v\f\u1680\u2000-\u2006\u2008-\u200a\u205f\u3000]+")
_COLUMNS_COMMENT = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
_COMMENT = re.compile(r"#(?:[ \t]|$|[\w.]+\s*=)|##+[ \t]\S")
_SETTING = re.compile(r"#\s*[\w.:]+\s*=.*")
_ENDS_SENTENCE = re.compile(r"(?:^|\|)(?:EndOfSentence|PySBDSegment)(?:$|\|)")


def read_columns(
    peeked: Sequence[Line], lines: Iterator[Line], source: Source
) -> Iterator[Located]:
    """The sentences of columns.

    Args:
        peeked: the file's first lines, which tell the layout.
        lines: all lines, those of `peeked` first.
    """
    reader = _ColumnsReader(peeked, source)
    for number, line in lines:
        located = reader.add(number, line)
        if located is not None:
            yield located
    located = reader.sentence()
    if located is not None:
        yield located


def split_columns(line: str, has_tabs: bool) -> list[str]:
    """The columns of a line. Stripping the line itself would hide an empty last column."""
    if has_tabs:
        return [column.strip(BLANK) for column in line.split("\t")]
    return _BLANKS.split(line.strip(BLANK))


class _ColumnsReader:
    def __init__(self, peeked: Sequence[Line], source: Source) -> None:
        self._source = source
        self._words: list[str] = []
        self._tags: list[str] = []
        self._lines: list[int] = []
        self._untagged_line: int | None = None  # of the sentence, where MISC holds tags
        self._expected: int | None = None  # what the index column says next
        self._sentence_name = ""
        self._has_tabs = False
        self._layout: Layout | None = None
        if any(not _is_apart(line) for _, line in peeked):
            self._layout = self._learn(peeked)

    def _learn(self, peeked: Sequence[Line]) -> Layout:
        """What is between the columns, and which to read, from lines that are not all blank."""
        rows = [line for _, line in peeked if not _is_apart(line)]
        # A comment may have a tab where the columns have none.
        first = next((line for line in rows if not looks_like_comment(line)), rows[0])
        text = first.strip(BLANK)
        self._has_tabs = "\t" in text or ("\t" in first and " " not in text)
        names = next((m[1].split() for line in rows if (m := _COLUMNS_COMMENT.match(line))), [])
        layout = find_layout(self._first_sentences(peeked), self._source, tuple(names))
        between = "tabs" if self._has_tabs else "blanks"
        self._source.report.layout = f"{layout}, parted by {between}"
        return layout

    def _first_sentences(self, peeked: Sequence[Line]) -> list[list[Row]]:
        """The peeked rows without comments, as sentences; the last one may be cut short."""
        sentences: list[list[Row]] = []
        only_comments = all(_is_apart(line) or looks_like_comment(line) for _, line in peeked)
        rows: list[Row] = []
        for number, line in peeked:
            if _is_apart(line):
                rows = []
            elif rows or only_comments or not looks_like_comment(line):
                if not rows:
                    sentences.append(rows)
                rows.append((number, split_columns(line, self._has_tabs)))
        return sentences

    def add(self, number: int, line: str) -> Located | None:
        """Takes the next line; gives the sentence that it ends, if it ends one."""
        if not line or line.isspace():
            return self.sentence()
        if line.lstrip(BLANK).startswith(DOCUMENT_STARTS):
            self._source.report.note("document_marks", number)
            return self.sentence()
        layout = self._layout
        if layout is None:  # nothing but blank lines among the first
            layout = self._layout = self._learn([(number, line)])
        columns = split_columns(line, self._has_tabs)
        if not self._words and self._is_comment(line, columns, layout):
            self._source.report.note("comments", number)
            return None
        if len(columns) != layout.width:
            if self._has_tabs and len(columns) == 1 and _SETTING.fullmatch(columns[0]):
                self._source.report.note("comments", number)  # HIPE has them within sentences
                return None
            columns = self._of_right_width(columns, line, number, layout)
        if number == layout.first_line and layout.has_header:
            self._source.report.note("header", number)
            return None
        ended = None
        if layout.sentence is not None and columns[layout.sentence] not in (
            "",
            self._sentence_name,
        ):
            ended = self.sentence()
            self._sentence_name = columns[layout.sentence]
        if layout.misc is not None and has_no_space_after(columns[layout.misc]):
            self._source.report.note("space_after", number)
        if layout.index is not None and not self._is_word(columns[layout.index], number):
            return ended
        word = columns[layout.word]
        if not word and self._is_blank_token(line, columns, layout):
            self._source.report.note("blank_rows", number)
            return ended
        self._words.append(self._without_prefix(word, number, layout))
        self._lines.append(number)
        if layout.tag is not None:
            self._tags.append(columns[layout.tag])
        elif layout.misc is not None and layout.is_tagged_in_misc:
            self._read_misc(columns[layout.misc], number)
        if layout.misc is not None and _ENDS_SENTENCE.search(columns[layout.misc]):
            return self.sentence() if ended is None else ended
        return ended

    def _is_blank_token(self, line: str, columns: list[str], layout: Layout) -> bool:
        """Whether an empty word is a blank between words, as where each character has a row (KLUE)."""
        is_alone = all(columns[: layout.word]) and all(columns[layout.word + 1 :])
        return self._has_tabs and is_alone and line.split("\t")[layout.word] != ""

    def _without_prefix(self, word: str, number: int, layout: Layout) -> str:
        """The word without the language that the file has before each (WikiAnn: `en:word`)."""
        if layout.prefix:
            if not word.startswith(layout.prefix):
                self._source.fail(
                    number,
                    f"the word {word!r} does not begin with {layout.prefix!r}, as those before it do; "
                    "give every word its language or none, or say --columns WORD,TAG to keep it",
                )
            self._source.report.note("language_prefixes", number)
            word = word.removeprefix(layout.prefix)
        if not word:
            self._source.fail(number, "the word is empty; remove the line or write one")
        return word

    def sentence(self) -> Located | None:
        """The sentence that ends here, if one began."""
        if not self._words:
            return None
        words = tuple(self._words)
        tags = None
        if self._tags:
            if self._untagged_line is not None:
                self._source.fail(
                    self._untagged_line,
                    "no tag in MISC, but other words of the sentence have one; give every word one, "
                    "or say --columns 2 for words without tags",
                )
            read = self._tags
            if are_bracketed(read):
                read = tags_from_brackets(read, self._lines, self._source)
            tags = self._source.tags.read(words, read, self._lines)
        located = Located(self._lines[0], Sentence(words, tags))
        self._words.clear()
        self._tags.clear()
        self._lines.clear()
        self._untagged_line = self._expected = None
        return located

    def _is_comment(self, line: str, columns: list[str], layout: Layout) -> bool:
        """Whether a line before a sentence's first word is a comment and no row of the file."""
        if line.lstrip(BLANK)[:1] != "#" or not looks_like_comment(line):
            return False
        if layout.index is not None or len(columns) != layout.width:
            return True
        if layout.width == 1:  # words alone: a comment says something
            return columns[0] != "#"
        if self._has_tabs and not columns[0].strip("#"):
            return False
        tag = columns[-1 if layout.tag is None else layout.tag]
        return not (is_tag_shaped(tag) or self._source.tags.knows(tag))

    def _of_right_width(
        self, columns: list[str], line: str, number: int, layout: Layout
    ) -> list[str]:
        """The columns at blanks of every kind but no-break spaces, if that gives the right number."""
        text = line.strip(BLANK)
        if not self._has_tabs and len(columns) < layout.width:
            wider = _ODD_BLANKS.split(line.strip())
            if len(wider) == layout.width:
                self._source.report.note("odd_blanks", number)
                return wider
        if len(columns) == 1:
            between = "tab" if self._has_tabs else "tab or blank"
            self._source.fail(
                number,
                f"only one column, {text!r}; write the word, a {between} and its tag on each line",
            )
        self._source.fail(
            number,
            f"{len(columns)} columns, but line {layout.first_line} has {layout.width}; "
            "give every line the same columns",
        )

    def _is_word(self, index: str, number: int) -> bool:
        """Whether a row is a word by its index, which must count on."""
        if RANGE.fullmatch(index):
            self._source.report.note("multiword_ranges", number)
            return False
        if EMPTY_NODE.fullmatch(index):
            self._source.report.note("empty_nodes", number)
            return False
        allowed = ("0", "1") if self._expected is None else (str(self._expected),)
        if not INDEX.fullmatch(index) or str(int(index)) not in allowed:
            self._source.fail(
                number,
                f"the first column counts words, and here it says {index!r} instead of "
                f"{' or '.join(allowed)}; correct it, put a blank line between sentences, or say "
                "which columns to read: --columns WORD,TAG",
            )
        self._expected = int(index) + 1
        return True

    def _read_misc(self, misc: str, number: int) -> None:
        tag, other = entity_tag(misc)
        if tag is not None:
            self._tags.append(tag)
            return
        self._untagged_line = self._untagged_line or number
        if other is not None and is_tag_shaped(other.partition("=")[2]):
            self._source.fail(
                number,
                f"{other!r} in MISC looks like a tag, and tags are read from {', '.join(ENTITY_KEYS)}; "
                "rename it, or say --columns 2 for words without tags",
            )
        if other is not None:
            self._source.report.note("unread_misc", number)


def _is_apart(line: str) -> bool:
    """Whether a line ends a sentence and holds no word."""
    return is_blank(line) or line.strip(BLANK).startswith(DOCUMENT_STARTS)


def looks_like_comment(line: str) -> bool:
    """Whether a line begins with `# ` or `#name =`; it may still be a row whose word is `#`."""
    return _COMMENT.match(line.strip(BLANK)) is not None
