"""The teacher-label store: sentences with the teacher's tags and its whole posterior.

A directory of ArrayRecord shards (`sharding`) whose `store.json` has schema, teacher, decoder settings and
the pool of sentences; `labels.txt` holds the label set. What a record holds: see `label_record`.

Several processes may write one store: each makes its share of the shards, and whichever finds all
of them there writes the manifest, the same whoever it is.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distill_jax.errors import UserError
from distill_jax.files import read_json_object, sha256_json
from distill_jax.labels.pool import Pool, hash_of_ids
from distill_jax.labels.record import TeacherLabel, decode_label, encode_label
from distill_jax.labels.sharding import (
    DAMAGED,
    MANIFEST,
    STORE,
    check_count,
    check_options,
    claim,
    damaged,
    facts,
    read_store,
    write_shards,
)
from distill_jax.records import ShardedRecords, check_shard
from distill_jax.tagging import LabelSet, Sentence

SCHEMA = 2
LABELS_FILE = "labels.txt"


Label = Callable[[Sequence[Sentence]], list[tuple[np.ndarray, np.ndarray]]]
"""Sentences → for each its tag ids int32[L] and the teacher's scores u float32[L, K]."""


class StoreOptions(NamedTuple):
    """How a store is laid out.

    `shard_size` counts sentences. `top_k` keeps so many tags of a word and the mass of the others (None: all
    tags). `process` is (index, count): of several processes that were given the same sentences,
    each labels every count-th shard.
    """

    shard_size: int = 2048
    top_k: int | None = None
    process: tuple[int, int] = (0, 1)


def write_store(
    directory: str | Path,
    sentences: Sequence[Sentence] | Pool,
    labels: LabelSet,
    label: Label,
    *,
    settings: dict[str, Any],
    options: StoreOptions = StoreOptions(),  # noqa: B008 (immutable)
    progress: Callable[[int], None] | None = None,
) -> "TeacherLabels | None":
    """Labels a pool, shard by shard; shards already there are kept.

    No more than a shard of a `Pool` is in memory.
    `settings` (JSON) must name everything the labels depend on besides the sentences: the teacher's
    hash and the decoder's options. `progress` hears the number of sentences of every shard done.

    Returns the finished store, or None where other processes have not finished their share.

    Raises:
        UserError: the directory holds a store made with other settings or of other sentences, or
            something else; or the teacher's scores are not finite; or the pool has changed.
        ValueError: `label` returned arrays of other shapes than the sentences have.
    """
    shard_size, top_k, process = options
    check_options(directory, shard_size, process)
    if top_k is not None and not 1 <= top_k <= labels.num_tags:
        raise UserError(
            f"{directory}: the {top_k} best tags cannot be kept of {labels.num_tags}; use a number "
            "between 1 and that, or keep all"
        )
    directory = Path(directory)
    pool = sentences if isinstance(sentences, Pool) else Pool(lambda: sentences, once=False)
    header = {
        **settings,
        "schema": SCHEMA,
        "labels_sha256": labels.content_hash(),
        "sentences": len(pool),
        "pool_sha256": pool.content_hash,
        "shard_size": shard_size,
        "top_k": top_k,
    }
    claim(directory, header, "labels")
    labels.save(directory / LABELS_FILE)

    def records_of(chunk: Sequence[Sentence]) -> list[bytes]:
        return [
            encode_label(sentence, tags, scores, labels.num_tags, top_k)
            for sentence, (tags, scores) in zip(chunk, label(chunk), strict=True)
        ]

    whole = write_shards(directory, pool, records_of, shard_size, process, progress)
    return TeacherLabels(directory) if whole else None


class TeacherLabels:
    """A finished store as a random-access sequence of `TeacherLabel`.

    Raises `UserError` if it is unfinished, of another schema, or a shard is missing or truncated.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.header, self._shards = read_store(self.directory, SCHEMA, "label")
        self.labels = LabelSet.load(self.directory / LABELS_FILE)
        if self.labels.content_hash() != self.header.get("labels_sha256"):
            raise UserError(
                f"{self.directory / LABELS_FILE}: not the label set of this store; restore the file"
            )
        self._records = ShardedRecords(self.directory, self._shards)
        check_count(self.directory, self.header, len(self._records))

    def content_hash(self) -> str:
        """SHA-256 (hex) over the settings and the shards' checksums."""
        return sha256_json([self.header, self._shards])

    def verify(self) -> None:
        """Reads everything: checksums of the shards, and that they hold the pool of the header.

        Raises `UserError` naming what differs.
        """
        for shard in self._shards:
            path = self.directory / shard["file"]
            check_shard(path, shard, damaged(shard), checksum=True)
            if read_json_object(facts(path), damaged(shard)) != shard:
                raise UserError(f"{facts(path)}: not what {MANIFEST} says; {damaged(shard)}")
        pool_hash = hash_of_ids(Sentence(label.words).example_id for label in self)
        if pool_hash != self.header.get("pool_sha256"):
            raise UserError(
                f"{self.directory}: the sentences in the shards are not those of {STORE}; {DAMAGED}"
            )

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> TeacherLabel:
        if not 0 <= index < len(self):
            raise IndexError(f"label {index} of {len(self)} in {self.directory}")
        record = self._records[index]
        try:
            return decode_label(record, self.labels.num_tags, self.header.get("top_k"))
        except (ValueError, IndexError, KeyError, TypeError):
            raise UserError(
                f"{self.directory}: label {index} is not what {STORE} says (top_k "
                f"{self.header.get('top_k')!r}, {self.labels.num_tags} tags); {DAMAGED}"
            ) from None

    def __iter__(self) -> Iterator[TeacherLabel]:
        for index in range(len(self)):
            yield self[index]

    def check_labels(self, labels: LabelSet, what: str) -> None:
        """Raises `UserError` if the store's label set is not that of the student's task."""
        if labels.content_hash() != self.labels.content_hash():
            raise UserError(
                f"{self.directory}: the store has other labels than {what} "
                f"({len(self.labels.names)} and {len(labels.names)}, or other names, texts or order); "
                "label the sentences with a teacher of the same task"
            )
