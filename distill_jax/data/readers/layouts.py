"""Which column holds the words and which the tags, told from a file's first lines.

Known layouts, besides `word tag` and any columns between the two that are no tags:

| layout | columns |
|---|---|
| CoNLL-2003 | `word POS chunk NER`, in German `word lemma POS chunk NER`: the last of the two tag columns |
| index first (UNER, CoNLL-X) | `1 word … tag …`: the index is checked, ranges and empty nodes are left out |
| tag first (MIT movie, restaurant) | `tag word` |
| CoNLL-U | ten columns: FORM, and `NER=` or `name=` in MISC |
| CoNLL-U Plus, header line | columns by their names |

Anything else with two columns that could be the tags (GermEval 2014) is refused with the choices.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from distill_jax.data.readers.brackets import are_bracketed
from distill_jax.data.readers.headers import is_header, named_columns, refuse_unread_header
from distill_jax.data.readers.source import Source
from distill_jax.data.readers.tags import is_tag_shaped
from distill_jax.data.readers.wordlike import (
    INDEX,
    Cells,
    is_index,
    language_prefix,
    refuse_identifiers,
    refuse_numbered,
)

CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")

_PLACEHOLDERS = {"_", "-", "*", "-X-", ""}
_CHUNKS = re.compile(
    r"O|[BIES]-(NP|VP|PP|ADVP|ADJP|SBAR|PRT|CONJP|INTJ|LST|UCP|NC|VC|PC|AC|CP|X|NAC|QP|WHNP)"
)

Row = tuple[int, list[str]]


@dataclass(frozen=True)
class Layout:
    """The columns of a file, from 0; `tag` is None where no tags are read.

    Attributes:
        width: how many columns each line has.
        first_line: the line that showed it, for messages.
        index: the column that counts words, if there is one.
        misc: the column MISC, which says where no blank follows a word.
        is_tagged_in_misc: whether tags are there (CoNLL-U).
        sentence: the column that names the sentence, where no blank lines part them.
        has_header: whether the first row has the columns' names.
        prefix: the language before every word (`en:`), which is no part of it.
    """

    width: int
    first_line: int
    word: int
    tag: int | None
    index: int | None = None
    misc: int | None = None
    is_tagged_in_misc: bool = False
    sentence: int | None = None
    has_header: bool = False
    names: tuple[str, ...] = ()
    prefix: str = ""

    def __str__(self) -> str:
        parts = [f"word in column {self._of(self.word)}"]
        if self.tag is not None:
            parts.append(f"tag in column {self._of(self.tag)}")
        if self.is_tagged_in_misc:
            parts.append("tags in MISC if it has NER=, NE= or name=")
        if self.index is not None:
            parts.append(f"index in column {self.index + 1}")
        removed = f" ({self.prefix!r} before each word removed)" if self.prefix else ""
        return f"{', '.join(parts)} of {self.width}{removed}"

    def _of(self, column: int) -> str:
        name = f" ({self.names[column]})" if self.names else ""
        return f"{column + 1}{name}"


def find_layout(
    sentences: Sequence[Sequence[Row]], source: Source, names: tuple[str, ...] = ()
) -> Layout:
    """The layout of a file whose first rows, sentence by sentence, are these (at least one).

    `names` are the columns' names if a comment told them (CoNLL-U Plus).

    Raises `UserError` naming the file and its first row where the columns to read are not certain.
    """
    first_line, first = sentences[0][0]
    layout = Layout(len(first), first_line, 0, None, names=names)
    if len(first) > 1 and not names and is_header(first, source.options.columns or ()):
        layout = replace(layout, has_header=True, names=tuple(first))
        sentences = [sentences[0][1:], *sentences[1:]]
    # Rows of another width are refused with their line when they are read.
    cells = [[row for _, row in rows if len(row) == layout.width] for rows in sentences]
    cells = [rows for rows in cells if rows]
    if _is_conllu(cells, layout.width) and not layout.names:
        layout = replace(layout, index=0, misc=9, is_tagged_in_misc=True, names=CONLLU)
    if layout.names and len(layout.names) != layout.width:
        source.fail(
            first_line,
            f"{layout.width} columns, but {len(layout.names)} names of columns; give every line the "
            "same columns",
        )
    if _counts_words(cells) and layout.width > 1:
        layout = replace(layout, index=0)
    if "MISC" in layout.names:
        layout = replace(layout, misc=layout.names.index("MISC"))
    if source.options.columns is not None:
        return _chosen(layout, source)
    if layout.names:
        word, tag, sentence = named_columns(layout.names, first_line, source)
        is_tagged_in_misc = layout.misc is not None and tag is None
        layout = replace(
            layout, word=word, tag=tag, sentence=sentence, is_tagged_in_misc=is_tagged_in_misc
        )
    else:
        layout = _recognised(cells, layout, source)
        if layout.tag is not None:
            refuse_unread_header(first, layout.word, layout.tag, first_line, source)
    if cells:
        refuse_numbered(cells, layout.word, first_line, source)
        layout = replace(layout, prefix=language_prefix(cells, layout.word, first_line, source))
    return layout


def _is_conllu(cells: Cells, width: int) -> bool:
    rows = [row for rows in cells for row in rows]
    return (
        width == len(CONLLU)
        and bool(rows)
        and all(is_index(row[0]) and (row[6].isdigit() or row[6] == "_") for row in rows)
        and not all(is_tag_shaped(row[9]) for row in rows)
    )


def _counts_words(cells: Cells) -> bool:
    """Whether the first column counts the words of each sentence from 0 or 1.

    A word may be `1`, so that sentences of one word alone prove nothing.
    """
    longest = 0
    for rows in cells:
        numbers = [row[0] for row in rows]
        if not all(map(is_index, numbers)):
            return False
        counted = [int(number) for number in numbers if INDEX.fullmatch(number)]
        if counted and counted != list(range(counted[0], counted[0] + len(counted))):
            return False
        if counted and counted[0] not in (0, 1):
            return False
        longest = max(longest, len(counted))
    return longest > 1


def _chosen(layout: Layout, source: Source) -> Layout:
    """The columns that the user names."""
    numbers = []
    for name in source.options.columns or ():
        if name.isdigit():
            number = int(name) - 1
            if number >= layout.width:
                source.fail(
                    layout.first_line,
                    f"{layout.width} columns, and --columns asks for column {name}; choose among "
                    f"1 to {layout.width}",
                )
        elif name in layout.names:
            number = layout.names.index(name)
        else:
            known = (
                f"its columns are {', '.join(layout.names)}" if layout.names else "it names none"
            )
            source.fail(
                layout.first_line,
                f"there is no column {name!r} in this file ({known}); give numbers from 1",
            )
        numbers.append(number)
    word, tag = numbers[0], numbers[1] if len(numbers) > 1 else None
    index = layout.index if 0 not in numbers else None
    return replace(layout, word=word, tag=tag, index=index, is_tagged_in_misc=False)


def _recognised(cells: Cells, layout: Layout, source: Source) -> Layout:
    """The columns by what they hold."""
    rows = [row for rows in cells for row in rows]
    columns = list(zip(*rows, strict=True))
    line, width = layout.first_line, layout.width
    # Words may be in brackets; and among more columns one of asterisks alone is a filler.
    bracketed = [
        number > 0 and are_bracketed(column) and (width == 2 or any("(" in cell for cell in column))
        for number, column in enumerate(columns)
    ]
    shaped = [
        all(map(is_tag_shaped, column)) or is_bracketed
        for column, is_bracketed in zip(columns, bracketed, strict=True)
    ]
    if width == 1:
        source.fail(
            line,
            f"only one column, {rows[0][0]!r}; write the word, a tab or blank and its tag on each "
            "line, or say --columns 1 for words without tags",
        )
    if width == 2:
        if shaped[0] and (not shaped[1] or _is_likelier_tagged(columns[0], columns[1])):
            return replace(layout, word=1, tag=0, index=None)
        if all(shaped) and any(cell not in "Oo" for cell in (*columns[0], *columns[1])):
            source.fail(
                line,
                f"both columns may be the tags ({columns[0][0]!r}, {columns[1][0]!r}); say which holds "
                "the words: --columns 1,2 or --columns 2,1",
            )
        if layout.index is not None and len(rows) > 1 and not any(map(is_tag_shaped, columns[1])):
            source.fail(
                line,
                "the first column counts words and the second holds no tag; say --columns 2 for "
                "words without tags, or --columns 1,2 if the numbers are the words",
            )
        return replace(layout, word=0, tag=1, index=None)
    word = 0 if layout.index is None else 1
    if layout.index is None:
        refuse_identifiers(cells, line, source)
    tags = [column for column in range(word + 1, width) if shaped[column]]
    layout = replace(layout, word=word)
    if len(tags) == 1:
        return replace(layout, tag=tags[0])
    if len(tags) > 1:
        is_conll2003 = (
            layout.index is None
            and width in (4, 5)
            and tags == [width - 2, width - 1]
            and all(map(_CHUNKS.fullmatch, columns[-2]))
        )
        if is_conll2003:
            return replace(layout, tag=width - 1)
        choices = " or ".join(f"--columns {word + 1},{tag + 1}" for tag in tags)
        source.fail(
            line,
            f"{width} columns, of which {', '.join(str(tag + 1) for tag in tags)} may be the tags and "
            f"{word + 1} holds the words; say which to read: {choices}",
        )
    if all(cell in _PLACEHOLDERS for cell in columns[-1]):
        source.fail(
            line,
            f"{width} columns, of which none holds tags; say --columns {word + 1} for words without "
            "tags, or --columns WORD,TAG",
        )
    return replace(layout, tag=width - 1)


def _is_likelier_tagged(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether of two columns that may be tags the second has some in lower case: words such as `o`."""
    lower = [any(cell[0].islower() for cell in column) for column in (first, second)]
    return lower == [False, True]
