"""Reading and writing safetensors files one tensor at a time.

The format (https://huggingface.co/docs/safetensors): eight bytes hold the little-endian length of a
JSON header, which gives each tensor's dtype, shape and place; the tensors' bytes follow. Files are
read with plain reads, since the pages of a mapped file count towards a process's memory as much as
the tensors themselves do. What is written is always float32.
"""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from distill_jax.errors import UserError
from distill_jax.files import atomic_write

FloatArray = NDArray[np.float32]

_ITEM_SIZE = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_MAX_HEADER = 100_000_000
_CHUNK = 1 << 20  # elements converted or transposed at a time


@dataclasses.dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies: `start` is the offset of its first byte in `file`."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int


class TensorSource(NamedTuple):
    """A tensor to be written: `load` is called once, when its turn comes."""

    name: str
    shape: tuple[int, ...]
    load: Callable[[], FloatArray]


def read_entries(path: str | os.PathLike[str]) -> dict[str, TensorEntry]:
    """The tensors in a file, by name, with no more than the header read.

    Raises:
        UserError: the file is missing, truncated, or no safetensors file, or it holds tensors of a
            dtype that is not a float.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            header, data_start = _read_header(path, file, size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    entries: dict[str, TensorEntry] = {}
    data_end = data_start
    for name, fields in header.items():
        if name == "__metadata__":
            continue
        entry, end = _entry(path, name, fields, data_start)
        entries[name] = entry
        data_end = max(data_end, end)
    if size < data_end:
        raise UserError(
            f"{path}: truncated: {size} bytes where its header promises {data_end}; copy or "
            "download the file again"
        )
    return entries


def read_tensor(entry: TensorEntry) -> FloatArray:
    """A tensor as a new float32 array of its stored shape.

    Raises:
        UserError: the file has become unreadable.
    """
    array = np.empty(math.prod(entry.shape), np.float32)
    try:
        with open(entry.file, "rb", buffering=0) as file:
            file.seek(entry.start)
            if entry.dtype == "F32":
                _read_into(file, array)
            else:
                item = _ITEM_SIZE[entry.dtype]
                raw = np.empty(min(array.size, _CHUNK) * item, np.uint8)
                for begin in range(0, array.size, _CHUNK):
                    part = array[begin : begin + _CHUNK]
                    _read_into(file, raw[: part.size * item])
                    _widen(raw[: part.size * item], entry.dtype, part)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{entry.file}: cannot read tensor {entry.name!r} ({reason}); check the file"
        ) from error
    return array.reshape(entry.shape)


def check_entries(
    entries: Mapping[str, TensorEntry], shapes: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Checks that a checkpoint holds exactly the tensors of a model, in their shapes.

    Args:
        entries: what the checkpoint has.
        shapes: what `config.json` asks for.
        where: the checkpoint's file, for messages.

    Raises:
        UserError: naming the first tensor that is missing, unknown, or of another shape.
    """
    remedy = (
        "the weights and config.json are of different models, or the checkpoint is incomplete: "
        "get both from one source"
    )
    if missing := [name for name in shapes if name not in entries]:
        raise UserError(f"{where}: tensor {missing[0]!r} is missing{_more(missing)}; {remedy}")
    if unknown := [name for name in entries if name not in shapes]:
        raise UserError(
            f"{where}: tensor {unknown[0]!r} has no place in the model of config.json"
            f"{_more(unknown)}; {remedy}"
        )
    for name, shape in shapes.items():
        if entries[name].shape != shape:
            raise UserError(
                f"{entries[name].file}: tensor {name!r} has shape {list(entries[name].shape)}, but "
                f"config.json asks for {list(shape)}; {remedy}"
            )


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def write_safetensors(path: str | os.PathLike[str], sources: Iterable[TensorSource]) -> None:
    """Writes tensors as float32, holding one of them at a time.

    Raises:
        ValueError: a loaded tensor does not have the shape announced.
    """
    sources = list(sources)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers insists on it
    offset = 0
    for source in sources:
        end = offset + 4 * math.prod(source.shape)
        header[source.name] = {
            "dtype": "F32",
            "shape": list(source.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for source in sources:
            array = source.load()
            if array.shape != source.shape:
                raise ValueError(f"{source.name}: shape {array.shape}, announced {source.shape}")
            _write_array(file, array)


def _read_header(path: Path, file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    damaged = "not a safetensors file, or damaged; copy or download the file again"
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > _MAX_HEADER:
        raise UserError(f"{path}: {damaged}")
    if 8 + length > size:
        raise UserError(f"{path}: truncated inside its header; copy or download the file again")
    try:
        header = json.loads(file.read(length))
    except ValueError as error:
        raise UserError(f"{path}: {damaged}") from error
    if not isinstance(header, dict):
        raise UserError(f"{path}: {damaged}")
    return header, 8 + length


def _entry(path: Path, name: str, fields: Any, data_start: int) -> tuple[TensorEntry, int]:
    try:
        dtype = str(fields["dtype"])
        shape = tuple(int(n) for n in fields["shape"])
        begin, end = (int(n) for n in fields["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: tensor {name!r} is not described as the format asks; download the file again"
        ) from error
    if dtype not in _ITEM_SIZE:
        raise UserError(
            f"{path}: tensor {name!r} is stored as {dtype}; float64, float32, float16 and bfloat16 "
            "are read, so give the checkpoint before it was quantised"
        )
    if (
        begin < 0
        or min(shape, default=0) < 0
        or end - begin != math.prod(shape) * _ITEM_SIZE[dtype]
    ):
        raise UserError(
            f"{path}: tensor {name!r} has {end - begin} bytes, which do not make {dtype} of shape "
            f"{shape}; download the file again"
        )
    return TensorEntry(path, name, dtype, shape, data_start + begin), data_start + end


def _read_into(file: Any, target: NDArray[Any]) -> None:
    view = memoryview(cast(Any, target.view(np.uint8)))
    while view:
        count = file.readinto(view)
        if not count:
            raise OSError("the file has become shorter")
        view = view[count:]


def _widen(raw: NDArray[np.uint8], dtype: str, target: FloatArray) -> None:
    """Converts little-endian numbers of another width to float32."""
    if dtype == "BF16":  # the upper half of a float32
        bits = target.view(np.uint32)
        bits[...] = raw.view(np.uint16)
        bits <<= 16
    else:
        target[...] = raw.view(np.float16 if dtype == "F16" else np.float64)


def _write_array(file: BinaryIO, array: FloatArray) -> None:
    """Writes an array in C order; one that lies otherwise is copied a few rows at a time."""
    if array.flags.c_contiguous:
        file.write(cast(Any, np.asarray(array, "<f4").reshape(-1)))
        return
    rows = max(1, _CHUNK // math.prod(array.shape[1:]))
    for begin in range(0, array.shape[0], rows):
        file.write(np.ascontiguousarray(array[begin : begin + rows], "<f4").tobytes())
