"""Sets of several languages: folders `NAME/LANGUAGE/` with a file for each split, as MasakhaNER has them.

Each language is the task `NAME_LANGUAGE`, all of them together are the task `NAME`, and some are
`NAME_ONE.OTHER`. They all have one label set: that of `NAME/labels.txt`, or the labels that occur in any of
the languages, sorted; so a model of some languages can be used for others.
"""

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path

from distill_jax.data.folders import (
    READING_FILE,
    SPLITS,
    files_of_split,
    language_folders,
    read_split,
    split_candidates,
    split_file,
)
from distill_jax.data.locations import data_dir
from distill_jax.data.seqio_tasks import add_resolver, canonical_name, register_tagging_task
from distill_jax.data.seqio_unions import register_union
from distill_jax.errors import UserError
from distill_jax.tagging import LabelSet, Sentence

_LABELS_FILE = "labels.txt"


def _sets() -> Iterator[tuple[Path, dict[str, Path]]]:
    """The folders of the data directory that hold languages, and these by their canonical names."""
    root = data_dir()
    if root is None or not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not split_candidates(folder, "train"):
            languages = {canonical_name(each.name): each for each in language_folders(folder)}
            if languages:
                yield folder, languages


def _sentences(folder: Path, split: str) -> Iterator[Sentence]:
    path = split_file(folder, split)
    if path is None:
        raise UserError(f"{folder}: the {split} split is not there any more; put it back")
    return read_split(path)


def _labels(folder: Path) -> LabelSet:
    path = folder / _LABELS_FILE
    if path.exists():
        return LabelSet.load(path)
    files = [split_file(each, split) for each in language_folders(folder) for split in SPLITS]
    there = [file for file in files if file is not None]
    return _labels_in(tuple((str(file), file.stat().st_mtime_ns) for file in there))


@functools.lru_cache(maxsize=8)
def _labels_in(files: tuple[tuple[str, int], ...]) -> LabelSet:
    """The labels in files of these times; every language of a set asks for those of all."""
    sentences = (read_split(Path(path)) for path, _ in files)
    return LabelSet.from_sentences(itertools.chain.from_iterable(sentences))


def _files(folder: Path, language: Path, split: str) -> list[Path]:
    """What a split and the label set are made from."""
    paths = [split_file(language, split), *(split_file(language, each) for each in SPLITS)]
    if not (folder / _LABELS_FILE).exists():
        paths += [split_file(each, s) for each in language_folders(folder) for s in SPLITS]
    found = dict.fromkeys(path for path in paths if path is not None)
    others = (folder / _LABELS_FILE, language / READING_FILE)
    files = itertools.chain.from_iterable(map(files_of_split, found))
    return [*files, *(path for path in others if path.exists())]


def _register_language(name: str, folder: Path, language: Path) -> None:
    register_tagging_task(
        name,
        source=functools.partial(_sentences, language),
        splits=tuple(split for split in SPLITS if split_file(language, split) is not None),
        labels=functools.partial(_labels, folder),
        files=functools.partial(_files, folder, language),
    )


def _resolve(name: str) -> bool:
    for folder, languages in _sets():
        prefix = canonical_name(folder.name)
        if name == prefix:
            register_union(name, [f"{prefix}_{language}" for language in languages])
            return True
        if not name.startswith(f"{prefix}_"):
            continue
        chosen = name.removeprefix(f"{prefix}_").split(".")
        if not set(chosen) <= set(languages):
            continue
        if len(chosen) == 1:
            _register_language(name, folder, languages[chosen[0]])
        else:
            register_union(name, [f"{prefix}_{language}" for language in chosen])
        return True
    return False


def _names() -> list[str]:
    names = []
    for folder, languages in _sets():
        prefix = canonical_name(folder.name)
        names += [prefix, *(f"{prefix}_{language}" for language in languages)]
    return names


add_resolver(_resolve, _names)
