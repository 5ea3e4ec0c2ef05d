"""Reading sentences from files of four formats, as a stream, and writing CoNLL columns.

| format  | a sentence is                                                                        |
|---------|--------------------------------------------------------------------------------------|
| `conll` | lines up to a blank one; word = first column, tag = last; tabs or blanks between them |
| `jsonl` | one object a line: `tokens` or `words` (list), or `text` (split at blanks); `tags`    |
| `tsv`   | one line `text<TAB>tags`, both separated by blanks, as many tags as words             |
| `text`  | one line of words separated by blanks, no tags                                        |

Tags may be IOB1, IOB2 or BIOES, sentence by sentence, and come out as IOB2; an illegal sequence is
read as conlleval reads it. A blank line of `jsonl`, `tsv` or `text` gives a sentence without words,
so that what is predicted for a file stays aligned with its lines.

Every malformed line is a `UserError` `file:line: what is wrong; what to do`.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.files import atomic_write
from distill_jax.tagging.schemes import convert
from distill_jax.tagging.sentence import Sentence

FORMATS = ("conll", "jsonl", "tsv", "text")

_SUFFIXES = {".conll": "conll", ".iob": "conll", ".iob2": "conll", ".bio": "conll"}
_SUFFIXES |= {".jsonl": "jsonl", ".ndjson": "jsonl"}
_DOCUMENT_START = "-DOCSTART-"
_BLANK = " \t\r"
_BLANKS = re.compile(r"[ \t]+")
_TAG = re.compile(r"O|[BIES]-.+")
# Detection looks no further than this, so that a stream's first answer does not wait for its end.
_MOST_LINES_FOR_DETECTION = 64

_Line = tuple[int, str]


def read_sentences(
    path: str | os.PathLike[str], *, format: str | None = None
) -> Iterator[Sentence]:
    """The sentences of a file, one at a time; tags (IOB2) are None where the file has none.

    Args:
      path: a file, UTF-8 (a byte order mark is skipped), or `-` for standard input.
      format: one of `FORMATS`; None detects it from the suffix or else from the first lines.

    Raises:
      UserError: on the call for an unknown format or a file that cannot be opened; while iterating
        for a malformed line, naming file and line.
    """
    if format is not None and format not in FORMATS:
        raise UserError(f"{format!r} is not a file format; use one of {', '.join(FORMATS)}")
    if os.fspath(path) == "-":
        return _read(sys.stdin.buffer, "<stdin>", format)
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed by the generator that reads it)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give an existing file or '-'"
        ) from None
    return _read_and_close(file, os.fspath(path), format or _SUFFIXES.get(Path(path).suffix))


def write_conll(path: str | os.PathLike[str], sentences: Iterable[Sentence]) -> None:
    """Writes `word<TAB>tag` lines with a blank line after each sentence, aside and then renamed.

    Raises `UserError`, naming the sentence, for what the format cannot hold: no tags, no words, or
    a word that is empty, has blanks at its ends, or contains a tab or the end of a line.
    """
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as f:
        for number, sentence in enumerate(sentences, 1):
            if not sentence.words or sentence.tags is None:
                lacking = "tags" if sentence.words else "words"
                raise UserError(
                    f"{path}: sentence {number} has no {lacking}, and CoNLL columns need them; "
                    "write JSONL instead"
                )
            for word, tag in zip(sentence.words, sentence.tags, strict=True):
                if not _fits_a_column(word):
                    raise UserError(
                        f"{path}: sentence {number}: CoNLL columns cannot hold the word {word!r}; "
                        "write JSONL instead"
                    )
                f.write(f"{word}\t{tag}\n")
            f.write("\n")


def _fits_a_column(word: str) -> bool:
    unsafe = not word or word != word.strip(_BLANK) or any(c in word for c in "\t\n\r")
    return not (unsafe or word.startswith((_DOCUMENT_START, "\ufeff")) or _has_surrogate(word))


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _read_and_close(file: Any, name: str, format: str | None) -> Iterator[Sentence]:
    with file:
        yield from _read(file, name, format)


def _read(file: Iterable[bytes], name: str, format: str | None) -> Iterator[Sentence]:
    lines = _decode(file, name)
    if format is None:
        seen, format = _detect(lines)
        lines = _chain(seen, lines)
    yield from _PARSERS[format](lines, name)


def _chain(seen: list[_Line], rest: Iterator[_Line]) -> Iterator[_Line]:
    yield from seen
    yield from rest


def _decode(file: Iterable[bytes], name: str) -> Iterator[_Line]:
    """Numbered lines without their ends. Only a line feed ends a line, not U+2028 and its like."""
    try:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{name}:{number}: not UTF-8 text (byte {error.start + 1} of the line); "
                    "save the file as UTF-8"
                ) from None
            yield number, line.removesuffix("\n").removesuffix("\r")
    except OSError as error:  # a directory opens on some systems, and only reading it fails
        raise UserError(f"{name}: cannot be read ({error.strerror}); give a file") from None


# ---- Detection ---------------------------------------------------------------------------------


def _detect(lines: Iterator[_Line]) -> tuple[list[_Line], str]:
    """The lines that were looked at, and the format they are in.

    Plain text, JSONL and most TSV are settled by the first line with words. What begins like
    columns is read on to the end of its first sentence: columns where at least half the lines end
    in a tag.
    """
    seen: list[_Line] = []
    block: list[str] = []
    for number, line in lines:
        seen.append((number, line))
        if not line.strip(_BLANK):
            if block:
                break
            continue
        block.append(line)
        settled = _settled_by_line(line) if len(block) == 1 else None
        if settled is None and "\t" in line and " " in line.split("\t")[0].strip(_BLANK):
            settled = "tsv"
        if settled:
            return seen, settled
        if len(block) >= _MOST_LINES_FOR_DETECTION:
            break
    return seen, _settled_by_block(block)


def _settled_by_line(line: str) -> str | None:
    """The format that a first line settles, None if it may begin columns."""
    text = line.strip(_BLANK)
    if text.startswith("{") and (text.startswith('{"') or _is_json(text)):
        return "jsonl"
    if text.startswith("[") and _is_json(text):
        return "jsonl"  # an array of objects, which its parser refuses with a reason
    if text.startswith(_DOCUMENT_START):
        return "conll"
    if "\t" in text:
        columns = [column.strip(_BLANK) for column in text.split("\t")]
        if len(columns) == 2 and " " in columns[0] and all(map(_TAG.fullmatch, columns[1].split())):
            return "tsv"
        # Tabs hardly ever occur in prose: a tag that is malformed should be named, not hidden.
        return "text" if any(" " in column for column in columns) else None
    columns = text.split(" ")
    return None if len(columns) == 1 or _TAG.fullmatch(columns[-1]) else "text"


def _settled_by_block(block: Sequence[str]) -> str:
    if any("\t" in line for line in block):
        return "conll"
    rows = [_BLANKS.split(line.strip(_BLANK)) for line in block]
    tagged = sum(len(row) > 1 and bool(_TAG.fullmatch(row[-1])) for row in rows)
    if len(rows) == 1:  # "is that an O" is prose, "paris B-city" is not
        return "conll" if tagged and len(rows[0]) == 2 else "text"
    return "conll" if rows and 2 * tagged >= len(rows) else "text"


def _is_json(text: str) -> bool:
    """Whether a line is a JSON object, or an array that begins with one."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


