"""What an exported directory holds: graphs, a vocabulary, and `tagger.json`, which says how they are used.

`tagger.json` is that of the model directory that was exported, with one field more: `onnx`, the files
that have to be there with the SHA-256 of each. Settings that may be changed later, temperature and
thresholds, are in `tagger.json` itself, which has no hash.
"""

import dataclasses
import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

from distill_jax_runtime.errors import UserError
from distill_jax_runtime.json_files import check_no_pointer, read_json_object
from distill_jax_runtime.text import TextWords

TAGGER_FILE = "tagger.json"
EXPORT_FIELD = "onnx"
MODEL_FILE = "model.onnx"
"""Word ids and the vectors of their spellings to the scores of tags."""
SPELLING_FILE = "spelling.onnx"
"""Character ids to the vectors of spellings; of a tagger of words."""
SUBWORDS_FILE = "subwords.json"
"""How a tagger of subwords uses its vocabulary's file."""

_AGAIN = "copy the directory again, or export the model anew"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How an exported model tags.

    Attributes:
        reads: words and their characters, as a BiLSTM, or subwords.
        tags: the sBIO tags in the order of their ids: O, I, labels.
        temperature: divides the log-probabilities before they become posteriors.
        thresholds: for labels that have one, the score below which a span is dropped.
        max_chars: of a word, of which the rest is not read.
        text_words: how text becomes words.
        metadata: `name`, `role`, `metrics`, `training`: whatever else the file says.
    """

    reads: Literal["words", "subwords"]
    tags: tuple[str, ...]
    temperature: float
    thresholds: Mapping[str, float]
    max_chars: int
    text_words: TextWords
    metadata: Mapping[str, Any]


def tables_file(graph: Path) -> Path:
    """Where the large tables of a graph are, if it has such."""
    return graph.with_name(f"{graph.name}.data")


def is_exported(directory: str | os.PathLike[str]) -> bool:
    """Whether a directory holds an ONNX export, damaged or not."""
    return (Path(directory) / MODEL_FILE).is_file()


def read_settings(directory: str | os.PathLike[str]) -> Settings:
    """Reads `tagger.json`, and checks that the files it names are what was exported.

    Raises:
        UserError: in one line naming the file, if one is missing, damaged or malformed.
    """
    directory = Path(directory)
    path = directory / TAGGER_FILE
    if not path.is_file():
        raise UserError(
            f"{directory}: not an exported model (it has no {TAGGER_FILE}); give a directory that "
            "`distill-jax export --to onnx` wrote"
        )
    fields = read_json_object(path)
    export = fields.get(EXPORT_FIELD)
    if not isinstance(export, dict) or not isinstance(export.get("files"), dict):
        raise UserError(
            f"{directory}: a model directory that is not exported; write one for this runtime with "
            "`distill-jax export --to onnx`"
        )
    if not {SPELLING_FILE, SUBWORDS_FILE} & set(export["files"]):
        raise UserError(
            f"{directory}: a graph of subwords without {SUBWORDS_FILE} (of an older export, or a vocabulary "
            "with added tokens), which is for programs of one's own; export the model anew"
        )
    for name, digest in export["files"].items():
        _check_file(directory / Path(name).name, digest)
    return _settings(fields, path)


def _check_file(path: Path, digest: Any) -> None:
    try:
        with path.open("rb") as file:
            check_no_pointer(path, file.read(64))
            file.seek(0)
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {_AGAIN}") from None
    if found != digest:
        raise UserError(f"{path}: damaged, or not what was exported; {_AGAIN}")


def _settings(fields: Mapping[str, Any], path: Path) -> Settings:
    def wrong(name: str) -> UserError:
        return UserError(f"{path}: `{name}` is missing or malformed; {_AGAIN}")

    tags = fields.get("tags")
    if not isinstance(tags, list) or tags[:2] != ["O", "I"] or not all(map(_is_text, tags)):
        raise wrong("tags")
    temperature, thresholds = fields.get("temperature", 1.0), fields.get("thresholds", {})
    if not _is_number(temperature) or temperature <= 0:
        raise wrong("temperature")
    if not isinstance(thresholds, dict) or not all(map(_is_number, thresholds.values())):
        raise wrong("thresholds")
    max_chars, text_words = fields.get("max_chars", 20), fields.get("text_words", "blanks")
    if not isinstance(max_chars, int) or max_chars < 1:
        raise wrong("max_chars")
    if text_words not in get_args(TextWords):
        raise wrong("text_words")
    metadata = {
        name: fields[name] for name in ("name", "role", "metrics", "training") if name in fields
    }
    return Settings(
        "words" if SPELLING_FILE in fields[EXPORT_FIELD]["files"] else "subwords",
        tuple(tags),
        temperature,
        thresholds,
        max_chars,
        cast(TextWords, text_words),
        metadata,
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
