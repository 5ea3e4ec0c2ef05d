"""What a user may say about a file where it does not speak for itself."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.tagging.schemes import SCHEMES
from distill_jax_runtime.text import TEXT_WORDS, TextWords

FORMATS = ("conll", "conllu", "conll2012", "jsonl", "json", "tsv", "text", "datasets")


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file; what is None is recognised.

    Attributes:
        format: one of `FORMATS`.
        columns: the word column and the tag column, or the word column alone for words without
            tags: numbers from 1, or names where the file has some (JSON fields, Parquet columns, a
            header line, CoNLL-U).
        label_names: what integer tags stand for, in the order of the integers.
        scheme: one of `tagging.SCHEMES`.
        text_words: how a text becomes words, one of `TEXT_WORDS`. None: as `punctuation` where it
            has spans in characters, else as `blanks`. Text with a tag a word is split at blanks
            whatever is asked for.

    Raises:
        UserError: an unknown format, scheme or rule for words; columns that are not one or two.
    """

    format: str | None = None
    columns: tuple[str, ...] | None = None
    label_names: tuple[str, ...] | None = None
    scheme: str | None = None
    text_words: TextWords | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise UserError(
                f"{self.format!r} is not a file format; use one of {', '.join(FORMATS)}"
            )
        if self.scheme is not None and self.scheme not in SCHEMES:
            raise UserError(
                f"{self.scheme!r} is not a tagging scheme; use one of {', '.join(SCHEMES)}"
            )
        if self.text_words is not None and self.text_words not in TEXT_WORDS:
            raise UserError(
                f"{self.text_words!r} is no rule for the words of a text; use one of "
                f"{', '.join(TEXT_WORDS)}"
            )
        if self.columns is not None and len(self.columns) not in (1, 2):
            raise UserError(
                f"--columns names {len(self.columns)} columns; give WORD,TAG, or WORD alone for "
                "words without tags"
            )


def parse_columns(text: str) -> tuple[str, ...]:
    """The columns that `WORD,TAG` or `WORD` names. Raises `UserError` for anything else."""
    names = tuple(name.strip() for name in text.split(","))
    if len(names) not in (1, 2) or not all(names) or len(set(names)) != len(names):
        raise UserError(
            f"--columns {text!r}: give WORD,TAG, two different columns by number (from 1) or by "
            "name, or WORD alone for words without tags"
        )
    if any(re.fullmatch(r"0+|-\d+", name) for name in names):
        raise UserError(f"--columns {text!r}: columns are counted from 1")
    return names


def load_label_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """What integer tags stand for: a tag a line from 0 on, or a JSON file.

    The JSON is a list of tags, an object from integers to tags or from tags to integers, or what
    the `datasets` library writes as `dataset_info.json`, if one of its features has names.

    Raises `UserError` naming the file for anything else.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{path}: cannot read the label names ({error.strerror}); give an existing file"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save the file as UTF-8") from None
    names: Any
    if text.lstrip().startswith(("[", "{")):
        try:
            names = _names_in_json(json.loads(text))
        except (ValueError, RecursionError):
            raise UserError(f"{path}: not JSON; write one tag a line, that of 0 first") from None
    else:
        names = [line.strip() for line in text.strip().splitlines()]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise UserError(
            f"{path}: expected the tag of each integer, such as 'O' and 'B-city'; write one a line "
            "without gaps, that of 0 first, or a JSON list"
        )
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path}: {twice!r} occurs twice; each integer needs a tag of its own")
    return tuple(names)


def _names_in_json(value: Any) -> list[Any] | None:
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return None
    if "features" in value:
        return _names_of_features(value["features"])
    if value and all(isinstance(number, int) for number in value.values()):
        value = {str(number): name for name, number in value.items()}
    if set(value) != {str(number) for number in range(len(value))}:
        return None
    return [value[str(number)] for number in range(len(value))]


def _names_of_features(features: Any) -> list[Any] | None:
    """The names of the one feature that has some; of several, those of a usual name of tags."""
    named: dict[str, list[Any]] = {}
    if isinstance(features, dict):
        for name, feature in features.items():
            names = _class_names(feature)
            if names:
                named[name] = names
    for name in ("ner_tags", "tags", "labels", "ner"):
        if name in named:
            return named[name]
    return next(iter(named.values())) if len(named) == 1 else None


def _class_names(feature: Any) -> list[Any] | None:
    if isinstance(feature, dict):
        if isinstance(feature.get("names"), list):
            return feature["names"]
        for inner in feature.values():
            names = _class_names(inner)
            if names:
                return names
    return None
