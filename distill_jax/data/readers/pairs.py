"""Words in one file and their tags in another, line by line: `seq.in` and `seq.out` (ATIS, SNIPS)."""

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from distill_jax.data.readers.source import Line, Source, numbered_lines
from distill_jax.errors import UserError

_WORDS, _TAGS = "seq.in", "seq.out"


def tags_beside(path: str | os.PathLike[str]) -> Path | None:
    """The file of the tags of `seq.in`, if it lies beside it.

    Raises `UserError` for `seq.out`, which has no words.
    """
    path = Path(path)
    if path.name == _TAGS:
        raise UserError(
            f"{path}: holds the tags of {_WORDS} beside it; name that file, and both are read"
        )
    tags = path.with_name(_TAGS)
    return tags if path.name == _WORDS and tags.is_file() else None


def paired_lines(words: Iterable[bytes], tags: Iterable[bytes], source: Source) -> Iterator[Line]:
    """Lines `words<TAB>tags` of two files. Raises `UserError` naming the line that one lacks."""
    pairs = itertools.zip_longest(numbered_lines(words, source), numbered_lines(tags, source))
    for number, (of_words, of_tags) in enumerate(pairs, 1):
        if of_words is None or of_tags is None:
            lacking = _WORDS if of_words is None else _TAGS
            source.fail(
                number, f"{lacking} has no such line; give each sentence a line in both files"
            )
        text, tagged = of_words[1], of_tags[1]
        yield number, f"{text}\t{tagged}" if text.strip() or tagged.strip() else ""
