"""Annotation that is not read, and must not be taken for plain text: stand-off files, markup in text."""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from distill_jax.data.readers.source import BLANK, Line
from distill_jax.errors import UserError

_AS_JSON = 'write {"text": …, "entities": [[start, end, label], …]}, a line for each sentence'
_STAND_OFF = f"stand-off annotation of brat or BioNLP; {_AS_JSON}, or export CoNLL columns"
_PUBTATOR = (
    f"PubTator, whose offsets count title and abstract as one text; {_AS_JSON}, with offsets in it"
)

UNREAD = {
    ".csv": "write its columns with tabs and a blank line after each sentence, as .tsv",
    ".xml": "export JSON lines or CoNLL columns",
    ".html": "export JSON lines or CoNLL columns",
    ".ann": _STAND_OFF,
    ".a1": _STAND_OFF,
    ".a2": _STAND_OFF,
    ".pubtator": _PUBTATOR,
    ".xmi": "export JSON lines or CoNLL columns",
    ".sgml": "export JSON lines or CoNLL columns",
    ".yml": f"of Rasa's training data, {_AS_JSON}",
    ".yaml": f"of Rasa's training data, {_AS_JSON}",
    ".spacy": "spaCy's binary format; write each Doc.to_json() as a line of JSON",
    ".pkl": "a pickle can run any program; export JSON lines",
    ".pickle": "a pickle can run any program; export JSON lines",
    ".gz": "unpack it first",
    ".zip": "unpack it first",
    ".tfrecord": "register a TFDS data set instead",
}
"""By the suffix of a name: why such files are not read, and what to do."""


class _Markup(NamedTuple):
    pattern: re.Pattern[str]
    what: str
    share: float  # of the first lines, so many have it at least; 0: the first one has


_LABEL = r"[A-Za-z_][\w-]*"
_NESTED = r"\d+,\d+ ([A-Z]\w*#\S+|[A-Z]{2,}[^\s|]*)"
_MARKUP = (
    _Markup(re.compile(r"\d+\|t\|"), _PUBTATOR, 0),
    _Markup(re.compile(r"T\d+\t\S+ \d+ \d+(;\d+ \d+)*\t"), _STAND_OFF, 0),
    _Markup(re.compile(r'c=".*" \d+:\d+ \d+:\d+\|\|t="'), f"annotation of i2b2; {_AS_JSON}", 0),
    _Markup(
        re.compile(r"#FORMAT=WebAnno"),
        "WebAnno's TSV; export CoNLL 2002 or 2003 from WebAnno or INCEpTION",
        0,
    ),
    _Markup(
        re.compile(rf'.*\[[^\[\]]+\](\({_LABEL}(:[^()/]*)?\)|\{{"entity")'),
        f"entities in the text as Rasa marks them, [words](label); {_AS_JSON}",
        0.25,
    ),
    _Markup(
        re.compile(rf".*\[({_LABEL} : [^\[\]]+\]|(IN|SL):[A-Z_]+ )"),
        f"slots in brackets within the text; {_AS_JSON}, or a word, a tab and its tag on each line",
        0.25,
    ),
    _Markup(
        re.compile(r".*<(?P<name>[A-Za-z][\w.:-]*)(\s[^<>]*)?>[^<>]+</(?P=name)>"),
        f"entities in the text between XML tags; {_AS_JSON}",
        0.25,
    ),
    _Markup(
        re.compile(r".*\s<(O|[BIESLUMW]-[^\s<>]+)>(\s|$)"),
        "words and tags in angle brackets; write a word, a tab and its tag on each line",
        0.25,
    ),
    _Markup(
        re.compile(rf"{_NESTED}(\|{_NESTED})*$"),
        "lines of words with the places of nested entities below them; write a word, a tab and its tag "
        "on each line",
        0.2,
    ),
)

_JOINED = re.compile(r"\S+?(?:[/|:_]|#+)(?:O|[BIESLUMW][-_]\S+)")
_WITH_POS = re.compile(r"[^/\s:.]+/[A-Za-z][A-Za-z$-]{0,7}")
_FEWEST_WITH_POS = 3


def refuse_markup(path: str | os.PathLike[str], lines: Sequence[Line], *, is_prose: bool) -> None:
    """Refuses annotation in a form that is not read, by the first lines that are not blank.

    Args:
        is_prose: whether nothing else was recognised, and there are lines enough to tell markup from
            a single `<b>word</b>`; else the first line alone can say what a file is.

    Raises:
        UserError: naming the line, what it is, and what to do.
    """
    for pattern, what, share in _MARKUP:
        found = [number for number, line in lines if pattern.match(line.strip(BLANK))]
        is_first = bool(found) and found[0] == lines[0][0]
        if is_first if share == 0 else is_prose and len(found) >= max(1, share * len(lines)):
            raise UserError(f"{path}:{found[0]}: {what}; or say --format text if it is text")


def refuse_joined(path: str | os.PathLike[str], lines: Sequence[Line]) -> None:
    """Refuses text whose words carry tags (`Ana/B-PER`, `Ana:B-PER`) or parts of speech (`a/DT`)."""
    words = [word for _, line in lines for word in line.split()]
    joined = sum(_JOINED.fullmatch(word) is not None for word in words)
    with_pos = sum(_WITH_POS.fullmatch(word) is not None for word in words)
    if 2 * joined >= len(words) or (
        with_pos >= _FEWEST_WITH_POS and 5 * with_pos >= 3 * len(words)
    ):
        raise UserError(
            f"{path}:{lines[0][0]}: words and tags joined ({words[0]!r}); write a word, a tab and its "
            "tag on each line, or say --format text if that is what the words are"
        )
