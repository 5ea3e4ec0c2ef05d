"""The tagged sentences that `distill-jax evaluate` is given: files, or splits of tasks, one or several."""

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

from distill_jax.cli.input_options import read_options
from distill_jax.errors import UserError


class Part(NamedTuple):
    """The sentences of a file or a task, all with tags."""

    name: str
    sentences: Sequence[Any]


def gold_parts(options: argparse.Namespace) -> list[Part]:
    """What `--data` or `--task` names, a part each.

    Raises `UserError` if both or neither are given, or one is named twice, holds no sentences, or has some
    without tags.
    """
    if bool(options.data) == bool(options.task):
        raise UserError("evaluate needs either --data FILE… or --task NAME…")
    names = options.data or options.task
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{twice}: is given twice; name each file or task once")
    if not options.task and (options.split is not None or options.data_dir is not None):
        raise UserError("--split and --data_dir are of --task; leave them out")
    read = _of_task if options.task else _of_file
    return [_checked(Part(name, read(name, options))) for name in names]


def figures_of_parts(parts: Sequence[Part], figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What `evaluate` reports of several parts: `parts`, and `f1_mean`, where each part counts alike."""
    kept = ("sentences", "words", "f1", "precision", "recall", "f1_strict", "perfect")
    rows = [
        {"name": part.name, **{name: each[name] for name in kept}}
        for part, each in zip(parts, figures, strict=True)
    ]
    return {"parts": rows, "f1_mean": sum(row["f1"] for row in rows) / len(rows)}


def _of_file(path: str, options: argparse.Namespace) -> list[Any]:
    from distill_jax.data.readers import read_sentences

    return list(read_sentences(path, options=read_options(options)))


def _of_task(task: str, options: argparse.Namespace) -> list[Any]:
    import tempfile

    from distill_jax.data.prepare import prepare

    with tempfile.TemporaryDirectory(prefix="distill_jax-") as folder:
        parts = prepare(task, options.split or "test", folder, data_dir=options.data_dir)
        return [sentence for part in parts for sentence in part.dataset]


def _checked(part: Part) -> Part:
    if not part.sentences:
        raise UserError(f"{part.name}: holds no sentences; give tagged sentences to evaluate on")
    for number, sentence in enumerate(part.sentences, 1):
        if sentence.tags is None:
            raise UserError(
                f"{part.name}: sentence {number} has no tags; evaluation needs tagged sentences"
            )
    return part
