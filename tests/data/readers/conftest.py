"""Reading what a test writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_jax.data.readers import ReadOptions, ReadReport, parse_columns, read_sentences
from distill_jax.tagging import Sentence

Read = Callable[..., tuple[list[Sentence], ReadReport]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes content (text, bytes, or a value as a line of JSON) under a name, and reads it."""

    def write_and_read(
        content: Any, name: str = "file.conll", columns: str | None = None, **options: Any
    ) -> tuple[list[Sentence], ReadReport]:
        path = tmp_path / name
        if not isinstance(content, str | bytes):
            content = json.dumps(content, ensure_ascii=False) + "\n"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        chosen = None if columns is None else parse_columns(columns)
        report = ReadReport()
        given = ReadOptions(columns=chosen, **options)
        return list(read_sentences(path, options=given, report=report)), report

    return write_and_read
