"""The options that say how a file of sentences is to be read; shared by the commands that read one."""

import argparse
import dataclasses
from typing import Any

from distill_jax.errors import UserError


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """`--format`, `--columns`, `--label_names`, `--scheme` and `--text_words`."""
    from distill_jax.data.readers.options import FORMATS
    from distill_jax.tagging.schemes import SCHEMES
    from distill_jax_runtime.text import TEXT_WORDS

    group = parser.add_argument_group(
        "input", "what a file does not say by itself; docs/data.md has the formats"
    )
    group.add_argument("--format", choices=FORMATS, help="default: recognised")
    group.add_argument(
        "--columns",
        metavar="WORD,TAG",
        help="which columns hold words and tags: numbers from 1, or names (JSON fields, a header); WORD "
        "alone for words without tags",
    )
    group.add_argument(
        "--label_names",
        metavar="FILE",
        help="what integer tags stand for: a tag a line, that of 0 first, or JSON",
    )
    group.add_argument(
        "--scheme", choices=SCHEMES, help="the scheme of the tags; default: recognised"
    )
    group.add_argument(
        "--text_words",
        choices=[rule for rule in TEXT_WORDS if rule != "given"],
        help="how a text becomes words, where a file does not give them; default: as the model has it",
    )


def add_strict_option(parser: argparse.ArgumentParser) -> None:
    """`--strict`."""
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse a word that is too long for the model; default: read its beginning, and say at the "
        "end which ones",
    )


def read_options(options: argparse.Namespace) -> Any:
    """The `ReadOptions` of what was parsed. Raises `UserError` for columns or names that are none."""
    from distill_jax.data.readers import ReadOptions, load_label_names, parse_columns

    return ReadOptions(
        format=options.format,
        columns=None if options.columns is None else parse_columns(options.columns),
        label_names=None if options.label_names is None else load_label_names(options.label_names),
        scheme=options.scheme,
        text_words=options.text_words,
    )


def refuse_for_task(reading: Any, task: str) -> None:
    """Raises `UserError` if a task is given options that say how a file is to be read."""
    given = [
        f"--{name}"
        for name in ("format", "columns", "label_names", "scheme")
        if getattr(reading, name) is not None
    ]
    if given:
        raise UserError(
            f"{task}: a task reads its files as reading.json beside them says; {', '.join(given)} is of "
            "files, so leave it out"
        )


def as_model_reads(reading: Any, settings: Any) -> Any:
    """`ReadOptions` by which texts become words as a model's `settings` have it, unless they say how."""
    if reading.text_words is not None:
        return reading
    return dataclasses.replace(reading, text_words=settings.text_words)
