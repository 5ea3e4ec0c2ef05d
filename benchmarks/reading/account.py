"""Counts the words of a file without the readers, and compares that with what they read."""

import json
import re
from collections.abc import Iterator
from typing import Any

from distill_jax.data.readers import ReadReport
from distill_jax.tagging import Sentence

_LINE_END = re.compile(r"\r*\n|\r")


def missing(content: bytes, sentences: list[Sentence], report: ReadReport) -> str | None:
    """What of a file's words is in neither sentences nor report; None if all is accounted for."""
    lines = _LINE_END.split(content.decode("utf-8"))
    lines = [line.lstrip("\ufeff") for line in lines]
    filled = [line for line in lines if line.strip()]
    if not filled:
        return "words of nothing" if any(sentence.words for sentence in sentences) else None
    if report.format == "text":
        expected = [word for line in lines for word in line.split()]
        words = [word for sentence in sentences for word in sentence.words]
        return None if words == expected else "words of text"
    if report.format == "tsv":
        given = [list(sentence.words) for sentence in sentences if sentence.words]
        expected_words = [line.partition("\t")[0].split() for line in filled]
        return None if given == [words for words in expected_words if words] else "words of tsv"
    if report.format == "jsonl":
        return _missing_records([json.loads(line) for line in filled], sentences, report)
    if report.format == "json":
        return _missing_records(_records(json.loads("\n".join(lines))), sentences, report)
    words = [word for sentence in sentences for word in sentence.words]
    if len(words) + report.lines_without_words != len(filled):
        return f"{len(filled)} lines, {len(words)} words, {report.lines_without_words} left out"
    left = report.lines_without_words
    at = 0
    for line in filled:
        if at < len(words) and words[at] in line:
            at += 1
        else:
            left -= 1
    return None if left >= 0 else "words in another order than lines"


def _records(value: Any) -> list[Any]:
    while isinstance(value, dict):
        inner = [v for v in value.values() if isinstance(v, list | dict)]
        is_record = {"text", "tokens", "words", "tokenized_text", "data"} & value.keys()
        if is_record or len(inner) != 1:
            return [value]
        value = inner[0]
    return list(value)


def _missing_records(
    records: list[Any], sentences: list[Sentence], report: ReadReport
) -> str | None:
    rejected = report.remarks.get("rejected_records")
    kept = [
        one
        for one in records
        if not (isinstance(one, dict) and one.get("answer") in ("reject", "ignore"))
    ]
    if len(kept) < len(records) and (rejected is None or rejected.count < len(records) - len(kept)):
        return "rejected records are not counted"
    filled = [sentence for sentence in sentences if sentence.words]
    possible = [list(_possible_words(one)) for one in kept]
    wordless = [_may_be_wordless(one) for one in kept]
    at = 0
    for words, may_be_empty in zip(possible, wordless, strict=True):
        if at < len(filled) and list(filled[at].words) in words:
            at += 1
        elif not may_be_empty:
            return f"words of the record that may be {words[:2]}"
    return None if at == len(filled) else "more sentences than records"


def _may_be_wordless(record: Any) -> bool:
    """Whether what may hold a record's words is empty somewhere."""
    if isinstance(record, list):
        return bool(record) and isinstance(record[0], str) and not record[0].strip()
    if not isinstance(record, dict):
        return False
    inner = record.get("data")
    fields = {**record, **(inner if isinstance(inner, dict) else {})}
    return any(
        value is not None and not (value.strip() if isinstance(value, str) else value)
        for name, value in fields.items()
        if name in ("text", "tokens", "words", "tokenized_text", "data", "sentence", "content")
    )


def _possible_words(value: Any) -> Iterator[list[str]]:
    """Every list of words that a record may stand for: its strings split, its lists of strings."""
    if isinstance(value, str):
        yield value.split()
    elif isinstance(value, dict):
        text = value.get("text")
        for tokens in value.values() if isinstance(text, str) else ():
            if isinstance(tokens, list):  # a token without a text has a place in that of the record
                yield [word for word in _texts(tokens, text) if word.strip()]
        for inner in value.values():
            yield from _possible_words(inner)
    elif isinstance(value, list):
        if all(isinstance(one, str) for one in value):
            yield value
        if all(isinstance(one, dict) and isinstance(one.get("text"), str) for one in value):
            yield [one["text"] for one in value if one["text"].strip()]
        for inner in value:
            yield from _possible_words(inner)


def _texts(tokens: list[Any], text: str) -> Iterator[str]:
    for token in tokens:
        if isinstance(token, dict):
            start, end = token.get("start", 0), token.get("end", 0)
            is_placed = isinstance(start, int) and isinstance(end, int)
            yield str(token.get("text", text[start:end] if is_placed else ""))
