"""The tagged sentences that `distill-jax evaluate` is given: files, or splits of tasks, one or several."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from distill_jax.cli.input_options import refuse_for_task
from distill_jax.errors import UserError


class Part(NamedTuple):
    """The sentences of a file or a task, all with tags."""

    name: str
    sentences: Sequence[Any]


def check_either(options: argparse.Namespace) -> None:
    """Raises `UserError` if both or neither of `--data` and `--task` are given."""
    if bool(options.data) == bool(options.task):
        raise UserError("evaluate needs either --data FILE… or --task NAME…")


def gold_parts(options: argparse.Namespace, reading: Any) -> list[Part]:
    """What `--data` or `--task` names (`check_either`), a part each; `reading`: `ReadOptions` of files.

    Raises `UserError` if one is named twice, holds no sentences, or has some without tags.
    """
    names = options.data or options.task
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{twice}: is given twice; name each file or task once")
    if not options.task and (options.split is not None or options.data_dir is not None):
        raise UserError("--split and --data_dir are of --task; leave them out")
    if options.task:
        refuse_for_task(reading, names[0])
        return [Part(name, _of_task(name, options, reading.text_words)) for name in names]
    return [Part(name, gold_sentences(name, reading)) for name in names]


def figures_of_parts(parts: Sequence[Part], figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What `evaluate` reports of several parts: `parts`, and `f1_mean`, where each part counts alike."""
    kept = ("sentences", "words", "f1", "precision", "recall", "f1_strict", "perfect")
    rows = [
        {"name": part.name, **{name: each[name] for name in kept}}
        for part, each in zip(parts, figures, strict=True)
    ]
    return {"parts": rows, "f1_mean": sum(row["f1"] for row in rows) / len(rows)}


def gold_sentences(path: str, reading: Any) -> list[Any]:
    """The sentences of a file; `UserError` if there are none, or one has no tags."""
    from distill_jax.data.readers import read_sentences

    return _checked(path, list(read_sentences(path, options=reading)))


def _of_task(task: str, options: argparse.Namespace, text_words: Any) -> list[Any]:
    import tempfile

    from distill_jax.data.prepare import prepare
    from distill_jax.jobs.pool import check_text_words

    with tempfile.TemporaryDirectory(prefix="distill_jax-") as folder:
        parts = prepare(task, options.split or "test", folder, data_dir=options.data_dir)
        for part in parts:
            check_text_words(part.dataset, text_words)
        return _checked(task, [sentence for part in parts for sentence in part.dataset])


def _checked(name: str, sentences: list[Any]) -> list[Any]:
    if not sentences:
        raise UserError(f"{name}: holds no sentences; give tagged sentences to evaluate on")
    for number, sentence in enumerate(sentences, 1):
        if sentence.tags is None and sentence.words:
            raise UserError(
                f"{name}: sentence {number} has no tags; evaluation needs tagged sentences"
            )
    # A blank line that comes before the first record cannot tell whether there will be tags.
    return [one if one.words else dataclasses.replace(one, tags=()) for one in sentences]
