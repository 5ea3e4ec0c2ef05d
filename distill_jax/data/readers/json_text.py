"""JSON lines and JSON documents, as records with their lines."""

import json
import re
from collections.abc import Iterator
from json.decoder import JSONDecodeError
from typing import Any, NoReturn

from distill_jax.data.readers.records import RecordReader, identity
from distill_jax.data.readers.source import Line, Located, Source, is_blank
from distill_jax.tagging.sentence import Sentence

_SPACE = re.compile(r"[ \t\n\r]*")
_EXAMPLE = '{"tokens": ["play", "it"], "tags": ["O", "O"]}'
_RECORD_KEYS = (
    "data",
    "examples",
    "sentences",
    "records",
    "rows",
    "items",
    "documents",
    "docs",
    "tasks",
    "annotations",
    "common_examples",
    "rasa_nlu_data",
)
_SPLITS = ("train", "valid", "validation", "dev", "test")


class _RepeatedKeyError(ValueError):
    """Which key; Python's JSON would keep the last and lose the others."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(repr(next(key for key in keys if keys.count(key) > 1)))
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct)


def read_json_lines(lines: Iterator[Line], source: Source) -> Iterator[Located]:
    """The sentences of JSON lines; a blank line is a sentence without words."""
    reader = RecordReader(source)
    is_tagged = False
    for number, line in lines:
        if is_blank(line):
            yield Located(number, Sentence((), () if is_tagged else None))
            continue
        try:
            record = _DECODER.decode(line)
        except _RepeatedKeyError as error:
            source.fail(number, f"the key {error} occurs twice in one object; keep one of them")
        except JSONDecodeError as error:
            source.fail(
                number,
                f"not JSON ({error.msg} at character {error.pos + 1}); "
                f"write one object a line, such as {_EXAMPLE}",
            )
        except (RecursionError, ValueError):
            source.fail(number, "not JSON that can be read; simplify the object")
        sentence = reader.read(record, number)
        if sentence is not None:
            is_tagged = sentence.tags is not None
            yield Located(number, sentence, identity(record))
    reader.finish()


def read_json_document(lines: Iterator[Line], source: Source) -> Iterator[Located]:
    """The sentences of one JSON document: an array of records, or an object that holds one."""
    first = 0
    parts: list[str] = []
    for number, line in lines:
        first = first or number
        parts.append(line)
    text = "\n".join(parts)
    if not text.strip():
        return
    reader = RecordReader(source)
    for position, record in _Document(text, source, first).records():
        number = text.count("\n", 0, position) + first
        sentence = reader.read(record, number)
        if sentence is not None:
            yield Located(number, sentence, identity(record))
    reader.finish()


class _Document:
    """A JSON text that is decoded record by record, so that each has its place."""

    def __init__(self, text: str, source: Source, first_line: int) -> None:
        self._text = text
        self._source = source
        self._first_line = first_line

    def records(self) -> Iterator[tuple[int, Any]]:
        """Each record of the document and the position at which it begins."""
        start = self._skip(0)
        # Whole first: a damaged file gives no sentence.
        value, end = self._value(start, json.JSONDecoder())
        if self._skip(end) != len(self._text):
            self._fail(self._skip(end), "something follows the JSON value")
        while True:
            if isinstance(value, list):
                yield from self._elements(start)
                return
            if not isinstance(value, dict):
                self._fail(start, f"a {type(value).__name__}, not a list of records")
            key = self._key_of_records(value, start)
            if key is None:
                yield start, self._value(start)[0]
                return
            start = self._member(start, key)
            value = value[key]

    def _key_of_records(self, value: dict[str, Any], position: int) -> str | None:
        """The key under which an object holds its records; None if it is a record itself."""
        splits = [name for name in _SPLITS if isinstance(value.get(name), list)]
        if splits and len(splits) == len(value) > 1:
            self._fail(
                position, f"holds several splits ({', '.join(splits)}); write a file for each"
            )
        if any(name in value for name in ("text", "tokens", "words", "content")):
            return None
        lists = [name for name in value if isinstance(value[name], list | dict)]
        named = [name for name in _RECORD_KEYS if name in lists]
        is_label_studio = isinstance(value.get("data"), dict)
        if is_label_studio or not lists:
            return None
        if len(named) == 1:
            return named[0]
        return lists[0] if len(lists) == len(value) == 1 else None

    def _skip(self, position: int) -> int:
        matched = _SPACE.match(self._text, position)
        return matched.end() if matched else position

    def _value(self, position: int, decoder: json.JSONDecoder = _DECODER) -> tuple[Any, int]:
        try:
            return decoder.raw_decode(self._text, position)
        except _RepeatedKeyError as error:
            self._fail(position, f"the key {error} occurs twice in one object")
        except JSONDecodeError as error:
            self._fail(error.pos, f"not JSON ({error.msg})")
        except (RecursionError, ValueError):
            self._fail(position, "not JSON that can be read")

    def _elements(self, position: int) -> Iterator[tuple[int, Any]]:
        position = self._skip(position + 1)
        while self._text[position] != "]":
            value, end = self._value(position)
            yield position, value
            position = self._skip(end)
            if self._text[position] == ",":
                position = self._skip(position + 1)

    def _member(self, position: int, wanted: str) -> int:
        """Where the value of a key begins; of a key that occurs twice the last, as `json` reads it."""
        place = -1
        position = self._skip(position + 1)
        while self._text[position] != "}":
            key, end = self._value(position)
            position = self._skip(self._skip(end) + 1)
            if key == wanted:
                place = position
            _, end = self._value(position)
            position = self._skip(end)
            if self._text[position] == ",":
                position = self._skip(position + 1)
        return place

    def _fail(self, position: int, reason: str) -> NoReturn:
        line = self._text.count("\n", 0, position) + self._first_line
        self._source.fail(
            line,
            f"{reason}; write a JSON array of objects such as {_EXAMPLE}, or one object a line as "
            ".jsonl",
        )
