"""The files that `fit` leaves, for peers in a Python without this project."""

import json
from pathlib import Path

Sentences = list[tuple[list[str], list[str]]]
"""Words and IOB2 tags."""


def read(path: str) -> Sentences:
    """A sentence a line, with `tokens` and `tags`."""
    lines = map(json.loads, Path(path).read_text("utf-8").splitlines())
    return [(line["tokens"], line["tags"]) for line in lines]
