"""Where the checkpoint lies in what a user names, and which arrays it holds.

Three layouts, each of one step (`checkpoint_N`):

* legacy: a MessagePack file `checkpoint` with `version` and `optimizer`; large arrays are specifications
  of TensorStore there, and lie in zarr folders beside it. Google's say that they lie in a bucket.
* early Orbax: the same file in `state/` without the version, with placeholders for arrays.
* Orbax of today: `state/_METADATA` names the arrays, which lie in one key-value store (OCDBT).
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np

from distill_jax.errors import UserError
from distill_jax.files import check_no_pointer, read_json_object
from distill_jax.interop.t5x.msgpack_index import InlineArray, read_index
from distill_jax.interop.t5x.zarr import open_zarr

CHECKPOINT = "checkpoint"
_STEP = re.compile(r"checkpoint_(\d+)")
_STATE, _METADATA, _OCDBT = "state", "_METADATA", "manifest.ocdbt"
_PLACEHOLDER = "PLACEHOLDER://"
_TARGET = "target"
_GIVE = "give a folder that t5x wrote, checkpoint_N or the one above it"


class StoredArray(Protocol):
    """An array of a checkpoint, not yet read; `dtype` is the name of what is stored."""

    @property
    def file(self) -> Path: ...
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...

    def read(self) -> np.ndarray:
        """The array as it is stored."""


class Contents(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        path: its folder, or file.
        target: the parameters.
        others: names of what is beside them, as `state/step`.
        halves: whether arrays of dtype uint16 are bfloat16, as before version 3.
    """

    path: Path
    target: dict[tuple[str, ...], StoredArray]
    others: tuple[str, ...]
    halves: bool


def looks_like_t5x(directory: Path) -> bool:
    """Whether a folder is of t5x by the names in it."""
    if not directory.is_dir():
        return bool(_STEP.fullmatch(directory.name)) and directory.is_file()
    names = [path.name for path in directory.iterdir()]
    return _is_checkpoint(directory) or any(map(_STEP.fullmatch, names))


def find_checkpoint(src: Path, step: int | None = None) -> Path:
    """The checkpoint's folder (or file, if it is one file).

    Args:
        src: `checkpoint_N`, or the folder above it.
        step: N; None: the last.

    Raises:
        UserError: there is none, or none of that step.
    """
    if not src.exists():
        raise UserError(f"{src}: no such folder; {_GIVE}")
    if src.is_file() or _is_checkpoint(src):
        if step is not None and src.name != f"checkpoint_{step}":
            raise UserError(
                f"{src}: is one checkpoint, and --step {step} names another; leave it out"
            )
        return src
    steps = {int(m[1]): p for p in src.iterdir() if (m := _STEP.fullmatch(p.name))}
    if not steps:
        raise UserError(f"{src}: no checkpoint of t5x is here; {_GIVE}")
    if step is not None and step not in steps:
        there = ", ".join(map(str, sorted(steps)))
        raise UserError(f"{src}: has no checkpoint of step {step}; there are: {there}")
    found = steps[max(steps) if step is None else step]
    if found.is_dir() and not _is_checkpoint(found):
        raise UserError(f"{found}: holds neither {CHECKPOINT} nor {_STATE}/; copy the folder again")
    return found


def _is_checkpoint(folder: Path) -> bool:
    return _is_orbax(folder) or _is_orbax(folder / _STATE) or (folder / CHECKPOINT).is_file()


def _is_orbax(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (_METADATA, _OCDBT)) or (
        folder.name == _STATE and (folder / CHECKPOINT).is_file()
    )


def read_contents(path: Path) -> Contents:
    """The arrays of the checkpoint that `find_checkpoint` found; parameters are opened, not read.

    Raises:
        UserError: naming the file and the array, if something is missing or damaged.
    """
    folder = path if _is_orbax(path) or not _is_orbax(path / _STATE) else path / _STATE
    if folder.is_dir() and not (folder / CHECKPOINT).is_file():
        leaves = _orbax_leaves(folder)
        return _contents(path, leaves, halves=False)
    file = folder if folder.is_file() else folder / CHECKPOINT
    with file.open("rb") as opened:
        start = opened.read(64)
    check_no_pointer(file, start)
    if start.startswith(b"model_checkpoint_path"):
        raise UserError(
            f"{file}: of TensorFlow (Mesh TensorFlow's T5); use the same model's checkpoint of t5x"
        )
    tree = read_index(file)
    version = tree.get("version")
    optimizer = tree.get("optimizer", tree)
    if not isinstance(optimizer, Mapping):
        raise UserError(f"{file}: has no dictionary `optimizer`; {_GIVE}")
    leaves = ((names, _leaf(names, leaf, file.parent)) for names, leaf in _leaves(optimizer))
    return _contents(path, leaves, halves=isinstance(version, int) and version < 3)


