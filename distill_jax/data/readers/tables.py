"""Tables of the `datasets` library: folders it saved, and Parquet or Arrow files.

| given | read |
|---|---|
| a folder of `Dataset.save_to_disk` | its rows |
| a folder of `DatasetDict.save_to_disk` | the split named: `FOLDER/train` |
| a folder of Parquet files, one or more a split | the split named: `FOLDER/train` |
| `FILE.parquet`, `FILE.arrow` | its rows |

The names of a `ClassLabel` stand for its integers. Needs the extra `datasets`; nothing is downloaded.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from distill_jax.data.readers.records import TAG_FIELDS, RecordReader, identity
from distill_jax.data.readers.source import Located, Source
from distill_jax.errors import UserError

_SHARD = re.compile(r"(?P<split>[A-Za-z_]+)(?:-\d+(?:-of-\d+)?)?\.parquet")
_OTHER_NAMES = {
    "valid": ("valid", "validation", "dev", "val"),
    "train": ("train",),
    "test": ("test",),
}


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a table or a folder of tables; of a split that a folder holds, also."""
    path = Path(path)
    if path.is_file():
        return path.suffix.lower() in (".parquet", ".arrow")
    return bool(splits_of(path) or splits_of(path.parent).get(path.name))


def splits_of(folder: Path) -> dict[str, list[Path]]:
    """The splits of a folder of tables, each with its files or saved folder; empty if it is none."""
    if (folder / "state.json").is_file():
        return {"": [folder]}
    if (folder / "dataset_dict.json").is_file():
        try:
            names = json.loads((folder / "dataset_dict.json").read_text("utf-8"))["splits"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{folder / 'dataset_dict.json'}: not what `datasets` writes; save the data set again"
            ) from None
        return {name: [folder / name] for name in names}
    splits: dict[str, list[Path]] = {}
    for place in (folder, folder / "data"):
        for file in sorted(place.glob("*.parquet")) if place.is_dir() else ():
            shard = _SHARD.fullmatch(file.name)
            splits.setdefault(shard["split"] if shard else file.stem, []).append(file)
    return splits


def split_path(folder: Path, split: str) -> Path | None:
    """Where `split` of a folder of tables is to be read from, under any of the split's names."""
    splits = splits_of(folder)
    name = next((name for name in _OTHER_NAMES.get(split, (split,)) if name in splits), None)
    return None if name is None else folder / name


def read_table(path: str | os.PathLike[str], source: Source) -> Iterator[Located]:
    """The sentences of a table's rows, which are numbered from 1.

    Raises `UserError` if `datasets` is not installed, if the folder has several splits, or for a
    row that cannot be read.
    """
    files = _files(Path(path))
    number = 0
    reader: RecordReader | None = None
    for file in files:
        features, rows = _rows(file)
        if reader is None:
            named = replace(source, options=_with_names(source, features))
            reader = RecordReader(named)
        for row in rows:
            number += 1
            sentence = reader.read(row, number)
            if sentence is not None:
                yield Located(number, sentence, identity(row))
    if reader is not None:
        reader.finish()


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    splits = splits_of(path) or {"": splits_of(path.parent).get(path.name, [])}
    if len(splits) > 1:
        names = ", ".join(splits)
        raise UserError(
            f"{path}: holds the splits {names}; name one, such as {path / next(iter(splits))}"
        )
    return next(iter(splits.values()))


def _rows(path: Path) -> tuple[Any, Iterator[dict[str, Any]]]:
    """The features of a table and its rows, one after the other."""
    library = _library()
    with _failures_named(path):
        if path.is_dir():
            dataset = library.load_from_disk(str(path))
        elif path.suffix.lower() == ".arrow":
            dataset = library.Dataset.from_file(str(path))
        else:
            return _parquet(path, library)
        return dataset.features, _one_by_one(dataset, path)


def _one_by_one(rows: Iterable[dict[str, Any]], path: Path) -> Iterator[dict[str, Any]]:
    iterator = iter(rows)
    while True:
        with _failures_named(path):
            row = next(iterator, None)
        if row is None:
            return
        yield row


@contextlib.contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    """A damaged table is a `UserError`; the library and pyarrow raise exceptions of many classes."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{path}: cannot be read as a table ({reason[0][:120]}); save the data set again"
        ) from None


def _parquet(path: Path, library: Any) -> tuple[Any, Iterator[dict[str, Any]]]:
    """By batches from the file itself: the library would first copy all of it into its cache."""
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(path)
    features = library.Features.from_arrow_schema(file.schema_arrow)
    rows = (row for batch in file.iter_batches(1024) for row in batch.to_pylist())
    return features, _one_by_one(rows, path)


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise UserError(
            "reading Parquet and Arrow needs the library `datasets`: pip install "
            "'distill_jax[datasets]'"
        ) from None
    return datasets


def _with_names(source: Source, features: Any) -> Any:
    """The options, with the names of the tags' `ClassLabel` if it has some and none are given."""
    options = source.options
    if options.label_names is not None:
        return options
    fields = options.columns[1:] if options.columns else TAG_FIELDS
    for field in fields:
        names = _class_names(features.get(field))
        if names:
            return replace(options, label_names=tuple(names))
    return options


def _class_names(feature: Any) -> Sequence[str] | None:
    inner = getattr(feature, "feature", None)  # of a Sequence or List
    if isinstance(feature, list) and feature:
        inner = feature[0]
    names = getattr(inner if inner is not None else feature, "names", None)
    return names if isinstance(names, list) else None
