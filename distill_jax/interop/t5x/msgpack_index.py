"""What a MessagePack file of Flax holds, and where: arrays stay in the file until they are asked for.

The format is https://github.com/msgpack/msgpack/blob/master/spec.md; the library `msgpack` would hold
the whole file in memory, which for a checkpoint is that of all parameters and of the optimizer's state.
Flax (`flax.serialization`) stores an array as an extension of type 1 whose content is itself
MessagePack, `[shape, dtype's name, bytes]`, and one of more than 2³⁰ bytes as the flat pieces of it.
"""

import dataclasses
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes  # noqa: F401  (teaches NumPy bfloat16)
import numpy as np

from distill_jax.errors import UserError

_ARRAY, _SCALAR = 1, 3  # types of Flax's extensions
_CHUNKED = "__msgpack_chunked_array__"
_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    **{0xCC + i: code for i, code in enumerate((">B", ">H", ">I", ">Q", ">b", ">h", ">i", ">q"))},
}
_LENGTHS = (">B", ">H", ">I")


class Bytes(NamedTuple):
    """Bytes that were left in the file; `kind` is an extension's type, None for binary data."""

    kind: int | None
    offset: int
    length: int


@dataclasses.dataclass(frozen=True)
class InlineArray:
    """An array inside a MessagePack file, in one piece or several."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    pieces: tuple[Bytes, ...]

    def read(self) -> np.ndarray:
        """The array as it is stored."""
        array = np.empty(self.shape, np.dtype(self.dtype))
        flat: Any = array.reshape(-1).view(np.uint8)
        begin = 0
        with self.file.open("rb") as file:
            for piece in self.pieces:
                file.seek(piece.offset)
                begin += file.readinto(flat[begin : begin + piece.length])
        if begin != array.nbytes:
            raise UserError(f"{self.file}: array {self.name!r} is truncated; copy the file again")
        return array


def read_index(path: Path) -> dict[str, Any]:
    """The nested dictionary in a file, with an `InlineArray` for each array.

    Raises:
        UserError: the file is truncated, damaged, or no such dictionary.
    """
    try:
        with path.open("rb") as file:
            reader = _Reader(file, os.fstat(file.fileno()).st_size)
            tree = reader.value()
            if not isinstance(tree, dict):
                raise ValueError("it holds no dictionary")
            tree = _with_arrays(tree, reader, path, ())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the file") from None
    except EOFError:
        raise UserError(f"{path}: truncated; copy the checkpoint again") from None
    except (ValueError, TypeError, RecursionError, struct.error) as error:
        raise UserError(
            f"{path}: not a checkpoint file of t5x, or damaged ({error}); copy the checkpoint again"
        ) from None
    assert isinstance(tree, dict)
    return tree


class _Reader:
    """Reads values one after the other, and leaves binary data and extensions where they are."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def at(self, offset: int) -> Any:
        """The value that begins at an offset."""
        self._file.seek(offset)
        return self.value()

    def value(self) -> Any:
        first = self._take(1)[0]
        if first <= 0x7F:
            return first
        if first <= 0x8F:
            return self._map(first & 0x0F)
        if first <= 0x9F:
            return [self.value() for _ in range(first & 0x0F)]
        if first <= 0xBF:
            return self._take(first & 0x1F).decode()
        if first >= 0xE0:
            return first - 0x100
        if first in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[first]
        if first in _NUMBERS:
            return self._number(_NUMBERS[first])
        if 0xD4 <= first <= 0xD8:
            return self._skip(self._number(">b"), 1 << (first - 0xD4))
        return self._long(first)

    def _long(self, first: int) -> Any:
        """A value whose length stands in front of it."""
        for begin, widths, make in self._long_kinds:
            if begin <= first < begin + len(widths):
                return make(self, self._number(widths[first - begin]))
        raise ValueError(f"byte 0x{first:02x} begins no value")

    def _map(self, count: int) -> dict[Any, Any]:
        pairs = {}
        for _ in range(count):
            key = self.value()
            pairs[key] = self.value()
        return pairs

    def _array(self, count: int) -> list[Any]:
        return [self.value() for _ in range(count)]

    def _text(self, count: int) -> str:
        return self._take(count).decode()

    def _binary(self, count: int) -> Bytes:
        return self._skip(None, count)

    def _extension(self, count: int) -> Bytes:
        return self._skip(self._number(">b"), count)

    _long_kinds: tuple[tuple[int, tuple[str, ...], Callable[["_Reader", int], Any]], ...] = (
        (0xC4, _LENGTHS, _binary),
        (0xC7, _LENGTHS, _extension),
        (0xD9, _LENGTHS, _text),
        (0xDC, _LENGTHS[1:], _array),
        (0xDE, _LENGTHS[1:], _map),
    )

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _take(self, count: int) -> bytes:
        taken = self._file.read(count) if count <= self._size else b""
        if len(taken) != count:
            raise EOFError
        return taken

    def _skip(self, kind: int | None, count: int) -> Bytes:
        offset = self._file.tell()
        if offset + count > self._size:
            raise EOFError
        self._file.seek(count, os.SEEK_CUR)
        return Bytes(kind, offset, count)


def _with_arrays(value: Any, reader: _Reader, path: Path, above: tuple[str, ...]) -> Any:
    name = "/".join(above)
    if isinstance(value, Bytes) and value.kind in (_ARRAY, _SCALAR):
        shape, dtype, content = reader.at(value.offset)
        return InlineArray(path, name, tuple(shape), dtype, (content,))
    if not isinstance(value, dict):
        return value
    if _CHUNKED in value:
        pieces = [reader.at(value["chunks"][str(i)].offset) for i in range(len(value["chunks"]))]
        shape = tuple(value["shape"][str(i)] for i in range(len(value["shape"])))
        return InlineArray(path, name, shape, pieces[0][1], tuple(piece[2] for piece in pieces))
    return {
        str(key): _with_arrays(inner, reader, path, (*above, str(key)))
        for key, inner in value.items()
    }