def _contents(
    path: Path, leaves: Iterator[tuple[tuple[str, ...], Any]], *, halves: bool
) -> Contents:
    target, others = {}, []
    for names, leaf in leaves:
        if names[0] != _TARGET:
            others.append("/".join(names))
        elif leaf is not None:
            target[names[1:]] = leaf() if callable(leaf) else leaf
    if not target:
        raise UserError(f"{path}: holds no parameters (`target`); {_GIVE}")
    return Contents(path, target, tuple(others), halves)


def _leaves(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The leaves of a tree, where a specification of TensorStore is one."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and "driver" not in value:
            for names, leaf in _leaves(value):
                yield (name, *names), leaf
        else:
            yield (name,), value


def _leaf(names: tuple[str, ...], leaf: Any, folder: Path) -> Any:
    """An array in the file, or a function that opens what lies in a folder; None for nothing."""
    name = "/".join(names)
    if isinstance(leaf, InlineArray):
        return dataclasses.replace(leaf, name=name)
    if leaf is None:
        return None
    if isinstance(leaf, str) and leaf.startswith(_PLACEHOLDER):
        return lambda: _open_folder(folder, leaf.removeprefix(_PLACEHOLDER), name)
    if isinstance(leaf, Mapping):
        return lambda: _open_specification(leaf, folder, name)
    return lambda: _refuse(folder / CHECKPOINT, name)


def _open_specification(spec: Mapping[str, Any], folder: Path, name: str) -> StoredArray:
    # Driver and bucket say where the checkpoint was written, which matters no more.
    store = spec.get("kvstore")
    place = store.get("path") if isinstance(store, Mapping) else None
    place = spec.get("path") if place is None else place  # before TensorStore 0.1.14
    if spec["driver"] != "zarr" or not isinstance(place, str):
        _refuse(folder / CHECKPOINT, name)
    opened = _open_folder(folder, place, name)
    metadata = spec.get("metadata")
    said = metadata.get("shape") if isinstance(metadata, Mapping) else None
    if said is not None and tuple(said) != opened.shape:
        raise UserError(
            f"{opened.file}: array {name!r} has shape {list(opened.shape)}, but {CHECKPOINT} says "
            f"{list(said)}; copy the checkpoint again"
        )
    return opened


def _open_folder(folder: Path, place: str, name: str) -> StoredArray:
    parts = [part for part in place.split("/") if part]
    if ".." in parts:
        _refuse(folder / CHECKPOINT, name)
    place = "/".join(parts)
    return open_zarr(_kvstore(folder, place), folder / place, name)


def _kvstore(folder: Path, place: str) -> dict[str, Any]:
    """Where an array lies: in the folder's key-value store if it has one, else in a folder."""
    base = folder.absolute()
    if (folder / _OCDBT).is_file():
        store = {"driver": "file", "path": f"{base}/"}
        return {"driver": "ocdbt", "base": store, "path": f"{place}/"}
    return {"driver": "file", "path": f"{base / place}/"}


def _refuse(file: Path, name: str) -> NoReturn:
    raise UserError(f"{file}: {name!r} is no array that can be read; copy the checkpoint again")


def _orbax_leaves(folder: Path) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not (folder / _METADATA).is_file():
        raise UserError(f"{folder / _METADATA}: missing; copy the checkpoint again")
    fields = read_json_object(folder / _METADATA, "copy the checkpoint again")
    driver = "zarr3" if fields.get("use_zarr3") else "zarr"
    for names in _orbax_names(fields, folder / _METADATA):
        place, name = _kvstore(folder, ".".join(names)), "/".join(names)
        yield names, functools.partial(open_zarr, place, folder, name, driver=driver)


def _orbax_names(fields: Mapping[str, Any], file: Path) -> Iterator[tuple[str, ...]]:
    try:
        for entry in fields["tree_metadata"].values():
            if entry["value_metadata"]["value_type"] not in ("None", "Dict"):
                yield tuple(str(key["key"]) for key in entry["key_metadata"])
    except (KeyError, TypeError, AttributeError):
        raise UserError(
            f"{file}: does not name the checkpoint's arrays; copy the checkpoint again"
        ) from None
