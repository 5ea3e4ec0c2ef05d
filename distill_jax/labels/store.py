"""The teacher-label store: sentences with the teacher's tags and its whole posterior.

A directory of ArrayRecord shards with three small files. `store.json` is written first and says what
the store is of: schema, teacher, decoder settings, the pool of sentences. Each shard is written
aside and renamed, and then its size and checksum to a file of their own, so an interrupted job goes
on at the first shard without. `manifest.json` is written last and repeats them: a store without it
is unfinished. `labels.txt` holds the label set. What a record holds: see `label_record`.

Several processes may write one store: each makes its share of the shards, and whichever finds all
of them there writes the manifest, the same whoever it is.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distill_jax.errors import UserError
from distill_jax.files import read_json_object, sha256_json, write_json
from distill_jax.integers import ceil_divide
from distill_jax.labels.pool import Pool, hash_of_ids
from distill_jax.labels.record import TeacherLabel, decode_label, encode_label
from distill_jax.records import Shard, ShardedRecords, check_shard, read_shards, write_shard
from distill_jax.tagging import LabelSet, Sentence

SCHEMA = 2
STORE, MANIFEST, LABELS_FILE = "store.json", "manifest.json", "labels.txt"
_AGAIN = "run the same `distill-jax label` command again"
_UNFINISHED = f"{_AGAIN} to finish it"
_DAMAGED = "delete that directory and label the sentences again"


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
    shard_size, top_k, (index, processes) = options
    if shard_size < 1:
        raise UserError(f"{directory}: the shard size must be at least 1, but is {shard_size}")
    if top_k is not None and not 1 <= top_k <= labels.num_tags:
        raise UserError(
            f"{directory}: the {top_k} best tags cannot be kept of {labels.num_tags}; use a number "
            "between 1 and that, or keep all"
        )
    if not 0 <= index < processes:
        raise UserError(f"process {index} of {processes} does not exist; count from 0")
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
    _claim(directory, header, labels)
    count = max(1, ceil_divide(len(pool), shard_size))
    paths = [directory / f"part-{n:05d}-of-{count:05d}.array_record" for n in range(count)]
    remaining, position = iter(pool), 0
    for number in range(index, count, processes):
        start = number * shard_size
        end = min(start + shard_size, len(pool))
        if not _facts(paths[number]).exists():
            chunk = list(itertools.islice(remaining, start - position, end - position))
            position = end
            records = [
                encode_label(sentence, tags, scores, labels.num_tags, top_k)
                for sentence, (tags, scores) in zip(chunk, label(chunk), strict=True)
            ]
            _check_still_there(directory)
            # A finished store of which a shard is made again is unfinished meanwhile.
            (directory / MANIFEST).unlink(missing_ok=True)
            write_json(_facts(paths[number]), write_shard(paths[number], records), sort_keys=True)
        if progress is not None:
            progress(end - start)
    if not all(_facts(path).exists() for path in paths):
        return None
    shards: list[Shard] = []
    for path in paths:
        remedy = f"delete that file and {_AGAIN}"
        shards += read_shards([read_json_object(_facts(path), remedy)], _facts(path), remedy)
    write_json(directory / MANIFEST, {"shards": shards}, sort_keys=True)
    return TeacherLabels(directory)


class TeacherLabels:
    """A finished store as a random-access sequence of `TeacherLabel`.

    Raises `UserError` if it is unfinished, of another schema, or a shard is missing or truncated.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.header = read_json_object(
            self.directory / STORE, "give a directory that `label` wrote"
        )
        if self.header.get("schema") != SCHEMA:
            raise UserError(
                f"{self.directory / STORE}: schema {self.header.get('schema')!r} instead of {SCHEMA}; "
                "label the sentences again with this version"
            )
        manifest = read_json_object(self.directory / MANIFEST, _UNFINISHED)
        self._shards = read_shards(manifest.get("shards"), self.directory / MANIFEST, _UNFINISHED)
        for shard in self._shards:
            check_shard(self.directory / shard["file"], shard, _damaged(shard))
        self.labels = LabelSet.load(self.directory / LABELS_FILE)
        if self.labels.content_hash() != self.header.get("labels_sha256"):
            raise UserError(
                f"{self.directory / LABELS_FILE}: not the label set of this store; restore the file"
            )
        self._records = ShardedRecords(self.directory, self._shards)
        if len(self._records) != self.header.get("sentences"):
            raise UserError(
                f"{self.directory / MANIFEST}: the shards hold {len(self._records)} sentences instead "
                f"of {self.header.get('sentences')}; {_UNFINISHED}"
            )

    def content_hash(self) -> str:
        """SHA-256 (hex) over the settings and the shards' checksums."""
        return sha256_json([self.header, self._shards])

    def verify(self) -> None:
        """Reads everything: checksums of the shards, and that they hold the pool of the header.

        Raises `UserError` naming what differs.
        """
        for shard in self._shards:
            path = self.directory / shard["file"]
            check_shard(path, shard, _damaged(shard), checksum=True)
            if read_json_object(_facts(path), _damaged(shard)) != shard:
                raise UserError(f"{_facts(path)}: not what {MANIFEST} says; {_damaged(shard)}")
        pool_hash = hash_of_ids(Sentence(label.words).example_id for label in self)
        if pool_hash != self.header.get("pool_sha256"):
            raise UserError(
                f"{self.directory}: the sentences in the shards are not those of {STORE}; {_DAMAGED}"
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
                f"{self.header.get('top_k')!r}, {self.labels.num_tags} tags); {_DAMAGED}"
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


def _check_still_there(directory: Path) -> None:
    """Refuses to write shards where the store has been removed: a new folder would lack those before."""
    if not (directory / STORE).exists():
        raise UserError(
            f"{directory}: the store has been removed while sentences were labelled; {_AGAIN}"
        )


def _facts(shard: Path) -> Path:
    return shard.with_suffix(".json")


def _damaged(shard: Shard) -> str:
    return f"delete {_facts(Path(shard['file']))} and {_AGAIN}"


def _claim(directory: Path, header: dict[str, Any], labels: LabelSet) -> None:
    header = json.loads(json.dumps(header))  # as it is read back: tuples are lists
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: is not a directory; choose another --output")
    if (directory / STORE).exists():
        saved = read_json_object(directory / STORE, _DAMAGED)
        different = sorted(key for key in header | saved if header.get(key) != saved.get(key))
        if different:
            raise UserError(
                f"{directory}: holds labels made with other settings ({', '.join(different)}); "
                "choose another --output or delete that directory"
            )
    elif directory.exists() and any(not path.name.startswith(".") for path in directory.iterdir()):
        raise UserError(f"{directory}: is not empty and not a label store; choose another --output")
    directory.mkdir(parents=True, exist_ok=True)
    # First, because an interrupted job is recognised by it.
    write_json(directory / STORE, header, sort_keys=True)
    labels.save(directory / LABELS_FILE)
