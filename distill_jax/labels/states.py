"""The store of a teacher's hidden states: those of each word, of chosen layers, float16.

Written and read as `labels.store` is (see `sharding`): shard by shard, resumable, looked up by the words of a
sentence. A record is a JSON head with its length before it (id, words), then each layer's states,
little-endian float16[L, D].
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distill_jax.errors import UserError
from distill_jax.files import read_json_object, sha256_json
from distill_jax.labels.pool import Pool, hash_of_ids
from distill_jax.labels.sharding import (
    DAMAGED,
    STORE,
    check_count,
    check_options,
    claim,
    damaged,
    read_store,
    write_shards,
)
from distill_jax.records import ShardedRecords, check_shard
from distill_jax.tagging import Sentence

SCHEMA = 1
StatesOf = Callable[[Sequence[Sentence]], list[list[np.ndarray]]]
"""Sentences → for each the states float[L, D] of each layer."""


class Layers(NamedTuple):
    """Layers of a model (0: the embeddings' output), how wide their states are, and how many there are."""

    numbers: tuple[int, ...]
    widths: tuple[int, ...]
    of: int

    def bytes_of(self, words: int) -> int:
        """What the states of so many words take."""
        return 2 * sum(self.widths) * words


def write_states(
    directory: str | Path,
    pool: Pool,
    layers: Layers,
    states_of: StatesOf,
    *,
    teacher_sha256: str,
    shard_size: int = 2048,
    process: tuple[int, int] = (0, 1),
    progress: Callable[[int], None] | None = None,
) -> "TeacherStates | None":
    """Writes the states of a pool, or what is missing of them; as `labels.store.write_store`."""
    check_options(directory, shard_size, process)
    directory = Path(directory)
    header = {
        "schema": SCHEMA,
        "kind": "states",
        "teacher_sha256": teacher_sha256,
        "layers": layers.numbers,
        "widths": layers.widths,
        "of_layers": layers.of,
        "sentences": len(pool),
        "pool_sha256": pool.content_hash,
        "shard_size": shard_size,
    }
    claim(directory, header, "states")

    def records_of(chunk: Sequence[Sentence]) -> list[bytes]:
        return [
            encode_states(sentence, states, layers.widths)
            for sentence, states in zip(chunk, states_of(chunk), strict=True)
        ]

    whole = write_shards(directory, pool, records_of, shard_size, process, progress)
    return TeacherStates(directory) if whole else None


def encode_states(sentence: Sentence, states: Sequence[np.ndarray], widths: Sequence[int]) -> bytes:
    """The record of a sentence.

    Raises `UserError` if a state is not finite as float16, `ValueError` if the shapes are not L words'.
    """
    shapes = [(len(sentence.words), width) for width in widths]
    if [layer.shape for layer in states] != shapes:
        raise ValueError(f"states of {[layer.shape for layer in states]} instead of {shapes}")
    with np.errstate(over="ignore"):
        halves = [layer.astype("<f2") for layer in states]
    if not all(np.isfinite(half).all() for half in halves):
        raise UserError(
            f"sentence {' '.join(sentence.words[:8])!r}: a state of the teacher is no number that float16 "
            "holds; leave that layer out (--states), or compute states in the step (TEACHER)"
        )
    head = json.dumps(
        {"id": sentence.example_id, "words": sentence.words}, separators=(",", ":")
    ).encode()
    return b"".join([len(head).to_bytes(4, "little"), head, *(half.tobytes() for half in halves)])


class TeacherStates:
    """A finished store of states, looked up by words.

    A sentence costs some bytes of memory; states are read when they are asked for. Raises `UserError` as
    `TeacherLabels`, or if the store is one of labels.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.header, self._shards = read_store(self.directory, SCHEMA, "label --states")
        self.layers = Layers(
            tuple(self.header["layers"]), tuple(self.header["widths"]), self.header["of_layers"]
        )
        self._records = ShardedRecords(self.directory, self._shards)
        check_count(self.directory, self.header, len(self._records))
        self._places: dict[bytes, int] | None = None

    def __len__(self) -> int:
        return len(self._records)

    def content_hash(self) -> str:
        """SHA-256 (hex) over the settings and the shards' checksums."""
        return sha256_json([self.header, self._shards])

    def verify(self) -> None:
        """Reads everything, as `TeacherLabels.verify`."""
        for shard in self._shards:
            check_shard(self.directory / shard["file"], shard, damaged(shard), checksum=True)
        ids = (Sentence(self._decoded(number)[0]).example_id for number in range(len(self)))
        if hash_of_ids(ids) != self.header.get("pool_sha256"):
            raise UserError(
                f"{self.directory}: the sentences in the shards are not those of {STORE}; {DAMAGED}"
            )

    def __contains__(self, words: Sequence[str]) -> bool:
        return _key(words) in self._by_words()

    def states(self, words: Sequence[str]) -> list[np.ndarray]:
        """The states of each layer, float16[L, D]; `KeyError` for a sentence that is not there."""
        return self._decoded(self._by_words()[_key(words)])[1]

    def _by_words(self) -> dict[bytes, int]:
        if self._places is None:
            self._places = {_key(self._decoded(number)[0]): number for number in range(len(self))}
        return self._places

    def _decoded(self, number: int) -> tuple[tuple[str, ...], list[np.ndarray]]:
        record = self._records[number]
        try:
            end = 4 + int.from_bytes(record[:4], "little")
            words = tuple(json.loads(record[4:end])["words"])
            whole = np.frombuffer(record[end:], "<f2").reshape(-1)
            ends = np.cumsum([len(words) * width for width in self.layers.widths])
            if ends[-1] != len(whole):
                raise ValueError
            parts = np.split(whole, ends[:-1])
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"{self.directory}: states {number} are not what {STORE} says; {DAMAGED}"
            ) from None
        return words, [
            part.reshape(len(words), width)
            for part, width in zip(parts, self.layers.widths, strict=True)
        ]


def is_states(directory: str | Path) -> bool:
    """Whether a directory is a store of states rather than of labels."""
    path = Path(directory) / STORE
    return path.is_file() and read_json_object(path, DAMAGED).get("kind") == "states"


def _key(words: Sequence[str]) -> bytes:
    return bytes.fromhex(Sentence(tuple(words)).example_id)[:16]


def check_same_teacher(store: TeacherStates, teacher_sha256: Any, whose: str) -> None:
    """Raises `UserError` if states are of another teacher than `whose`, that of this hash."""
    if teacher_sha256 not in (None, store.header.get("teacher_sha256")):
        raise UserError(
            f"{store.directory}: the states are of another teacher than {whose}; give states of that one, or "
            "its labels"
        )
