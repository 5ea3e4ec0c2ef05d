"""What a model directory says about tagging beyond the model itself: the file `tagger.json`."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from distill_jax.errors import UserError
from distill_jax.files import read_json_object, write_json
from distill_jax.sentscore.likelihood import Normaliser
from distill_jax.tagging.labels import LabelSet

TAGGER = "tagger.json"
SCHEMA_VERSION = 1

TaggerFormat = Literal["sent_prime", "word_tags"]


@dataclasses.dataclass(frozen=True)
class TaggerSettings:
    """How a model is used to tag.

    Attributes:
        format: `sent_prime` for an encoder-decoder that writes SenT', `word_tags` for a model that
            gives each word its tag scores.
        normaliser: of SenTScore; of no effect with `word_tags`.
        temperature: divides the log-likelihoods before they become posteriors.
        thresholds: for labels that have one, the score below which a span is dropped.
        max_chars: of a word, for a model that reads characters.
        single_token_tags: whether each tag is one token of its own instead of its label's text; of
            no effect with `word_tags`.

    Raises:
        UserError: a value is not one of those possible.
    """

    format: TaggerFormat = "sent_prime"
    normaliser: Normaliser = "vocab"
    temperature: float = 1.0
    thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    max_chars: int = 20
    single_token_tags: bool = False

    def __post_init__(self) -> None:
        for name, known in (
            ("format", get_args(TaggerFormat)),
            ("normaliser", get_args(Normaliser)),
        ):
            if getattr(self, name) not in known:
                raise UserError(f"{name} is {getattr(self, name)!r}; use {' or '.join(known)}")
        if not _is_number(self.temperature) or not self.temperature > 0:
            raise UserError(f"temperature is {self.temperature!r}; use a number above 0")
        if not isinstance(self.thresholds, Mapping) or not all(
            _is_number(value) for value in self.thresholds.values()
        ):
            raise UserError(f"thresholds are {self.thresholds!r}; give each label a number")
        if not isinstance(self.max_chars, int) or self.max_chars < 1:
            raise UserError(f"max_chars is {self.max_chars!r}; use a whole number from 1")
        if not isinstance(self.single_token_tags, bool):
            raise UserError(f"single_token_tags is {self.single_token_tags!r}; use true or false")

    def to_fields(self) -> dict[str, Any]:
        """As they stand in `tagger.json`."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**fields, "thresholds": dict(self.thresholds)}


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
    if not path.is_file():
        if (directory / "model" / TAGGER).is_file():
            raise UserError(
                f"{directory}: the directory of a run, not of a model; give {directory / 'model'}"
            )
        raise UserError(
            f"{directory}: not a model directory (it has no {TAGGER}); give one that training, "
            "`distill-jax demo` or `distill-jax import` wrote"
        )
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