# ---- Parsers -----------------------------------------------------------------------------------


def _conll(lines: Iterator[_Line], name: str) -> Iterator[Sentence]:
    words: list[str] = []
    tags: list[str] = []
    numbers: list[int] = []
    tabs: bool | None = None
    width: tuple[int, int] | None = None  # of the columns, and the line that set it

    def sentence() -> Sentence:
        result = _tagged(words, tags, lambda index: f"{name}:{numbers[index]}")
        words.clear()
        tags.clear()
        numbers.clear()
        return result

    for number, line in lines:
        text = line.strip(_BLANK)
        if not text or text.startswith(_DOCUMENT_START):
            if words:
                yield sentence()
            continue
        if tabs is None:
            tabs = "\t" in text or ("\t" in line and " " not in text)
        # Stripping the line itself would hide an empty last column.
        columns = (
            [column.strip(_BLANK) for column in line.split("\t")] if tabs else _BLANKS.split(text)
        )
        if len(columns) < 2:
            between = "tab" if tabs else "tab or blank"
            raise UserError(
                f"{name}:{number}: only one column, {text!r}; "
                f"write the word, a {between} and its tag on each line"
            )
        if width is None:
            width = len(columns), number
        if len(columns) != width[0]:
            raise UserError(
                f"{name}:{number}: {len(columns)} columns, but line {width[1]} has {width[0]}; "
                "give every line the same columns, the word first and the tag last"
            )
        if not columns[0]:
            raise UserError(f"{name}:{number}: the word is empty; remove the line or write one")
        words.append(columns[0])
        tags.append(columns[-1])
        numbers.append(number)
    if words:
        yield sentence()


