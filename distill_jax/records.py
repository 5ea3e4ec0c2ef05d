"""Shards of records: ArrayRecord files with the facts that tell whether one is whole."""

import bisect
import itertools
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypedDict

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from distill_jax.errors import UserError
from distill_jax.files import atomic_write, sha256_file


class Shard(TypedDict):
    """What a manifest says of one shard."""

    file: str
    examples: int
    bytes: int
    sha256: str


SHARD_FIELDS: dict[str, type] = {"file": str, "examples": int, "bytes": int, "sha256": str}


def write_shard(path: Path, records: Iterable[bytes]) -> Shard:
    """Writes records aside and renames; equal records give equal bytes."""
    count = 0
    with atomic_write(path) as temporary:
        # Groups of one record: any of them is read without its neighbours.
        writer = ArrayRecordWriter(str(temporary), "group_size:1")
        try:
            for record in records:
                writer.write(record)
                count += 1
        finally:
            writer.close()
    return {
        "file": path.name,
        "examples": count,
        "bytes": path.stat().st_size,
        "sha256": sha256_file(path),
    }


def check_shard(path: Path, shard: Shard, remedy: str, *, checksum: bool = False) -> None:
    """Raises `UserError`, ending in `remedy`, if a shard is missing or not what `shard` says.

    Size and number of records are compared, and the SHA-256 with `checksum`.
    """
    try:
        size = path.stat().st_size
    except OSError:
        raise UserError(f"{path}: the shard is missing; {remedy}") from None
    if size != shard["bytes"]:
        raise UserError(f"{path}: the shard has {size} bytes instead of {shard['bytes']}; {remedy}")
    reader = _open(path)
    try:
        count = reader.num_records() if reader.ok() else None
    except Exception:  # the reader's own error types are not documented
        count = None
    finally:
        reader.close()
    if count != shard["examples"]:
        raise UserError(
            f"{path}: the shard has {'no readable' if count is None else count} records instead of "
            f"{shard['examples']}; {remedy}"
        )
    if checksum and sha256_file(path) != shard["sha256"]:
        raise UserError(f"{path}: the shard's bytes have changed; {remedy}")


class ShardedRecords:
    """Random access to the records of several shards; may be shared by threads, and pickles."""

    def __init__(self, directory: Path, shards: Sequence[Shard]) -> None:
        self._paths = [directory / shard["file"] for shard in shards]
        self._ends = list(itertools.accumulate(shard["examples"] for shard in shards))
        self._readers: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, position: int) -> bytes:
        shard = bisect.bisect_right(self._ends, position)
        first = self._ends[shard - 1] if shard else 0
        return self._reader(shard).read([position - first])[0]

    def _reader(self, shard: int) -> Any:
        with self._lock:
            if shard not in self._readers:
                self._readers[shard] = _open(self._paths[shard])
            return self._readers[shard]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_readers": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def _open(path: Path) -> Any:
    # Read-ahead serves sequential reading and would slow down random access.
    return ArrayRecordReader(
        str(path), options="readahead_buffer_size:0", file_reader_buffer_size=32768
    )
