"""Several tagging tasks as one, such as the languages of a set: one label set, all sentences."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from distill_jax.data.seqio_lookup import read_task, resolve, task_files, task_labels, task_splits
from distill_jax.data.seqio_tasks import register_tagging_task
from distill_jax.errors import UserError
from distill_jax.tagging import LabelSet, Sentence

_ORDER = ("train", "valid", "test")


def register_union(name: str, parts: Sequence[str]) -> None:
    """Registers a task of the sentences of other tasks, one part after the other in each split.

    A run mixes the parts in proportion to their sizes, and everything that takes one task takes this one:
    few-shot subsets, students, labelling. A split is there if a part has it.

    Raises `UserError` if a part is not known; and, when it is used, if the parts' labels are not the same.
    """
    parts = tuple(map(resolve, parts))
    splits = dict.fromkeys(split for part in parts for split in task_splits(part))
    register_tagging_task(
        name,
        source=functools.partial(_sentences, parts),
        splits=sorted(splits, key=lambda split: (split not in _ORDER, *_place(split))),
        labels=functools.partial(_labels, name, parts),
        files=functools.partial(_files, parts),
    )


def _place(split: str) -> tuple[int, str]:
    return (_ORDER.index(split) if split in _ORDER else 0, split)


def _with(parts: Sequence[str], split: str) -> list[str]:
    return [part for part in parts if split in task_splits(part)]


def _sentences(parts: Sequence[str], split: str) -> Iterator[Sentence]:
    for part in _with(parts, split):
        yield from read_task(part, split)


def _files(parts: Sequence[str], split: str) -> list[Path]:
    files = [file for part in _with(parts, split) for file in task_files(part, split)]
    return list(dict.fromkeys(files))


def _labels(name: str, parts: Sequence[str]) -> LabelSet:
    first, *others = [(part, task_labels(part)) for part in parts]
    for part, labels in others:
        if labels != first[1]:
            raise UserError(
                f"task {name!r}: {first[0]} and {part} have other labels; tasks that are to be one need the "
                "same label set (a labels.txt)"
            )
    assert first[1] is not None, "they are tagged"
    return first[1]