def _jsonl(lines: Iterator[_Line], name: str) -> Iterator[Sentence]:
    labelled = False
    for number, line in lines:
        place = f"{name}:{number}"
        if not line.strip(_BLANK):
            yield Sentence((), () if labelled else None)
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{place}: not JSON ({error.msg} at character {error.pos + 1}); "
                'write one object a line, such as {"tokens": ["play", "it"], "tags": ["O", "O"]}'
            ) from None
        except (RecursionError, ValueError):
            raise UserError(f"{place}: not JSON that can be read; simplify the object") from None
        sentence = _from_record(record, place)
        labelled = sentence.tags is not None
        yield sentence


def _from_record(record: Any, place: str) -> Sentence:
    if not isinstance(record, dict):
        raise UserError(
            f"{place}: a {type(record).__name__}, not an object; "
            'write {"tokens": […], "tags": […]} or {"text": …} on each line'
        )
    key = next((key for key in ("tokens", "words", "text") if key in record), None)
    if key is None:
        keys = ", ".join(map(repr, list(record)[:5])) or "nothing"
        raise UserError(
            f"{place}: the object has neither 'tokens', 'words' nor 'text' but {keys}; "
            "name the sentence's words 'tokens'"
        )
    words = record[key]
    if key == "text":
        if not isinstance(words, str):
            raise UserError(f"{place}: 'text' is not a string; write the sentence in quotes")
        words = words.split()
    else:
        _check_strings(words, key, place)
    if "" in words:
        raise UserError(f"{place}: word {words.index('') + 1} is empty; remove it or write one")
    if any(map(_has_surrogate, words)):
        raise UserError(
            f"{place}: half of a surrogate pair in a word; write the character itself, or both \\u"
        )
    tags = record.get("tags")
    if tags is None:
        return Sentence(tuple(words))
    _check_strings(tags, "tags", place)
    _check_counts(words, tags, place)
    return _tagged(words, tags, partial(_always, place))


def _check_strings(value: Any, key: str, place: str) -> None:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise UserError(
            f"{place}: {key!r} is not a list of strings; write one string for every word"
        )


def _check_counts(words: Sequence[str], tags: Sequence[str], place: str) -> None:
    if len(words) != len(tags):
        raise UserError(
            f"{place}: {len(words)} words but {len(tags)} tags; give every word exactly one tag"
        )


def _tsv(lines: Iterator[_Line], name: str) -> Iterator[Sentence]:
    for number, line in lines:
        place = f"{name}:{number}"
        if not line.strip(_BLANK):
            yield Sentence((), ())
            continue
        columns = line.split("\t")
        if len(columns) != 2:
            raise UserError(
                f"{place}: {len(columns)} columns instead of 2; "
                "write the words, one tab, and as many tags"
            )
        words, tags = columns[0].split(), columns[1].split()
        _check_counts(words, tags, place)
        yield _tagged(words, tags, partial(_always, place))


def _text(lines: Iterator[_Line], name: str) -> Iterator[Sentence]:
    del name  # nothing in plain text is malformed
    for _, line in lines:
        yield Sentence(tuple(line.split()))


_PARSERS: dict[str, Callable[[Iterator[_Line], str], Iterator[Sentence]]] = {
    "conll": _conll,
    "jsonl": _jsonl,
    "tsv": _tsv,
    "text": _text,
}


def _always(place: str, index: int) -> str:
    del index  # one line holds the whole sentence
    return place


def _tagged(words: Sequence[str], tags: Sequence[str], place: Callable[[int], str]) -> Sentence:
    """The sentence with its tags converted to IOB2; `place` names where word `index` stands.

    IOB1 and IOB2 share one reading and BIOES shows itself by `E-` or `S-` in any sentence that has
    a span, so the scheme is told sentence by sentence and nothing has to be read ahead.
    """
    for index, tag in enumerate(tags):
        if not _TAG.fullmatch(tag):
            raise UserError(
                f"{place(index)}: tag {tag!r} of {words[index]!r} is neither 'O' nor a prefix with "
                "a label such as 'B-city'; correct the tag"
            )
    if all(tag == "O" for tag in tags):
        return Sentence(tuple(words), tuple(tags))
    scheme = "bioes" if any(tag[0] in "ES" for tag in tags) else "iob2"
    return Sentence(tuple(words), tuple(convert(tags, scheme, "iob2")))
