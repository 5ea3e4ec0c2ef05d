"""Shards of records: ArrayRecord files with the facts that tell whether one is whole."""

import bisect
import contextlib
import errno
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from distill_jax.errors import UserError
from distill_jax.files import atomic_write, disk_fault, sha256_file


class Shard(TypedDict):
    """What a manifest says of one shard."""

    file: str
    examples: int
    bytes: int
    sha256: str


MOST_OPEN = 256
"""Of the shards of one data set so many are open at a time: systems allow some thousand files."""

SHARD_FIELDS: dict[str, type] = {"file": str, "examples": int, "bytes": int, "sha256": str}

# What array_record raises on damaged files; it documents none of its errors.
_READ_ERRORS = (RuntimeError, ValueError, IndexError)


def read_shards(value: Any, path: Path, remedy: str) -> list[Shard]:
    """What the JSON file `path` says of its shards, checked.

    Raises `UserError`, ending in `remedy`, if `value` is not a list of shards.
    """
    if not isinstance(value, list):
        raise UserError(f"{path}: 'shards' is missing or malformed; {remedy}")
    for shard in value:
        for field, kind in SHARD_FIELDS.items():
            if not isinstance(shard, dict) or not isinstance(shard.get(field), kind):
                raise UserError(f"{path}: {field!r} is missing or malformed; {remedy}")
        if Path(shard["file"]).name != shard["file"]:
            raise UserError(f"{path}: shard {shard['file']!r} is not a file name; {remedy}")
    return value


def write_shard(path: Path, records: Iterable[bytes]) -> Shard:
    """Writes records aside and renames; equal records give equal bytes.

    Raises `OSError` naming the file if it cannot be written, or is not whole once it is.
    """
    count = 0
    with atomic_write(path) as temporary:
        with _writing_errors(path):
            # Groups of one record: any of them is read without its neighbours.
            writer = ArrayRecordWriter(str(temporary), "group_size:1")
        try:
            for record in records:
                with _writing_errors(path):
                    writer.write(record)
                count += 1
        finally:
            with _writing_errors(path):
                writer.close()
        if _readable_records(temporary) != count:
            raise OSError(errno.EIO, "not all that was written is there", str(path))
        size, checksum = temporary.stat().st_size, sha256_file(temporary)
    return {"file": path.name, "examples": count, "bytes": size, "sha256": checksum}


@contextlib.contextmanager
def _writing_errors(path: Path) -> Iterator[None]:
    """Makes of array_record's errors, which know no class, the system's."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(errno.EIO, disk_fault(error) or str(error), str(path)) from error


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
    count = _readable_records(path)
    if count != shard["examples"]:
        raise UserError(
            f"{path}: the shard has {'no readable' if count is None else count} records instead of "
            f"{shard['examples']}; {remedy}"
        )
    if checksum and sha256_file(path) != shard["sha256"]:
        raise UserError(f"{path}: the shard's bytes have changed; {remedy}")


def _readable_records(path: Path) -> int | None:
    """How many records a file holds; None if it is damaged."""
    # A damaged file makes the reader not `ok`, or raise on any call, opening and closing included.
    with contextlib.suppress(*_READ_ERRORS):
        reader = _open(path)
        count: int | None = reader.num_records() if reader.ok() else None
        reader.close()
        return count
    return None


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
        """Record `position`, 0 … len - 1; `IndexError` outside, `UserError` if it is damaged."""
        if not 0 <= position < len(self):
            raise IndexError(f"record {position} of {len(self)}")
        shard = bisect.bisect_right(self._ends, position)
        number = position - (self._ends[shard - 1] if shard else 0)
        try:
            return self._reader(shard).read([number])[0]
        except _READ_ERRORS as error:
            raise UserError(
                f"{self._paths[shard]}: record {number} cannot be read ({error}); "
                "the file is damaged: restore or remake it"
            ) from None

    def _reader(self, shard: int) -> Any:
        with self._lock:
            if shard not in self._readers:
                if len(self._readers) >= MOST_OPEN:
                    # The oldest; who is reading from it holds it until that is done.
                    del self._readers[next(iter(self._readers))]
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
