"""What a model directory says about tagging beyond the model itself: the file `tagger.json`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.files import read_json_object, write_json
from distill_jax.inference.settings import TaggerSettings
from distill_jax.model_dir.looks import TAGGER, check_model_directory
from distill_jax.tagging.labels import LabelSet

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class TaggerFile:
    """The content of `tagger.json`.

    `vocabulary_hash` and the labels' own hash tie the file to the vocabulary and the label set the
    model was trained with. `metadata` holds `name`, `role`, `metrics` and `training`, where given.
    """

    labels: LabelSet
    settings: TaggerSettings
    vocabulary_hash: str
    lowercase_words: bool
    metadata: Mapping[str, Any]

    def to_fields(self) -> dict[str, Any]:
        """What `write` puts into the file."""
        labels = self.labels
        return {
            "schema_version": SCHEMA_VERSION,
            **self.metadata,
            "labels": [
                {"name": name, "text": text}
                for name, text in zip(labels.names, labels.texts, strict=True)
            ],
            "tags": list(labels.tags),
            "label_hash": labels.content_hash(),
            "vocabulary_hash": self.vocabulary_hash,
            "lowercase_words": self.lowercase_words,
            **self.settings.to_fields(),
        }


def read_tagger_file(directory: Path) -> TaggerFile:
    """Reads a model directory's `tagger.json`.

    Raises:
        UserError: the file is missing, malformed, of a later version, or contradicts itself.
    """
    path = directory / TAGGER
    check_model_directory(directory)
    fields = read_json_object(path)
    version = fields.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path}: schema_version is {version!r}, this program reads {SCHEMA_VERSION}; use the "
            "version of distill_jax that wrote it"
        )
    try:
        labels = LabelSet(
            tuple(_string(label["name"]) for label in fields["labels"]),
            tuple(_string(label["text"]) for label in fields["labels"]),
        )
        hashes = _string(fields["label_hash"]), _string(fields["vocabulary_hash"])
        lowercase = fields.get("lowercase_words", False)
        if not isinstance(lowercase, bool):
            raise UserError(f"`lowercase_words` is {lowercase!r}; it must be true or false")
        known = {field.name for field in dataclasses.fields(TaggerSettings)}
        settings = TaggerSettings(**{name: fields[name] for name in known & set(fields)})
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path}: `labels`, `label_hash` or `vocabulary_hash` is missing or malformed; copy "
            "the file again"
        ) from error
    if hashes[0] != labels.content_hash():
        raise UserError(
            f"{path}: the labels are not those the model was trained with (label_hash differs); "
            "undo the change or copy the file again"
        )
    if fields.get("tags", list(labels.tags)) != list(labels.tags):
        raise UserError(
            f"{path}: `tags` is not O, I and the labels in their order; copy the file again"
        )
    if unknown := sorted(set(settings.thresholds) - set(labels.names)):
        raise UserError(f"{path}: threshold for {unknown[0]!r}, which is no label; remove it")
    metadata = {name: fields[name] for name in METADATA if name in fields}
    return TaggerFile(labels, settings, hashes[1], lowercase, metadata)


def write_temperature(directory: Path, temperature: float) -> None:
    """Puts a temperature into a model directory's `tagger.json`; all else in it stays as it is.

    Raises:
        UserError: as `read_tagger_file`, or the temperature is not a number above 0. The file is
            then as it was.
    """
    settings = read_tagger_file(directory).settings
    dataclasses.replace(settings, temperature=temperature)  # checks it
    fields = read_json_object(directory / TAGGER)
    write_json(directory / TAGGER, {**fields, "temperature": temperature})


METADATA = ("name", "role", "metrics", "training")


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value
