"""What prepared data were made from, so that it is noticed when that is no longer what is there.

Files may change, and others may come: a validation split where one was carved, labels, `reading.json`, a
further language. Where the data lie may change too, and prepared data may travel without them.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill_jax.data.folders import READING_FILE, SPLITS, language_folders, split_candidates
from distill_jax.files import sha256_file

_OTHERS = ("labels.txt", READING_FILE)


def described(
    sources: Iterable[str | os.PathLike[str]], data_dir: Path | None
) -> dict[str, list[dict[str, Any]]]:
    """`sources`, the files with their content, and `folders`, the names in these that count.

    Both have their paths, and where they lie in the data directory.
    """
    files: list[dict[str, Any]] = []
    folders: dict[str, Path] = {}
    for source in sources:
        path = Path(source).absolute()
        within = Path(path.parent.name, path.name)
        if data_dir is not None and path.is_relative_to(data_dir):
            within = path.relative_to(data_dir)
        root = path.parents[len(within.parts) - 1]
        files.append(
            {
                "path": str(path),
                "within": within.as_posix(),
                "bytes": path.stat().st_size,
                "sha256": sha256_file(path),
            }
        )
        for folder in list(within.parents)[:-1]:  # the last is the data directory itself
            folders[folder.as_posix()] = root / folder
    return {
        "sources": files,
        "folders": [
            {"path": str(path), "within": within, "names": list(_names(path))}
            for within, path in folders.items()
        ],
    }


def changed(manifest: Mapping[str, Any], data_dir: Path | None) -> bool:
    """Whether a file now holds something else, or others have come to a folder.

    Each is looked for below `data_dir` first, then where it was. What is in neither place has not
    changed: prepared data may travel without it.
    """
    for source in manifest["sources"]:
        path = _now(source, data_dir)
        if path.is_file() and (
            path.stat().st_size != source["bytes"] or sha256_file(path) != source["sha256"]
        ):
            return True
    # Data that an earlier version prepared have no folders.
    for folder in manifest.get("folders", ()):
        path = _now(folder, data_dir)
        if path.is_dir() and set(_names(path)) - set(folder["names"]):
            return True
    return False


def _now(entry: Mapping[str, Any], data_dir: Path | None) -> Path:
    path = Path(entry["path"])
    within = entry.get("within", f"{path.parent.name}/{path.name}")
    if data_dir is not None and (data_dir / within).exists():
        return data_dir / within
    return path


def _names(folder: Path) -> Iterator[str]:
    """What in a folder decides what its tasks are."""
    for split in SPLITS:
        yield from (path.relative_to(folder).as_posix() for path in split_candidates(folder, split))
    yield from (name for name in _OTHERS if (folder / name).is_file())
    yield from (language.name for language in language_folders(folder))
