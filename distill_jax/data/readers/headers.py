"""Columns by the names that a header line, or a comment of CoNLL-U Plus, gives them."""

import re
from collections.abc import Sequence

from distill_jax.data.readers.brackets import are_bracketed
from distill_jax.data.readers.source import Source
from distill_jax.data.readers.tags import is_tag_shaped

_WORD_NAMES = ("form", "word", "words", "token", "tokens", "text")
_TAG_NAMES = (
    "ner_tag",
    "ner_tags",
    "ner",
    "tag",
    "tags",
    "label",
    "labels",
    "entity",
    "bio",
    "iob",
)
_SENTENCE_NAMES = ("sentence #", "sentence_id", "sent_id", "sentence", "sentence_idx")
_OTHER_NAMES = ("id", "idx", "index", "#", "lemma", "pos", "upos", "xpos", "chunk", "feats", "head")
_HEADER_NAMES = {*_WORD_NAMES, *_TAG_NAMES, *_SENTENCE_NAMES, *_OTHER_NAMES}
_HIPE = re.compile(r"NEL?-[A-Z-]+|MISC")


def is_header(row: Sequence[str], chosen: Sequence[str]) -> bool:
    """Whether a row has names of columns: usual ones alone, or those that the user chose."""
    names = [name for name in chosen if not name.isdigit()]
    return all(cell.lower() in _HEADER_NAMES or _HIPE.fullmatch(cell) for cell in row) or (
        bool(names) and all(name in row for name in names)
    )


def named_columns(
    names: Sequence[str], line: int, source: Source
) -> tuple[int, int | None, int | None]:
    """The columns of the word, of the tag and of the sentence's name; None where there is none.

    Raises `UserError` naming the line if no column, or more than one, can be told by its name.
    """
    lowered = [name.lower().rpartition(":")[2] for name in names]
    words = [lowered.index(name) for name in _WORD_NAMES if name in lowered]
    tags = [
        column
        for column, name in enumerate(lowered)
        if name in _TAG_NAMES or name.startswith("ne-")
    ]
    if not words:
        source.fail(
            line,
            f"none of the columns {', '.join(names)} is named as words are; say which to read: "
            "--columns WORD,TAG",
        )
    if len(tags) > 1:
        source.fail(
            line,
            f"several columns may hold the tags: {', '.join(names[tag] for tag in tags)}; say "
            f"which to read: --columns {names[words[0]]},{names[tags[0]]}",
        )
    sentence = next((lowered.index(name) for name in _SENTENCE_NAMES if name in lowered), None)
    return words[0], tags[0] if tags else None, sentence


def refuse_unread_header(
    row: Sequence[str], word: int, tag: int, line: int, source: Source
) -> None:
    """Refuses a first row such as `Token NER_label`, which may be names of columns, not a word."""
    if row[word].lower() in _WORD_NAMES and not (
        is_tag_shaped(row[tag]) or are_bracketed([row[tag]])
    ):
        source.fail(
            line,
            f"the first line ({', '.join(row)}) looks like names of columns; say which to read: "
            f"--columns {row[word]},{row[tag]}, or by number if it is a word",
        )
