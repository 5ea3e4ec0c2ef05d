"""Whether a column that is to be read as words holds words: no numbers, names, or marks upon them."""

import re
from collections.abc import Sequence

from distill_jax.data.readers.source import Source

INDEX = re.compile(r"\d+")
RANGE = re.compile(r"\d+-\d+")
EMPTY_NODE = re.compile(r"\d+\.\d+")

_LONGEST_CONSTANT = 2  # words of a sentence that may be the same by chance
_LANGUAGE = re.compile(r"((?:[a-z]{2,3}(?:-[a-z]+)*|simple):).")
_NUMBERED = re.compile(r"([^\W\d])\d")
_FEWEST_NUMBERED = 3

Cells = Sequence[Sequence[Sequence[str]]]
"""Of each sentence its rows, of each row its cells."""


def is_index(cell: str) -> bool:
    """Whether a cell is a word's number, a range of numbers, or that of an empty node."""
    return any(pattern.fullmatch(cell) for pattern in (INDEX, RANGE, EMPTY_NODE))


def refuse_identifiers(cells: Cells, line: int, source: Source) -> None:
    """Refuses a first column that is numbers or one name: no words, though no count of them either."""
    first = [[row[0] for row in rows] for rows in cells]
    count = sum(map(len, first))
    long = [column for column in first if len(column) > _LONGEST_CONSTANT]
    numbers = [cell for column in first for cell in column if is_index(cell)]
    if (len(numbers) == count and (count > 1 or numbers[0] in ("0", "1"))) or (
        long and all(len(set(column)) == 1 for column in long)
    ):
        source.fail(
            line,
            f"the first column ({first[0][0]!r}, …) looks like numbers or names of sentences, not "
            "words; say which columns to read: --columns WORD,TAG",
        )


def language_prefix(cells: Cells, column: int, line: int, source: Source) -> str:
    """What stands before every word as its language in WikiAnn (`en:`); empty if nothing does.

    Raises `UserError` naming the line where one word is all there is to tell it from.
    """
    words = [row[column] for rows in cells for row in rows]
    matched = _LANGUAGE.match(words[0])
    if matched is None:
        return ""
    if len(words) == 1:
        source.fail(
            line,
            f"{words[0]!r} may have its language before it, as in WikiAnn, and one word does not tell; "
            "say --columns WORD,TAG to keep it, or give a file of more words, not a pipe",
        )
    prefix = matched[1]
    return prefix if all(word.startswith(prefix) and word != prefix for word in words) else ""


def refuse_numbered(cells: Cells, column: int, line: int, source: Source) -> None:
    """Refuses characters with a digit each that counts them within a word, as in Weibo NER."""
    words = [row[column] for rows in cells for row in rows]
    if len(words) >= _FEWEST_NUMBERED and all(map(_NUMBERED.fullmatch, words)):
        source.fail(
            line,
            f"each word is a character with a digit ({words[0]!r}, {words[1]!r}, …), which counts the "
            "characters of a word in Weibo NER; remove the digits, or say --columns WORD,TAG if they "
            "are part of the words",
        )
