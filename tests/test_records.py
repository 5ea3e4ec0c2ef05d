"""Shards: equal bytes for equal records, random access, and every kind of damage."""

import copy
import os
import pickle
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.records import Shard, ShardedRecords, check_shard, read_shards, write_shard

RECORDS = [bytes([i]) * 40 for i in range(20)]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(st.binary(max_size=30), max_size=4), max_size=4))
def test_any_records_round_trip_over_any_shards(tmp_path: Path, parts: list[list[bytes]]) -> None:
    shards = [write_shard(tmp_path / f"{i}.array_record", part) for i, part in enumerate(parts)]
    records = ShardedRecords(tmp_path, shards)
    assert [records[i] for i in range(len(records))] == [
        record for part in parts for record in part
    ]
    for shard in shards:
        check_shard(tmp_path / shard["file"], shard, "again", checksum=True)
    for outside in (-1, len(records)):
        with pytest.raises(IndexError):
            records[outside]


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    one, two = (write_shard(tmp_path / name, iter(RECORDS)) for name in ("a", "b"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert one == {**two, "file": "a"}
    assert one["examples"] == 20
    assert one["bytes"] == (tmp_path / "a").stat().st_size


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.array_record"
    shard = write_shard(path, RECORDS)

    def broken() -> Iterator[bytes]:
        yield b"first"
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_shard(path, broken())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    check_shard(path, shard, "again", checksum=True)


def test_threads_and_copies(tmp_path: Path) -> None:
    shards = [write_shard(tmp_path / "a", RECORDS[:7]), write_shard(tmp_path / "b", RECORDS[7:])]
    records = ShardedRecords(tmp_path, shards)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(records.__getitem__, [*range(20)] * 5)) == RECORDS * 5
    for twin in (copy.deepcopy(records), pickle.loads(pickle.dumps(records))):
        assert [twin[i] for i in range(20)] == RECORDS


def test_missing_truncated_and_wrong_count(tmp_path: Path) -> None:
    path = tmp_path / "a.array_record"
    shard = write_shard(path, RECORDS)
    with pytest.raises(UserError, match="20 records instead of 21; make it again"):
        check_shard(path, {**shard, "examples": 21}, "make it again")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"bytes instead of \d+; make it again"):
        check_shard(path, shard, "make it again")
    path.unlink()
    with pytest.raises(UserError, match="the shard is missing; make it again"):
        check_shard(path, shard, "make it again")


def test_damaged_bytes_are_one_users_error_whatever_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.array_record"
    shard = write_shard(path, RECORDS)
    content, rng = path.read_bytes(), random.Random(0)
    refused = 0
    for trial in range(40):
        damaged = bytearray(content)
        if trial % 2:
            damaged[rng.randrange(1200)] ^= 1 << rng.randrange(8)
        else:
            start = rng.randrange(len(damaged))
            damaged[start:] = rng.randbytes(len(damaged) - start)
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="again"):
            check_shard(path, shard, "again", checksum=True)
        records = ShardedRecords(tmp_path, [shard])
        for i, record in enumerate(RECORDS):
            try:
                assert records[i] == record
            except UserError as error:
                assert str(path) in str(error)
                refused += 1
    assert refused


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"examples": "20"}, "'examples' is missing or malformed"),
        ({"sha256": None}, "'sha256' is missing or malformed"),
        ({"file": "../a"}, "not a file name"),
        (None, "'shards' is missing or malformed"),
    ],
)
def test_a_malformed_manifest(tmp_path: Path, change: Any, reason: str) -> None:
    shard: Shard = {"file": "a", "examples": 1, "bytes": 2, "sha256": "3"}
    assert read_shards([shard], tmp_path / "m.json", "again") == [shard]
    value = None if change is None else [shard, {**shard, **change}]
    with pytest.raises(UserError, match=rf"m\.json: .*{reason}; again"):
        read_shards(value, tmp_path / "m.json", "again")


def test_shards_beyond_a_number_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand shards are more than a process may have open."""
    monkeypatch.setattr("distill_jax.records.MOST_OPEN", 2)
    shards = [write_shard(tmp_path / f"{i}.array_record", RECORDS[i : i + 1]) for i in range(9)]
    records = ShardedRecords(tmp_path, shards)
    order = [*range(9), *range(8, -1, -1), 3, 3]

    def open_files() -> int:
        return sum(
            str(tmp_path) in os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()
        )

    for number in order:
        assert records[number] == RECORDS[number]
        if Path("/proc/self/fd").exists():
            assert open_files() <= 2
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(records.__getitem__, order * 20)) == [
            RECORDS[number] for number in order * 20
        ]
