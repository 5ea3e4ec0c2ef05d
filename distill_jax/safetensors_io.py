"""Reading and writing safetensors files (https://huggingface.co/docs/safetensors) one tensor at a time.

Files are read by the library's plain reads (`pread`), not mapped: the pages of a mapped file count
towards a process's memory as much as the tensors themselves do. Compared with a reader of our own,
which widened a million elements at a time, a T5 of 115 million parameters needs as much memory at the
peak if it is stored in float32 (609 MiB to read, 270 MiB to import) and one tensor more if in bfloat16
(660 MiB against 611 and 317 against 272). On a busy host float32 took less time than before, bfloat16
from 0.85 to 1.4 times as much. The library writes only what is all in memory, so writing is done
here: float32, or float16 where that is asked for, one tensor after the other.
"""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, cast

import ml_dtypes  # noqa: F401  (teaches NumPy bfloat16, by which name the library asks for it)
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from distill_jax.errors import UserError
from distill_jax.files import atomic_write, check_no_pointer

FloatArray = NDArray[np.float32]

_STORED = {"F32": "<f4", "F16": "<f2"}
_FLOATS = ("F64", "F32", "F16", "BF16")
_CHUNK = 1 << 20  # elements transposed or compared at a time


@dataclasses.dataclass(frozen=True)
class TensorEntry:
    """A tensor in a file, not yet read."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]


class TensorSource(NamedTuple):
    """A tensor to be written: `load` is called once, when its turn comes."""

    name: str
    shape: tuple[int, ...]
    load: Callable[[], np.ndarray]
    dtype: Literal["F32", "F16"] = "F32"


def read_entries(
    path: str | os.PathLike[str], skip: Callable[[str], bool] = lambda name: False
) -> dict[str, TensorEntry]:
    """The tensors in a file, by name, with no more than the header read.

    Args:
        path: of the file.
        skip: says by their names which tensors to leave out, of whatever dtype they are.

    Raises:
        UserError: the file is missing, truncated, or no safetensors file, or it holds tensors of a
            dtype that is not a float.
    """
    path = Path(path)
    entries: dict[str, TensorEntry] = {}
    with _opened(path) as file:
        for name in file.keys():  # noqa: SIM118  (the file is no dictionary)
            if skip(name):
                continue
            tensor = file.get_slice(name)
            dtype = tensor.get_dtype()
            if dtype not in _FLOATS:
                raise UserError(
                    f"{path}: tensor {name!r} is stored as {dtype}; float64, float32, float16 and "
                    "bfloat16 are read, so give the checkpoint before it was quantised"
                )
            entries[name] = TensorEntry(path, name, dtype, tuple(tensor.get_shape()))
    return entries


def read_tensor(entry: TensorEntry, *, keep_half: bool = False) -> NDArray[np.floating]:
    """A tensor as a new float32 array of its stored shape; with `keep_half` float16 stays what it is.

    Raises:
        UserError: the file has become unreadable; or the tensor is stored as float16 or float64 and
            has values that float32 has not.
    """
    with _opened(entry.file) as file, np.errstate(over="ignore"):
        half = keep_half and entry.dtype == "F16"
        dtype = np.float16 if half else np.float32
        array: NDArray[np.floating] = np.asarray(file.get_tensor(entry.name), dtype)
    # A T5 overflows float16, and float64 overflows float32: no number is left of what was one.
    if entry.dtype in ("F16", "F64") and not np.isfinite(array).all():
        raise UserError(
            f"{entry.file}: tensor {entry.name!r}, stored as {entry.dtype}, has values that float32 has "
            "not (infinite, or no numbers); give the checkpoint before it was converted"
        )
    return array


def same_values(first: TensorEntry, second: TensorEntry) -> bool:
    """Whether two tensors have the same shape and values, as float32; a few rows are read at a time.

    Raises:
        UserError: a file has become unreadable.
    """
    if first.shape != second.shape:
        return False
    if not first.shape:
        return bool(read_tensor(first) == read_tensor(second))
    rows = max(1, _CHUNK // max(1, math.prod(first.shape[1:])))
    with _opened(first.file) as one, _opened(second.file) as other:
        slices = one.get_slice(first.name), other.get_slice(second.name)
        for begin in range(0, first.shape[0], rows):
            end = min(begin + rows, first.shape[0])
            with np.errstate(over="ignore"):
                here, there = (np.asarray(each[begin:end], np.float32) for each in slices)
            if not np.array_equal(here, there, equal_nan=True):
                return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file as the library reads it; `UserError` for what it finds wrong in the block."""
    try:
        with safe_open(path, framework="np", backend="pread") as file:
            yield file
    except SafetensorError as error:
        with path.open("rb") as start:
            check_no_pointer(path, start.read(64))
        again = "copy or download the file again"
        reason = str(error).rpartition("header: ")[2]
        if "not fully covered" in reason:
            size = path.stat().st_size
            raise UserError(
                f"{path}: truncated, or not what its header promises: it has {size} bytes; {again}"
            ) from error
        if "invalid header length" in reason:
            raise UserError(f"{path}: truncated inside its header; {again}") from error
        raise UserError(
            f"{path}: not a safetensors file, or damaged ({reason}); {again}"
        ) from error
    except OSError as error:
        reason = error.strerror or str(error).partition(":")[0]
        raise UserError(f"{path}: cannot be read ({reason}); check the file") from error


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
    """Writes tensors, holding one of them at a time; those of float16 last, so that all are aligned.

    Raises:
        ValueError: a loaded tensor does not have the shape announced.
    """
    sources = sorted(sources, key=lambda source: source.dtype == "F16")
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # transformers insists on it
    offset = 0
    for source in sources:
        end = offset + np.dtype(_STORED[source.dtype]).itemsize * math.prod(source.shape)
        header[source.name] = {
            "dtype": source.dtype,
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
            _write_array(file, array, _STORED[source.dtype])


def _write_array(file: BinaryIO, array: np.ndarray, dtype: str) -> None:
    """Writes an array in C order; one that lies otherwise, or is of another dtype, is copied a few
    rows at a time."""
    if array.flags.c_contiguous and (array.dtype == dtype or array.ndim == 0):
        file.write(cast(Any, np.asarray(array, dtype).reshape(-1)))
        return
    rows = max(1, _CHUNK // max(1, math.prod(array.shape[1:])))
    for begin in range(0, array.shape[0], rows):
        file.write(np.ascontiguousarray(array[begin : begin + rows], dtype).tobytes())
