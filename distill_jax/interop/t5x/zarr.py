"""Arrays in zarr files, read and written with TensorStore (https://google.github.io/tensorstore)."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distill_jax.errors import UserError

_CHUNK = 1 << 22  # elements of a chunk that is written, at most


@dataclasses.dataclass(frozen=True)
class ZarrArray:
    """An array in files, not yet read.

    Attributes:
        file: the folder that messages name.
        name: of the array, for messages.
        shape, dtype: of what is stored.
        store: what TensorStore has opened.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    store: Any

    def read(self) -> np.ndarray:
        """The array as it is stored.

        Raises:
            UserError: a chunk is missing, truncated or damaged.
        """
        try:
            array: np.ndarray = np.asarray(self.store.read().result())
        except (ValueError, OSError, RuntimeError) as error:
            raise UserError(
                f"{self.file}: array {self.name!r} cannot be read ({_reason(error)}); copy the "
                "checkpoint again"
            ) from None
        return array


def open_zarr(
    kvstore: Mapping[str, Any], file: Path, name: str, *, driver: str = "zarr"
) -> ZarrArray:
    """Opens an array, of which only its description is read.

    Args:
        kvstore: where it lies, as TensorStore has it.
        file: what messages name.
        name: of the array.
        driver: `zarr` or `zarr3`.

    Raises:
        UserError: there is none, or its description is damaged.
    """
    import tensorstore as ts

    # A chunk that is not there is one that was lost: TensorStore would read zeros in its place.
    spec = {"driver": driver, "kvstore": dict(kvstore), "fill_missing_data_reads": False}
    try:
        store = ts.open(spec, open=True, read=True).result()
    except (ValueError, OSError, RuntimeError) as error:
        if "NOT_FOUND" in str(error):
            raise UserError(
                f"{file}: array {name!r} is missing; copy the checkpoint again, with all its folders"
            ) from None
        raise UserError(
            f"{file}: array {name!r} cannot be opened ({_reason(error)}); copy the checkpoint again"
        ) from None
    return ZarrArray(file, name, tuple(store.shape), store.dtype.name, store)


def write_zarr(folder: Path, array: np.ndarray) -> dict[str, Any]:
    """Writes a float32 array as t5x does (gzip, level 1).

    Returns:
        The zarr metadata that t5x keeps beside: `shape`, `chunks`, `compressor`.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    import tensorstore as ts

    row = math.prod(array.shape[1:])
    rows = min(array.shape[0], max(1, _CHUNK // row))
    metadata = {
        "shape": list(array.shape),
        "chunks": [rows, *array.shape[1:]],
        "compressor": {"id": "gzip", "level": 1},
    }
    spec = {
        "driver": "zarr",
        "dtype": "float32",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "metadata": metadata,
    }
    try:
        store = ts.open(spec, create=True).result()
        for begin in range(0, array.shape[0], rows):
            # A few rows at a time, so that a transposed view is not copied as a whole.
            block = np.ascontiguousarray(array[begin : begin + rows], np.float32)
            store[begin : begin + len(block)].write(block).result()
    except (ValueError, RuntimeError) as error:
        raise OSError(_reason(error)) from error
    return metadata


def _reason(error: Exception) -> str:
    """The first line of what TensorStore says, without the specification that follows."""
    return str(error).partition("[tensorstore_spec")[0].partition(" [source")[0].strip()
