"""A folder with a file for each split: under which names, and how its files are read.

The training split is `train`, the validation split `valid`, `dev`, `validation` or `val`, the test split
`test`, with one of `SUFFIXES` (CoNLL-2003's own `train.txt` among them), a table of the library
`datasets`, or a folder of that name with `seq.in` and `seq.out`. `reading.json` beside them says what
the files do not say by themselves: `{"columns": "2,3", "scheme": "bilou", "format": "conll",
"label_names": ["O", "B-city", "I-city"], "text_words": "blanks"}`, each if need be.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

from distill_jax.data.readers import (
    Located,
    ReadOptions,
    parse_columns,
    read_located,
    split_path,
    splits_of,
)
from distill_jax.data.readers.pairs import tags_beside
from distill_jax.errors import UserError
from distill_jax.tagging.sentence import Sentence

SPLITS = ("train", "valid", "test")
_STEMS = {"train": ("train",), "valid": ("valid", "dev", "validation", "val"), "test": ("test",)}
SUFFIXES = (
    ".conll",
    ".jsonl",
    ".tsv",
    ".txt",
    ".json",
    ".conllu",
    ".iob2",
    ".iob",
    ".bio",
    ".bioes",
    ".parquet",
)
READING_FILE = "reading.json"
_EXAMPLES: dict[str, str | list[str]] = {
    "columns": "2,3",
    "label_names": ["O", "B-city"],
    "scheme": "bare",
    "format": "conll",
    "text_words": "blanks",
}
"""What it may hold: the options of the command line, with a value of each."""


def split_candidates(folder: Path, split: str) -> list[Path]:
    """The files (or saved tables) of a folder that may be this split."""
    paths = [folder / f"{stem}{suffix}" for stem in _STEMS[split] for suffix in SUFFIXES]
    paths += [folder / stem / "seq.in" for stem in _STEMS[split]]  # ATIS, SNIPS
    files = [path for path in paths if path.is_file()]
    table = split_path(folder, split)
    return files or ([] if table is None else [table])


def split_file(folder: Path, split: str) -> Path | None:
    """The file of a split, None if there is none. Raises `UserError` if there are several."""
    paths = split_candidates(folder, split)
    if len(paths) > 1:
        names = " and ".join(str(path.relative_to(folder)) for path in paths)
        raise UserError(
            f"{folder}: holds {names}, either of which may be the {split} split; keep one there"
        )
    return paths[0] if paths else None


def language_folders(folder: Path) -> list[Path]:
    """The folders in a folder that have a training split: of a set, its languages."""
    inside = sorted(each for each in folder.iterdir() if each.is_dir())
    return [each for each in inside if split_candidates(each, "train")]


def looked_for(*splits: str) -> str:
    """Which names these splits may have, for messages."""
    stems = ", ".join(stem for split in splits for stem in _STEMS[split])
    return (
        f"looked for {stems} with {', '.join(SUFFIXES)}, for folders with seq.in, and for tables of "
        "`datasets`"
    )


def read_split(path: Path) -> Iterator[Sentence]:
    """The sentences of a split's file, as the folder's `reading.json` says."""
    return (located.sentence for located in read_located_split(path))


def read_located_split(path: Path, options: ReadOptions | None = None) -> Iterator[Located]:
    """As `read_split`, each sentence with its line; each of `options` comes before `reading.json`'s.

    Raises `UserError` as the readers do, and for a `reading.json` that is malformed.
    """
    given = {name: v for name, v in vars(options or ReadOptions()).items() if v is not None}
    options = dataclasses.replace(_reading(_task_folder(path)), **given)
    try:
        yield from read_located(path, options=options)
    except UserError as error:
        option = re.search(rf"--({'|'.join(_EXAMPLES)})\b", str(error))
        if option is None:
            raise
        example = json.dumps({option[1]: _EXAMPLES[option[1]]})
        file = _task_folder(path) / READING_FILE
        raise UserError(f"{error} (of a task: in {file}, such as {example})") from None


def _task_folder(path: Path) -> Path:
    """The folder that has this split."""
    return path.parent.parent if path.name == "seq.in" else path.parent


def _reading(folder: Path) -> ReadOptions:
    path = folder / READING_FILE
    if not path.exists():
        return ReadOptions()
    example = json.dumps({name: _EXAMPLES[name] for name in ("columns", "label_names")})
    try:
        fields = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError):
        raise UserError(f"{path}: not a JSON file; write an object such as {example}") from None
    if not isinstance(fields, dict) or fields.keys() - _EXAMPLES.keys():
        raise UserError(
            f"{path}: expected an object with {', '.join(sorted(_EXAMPLES))}, such as {example}"
        )
    names = fields.pop("label_names", None)
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not (names is None or texts) or not all(isinstance(v, str) for v in fields.values()):
        raise UserError(f"{path}: every value is a string, label_names a list of them: {example}")
    columns = fields.pop("columns", None)
    try:
        return ReadOptions(
            columns=None if columns is None else parse_columns(columns),
            label_names=tuple(names) if names else None,
            **fields,
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def files_of_split(path: Path) -> list[Path]:
    """The files of a split: of a table there may be several, and tags may be in one of their own."""
    if path.is_file():
        tags = tags_beside(path)
        return [path] if tags is None else [path, tags]
    parts = splits_of(path) or {"": splits_of(path.parent).get(path.name, [])}
    inside = itertools.chain.from_iterable(parts.values())
    return [
        file for part in inside for file in ([part] if part.is_file() else sorted(part.iterdir()))
    ]
