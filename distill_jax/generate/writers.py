"""The ways to write by their names, and the file in which a generator keeps its own."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.files import read_json_object, write_json
from distill_jax.generate.infill import InfillWriter
from distill_jax.generate.labelled import LabelledWriter
from distill_jax.generate.prompt import Writer
from distill_jax.generate.text import TextWriter

GENERATOR = "generator.json"
SCHEMA = 1
WRITERS: dict[str, type] = {
    writer.kind: writer for writer in (TextWriter, InfillWriter, LabelledWriter)
}


def save_writer(directory: str | os.PathLike[str], writer: Writer) -> None:
    """Writes `generator.json`: which kind of writer, and its settings."""
    fields = {"schema": SCHEMA, "kind": writer.kind, **describe(writer)}
    write_json(Path(directory) / GENERATOR, fields)


def load_writer(directory: str | os.PathLike[str]) -> Writer | None:
    """The writer that a generator was trained as; None where the directory is none's.

    Raises `UserError` if the file is malformed.
    """
    path = Path(directory) / GENERATOR
    if not path.exists():
        return None
    fields = dict(read_json_object(path))
    made = WRITERS.get(fields.pop("kind", ""))
    if fields.pop("schema", None) != SCHEMA or made is None:
        raise UserError(f"{path}: not of this version; train the generator again")
    try:
        return made(**fields)
    except TypeError:
        raise UserError(f"{path}: fields are missing or unknown; copy the file again") from None


def describe(writer: Writer) -> dict[str, Any]:
    """Its settings as JSON."""
    return dataclasses.asdict(writer)  # type: ignore[call-overload]
