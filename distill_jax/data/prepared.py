"""Prepared examples on disk: what training reads. Needs neither SeqIO nor TensorFlow.

A directory holds ArrayRecord shards, `labels.txt` if the sentences are tagged, and `manifest.json`.
One record is one sentence in compact JSON, `[words, tags]`, tags being IOB2 or null. ArrayRecord
(group size 1) gives the random access that Grain needs for an order that is a pure function of
(seed, step).
"""

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, SupportsIndex

from distill_jax.data import prepared_sources
from distill_jax.data.locations import data_dir
from distill_jax.errors import UserError
from distill_jax.files import atomic_directory, read_json_object, write_json
from distill_jax.records import Shard, ShardedRecords, check_shard, read_shards, write_shard
from distill_jax.tagging.labels import LabelSet
from distill_jax.tagging.sentence import Sentence
from distill_jax_runtime.text import TextWords

SCHEMA = 1
MANIFEST, LABELS_FILE = "manifest.json", "labels.txt"
_REMEDY = "delete the directory and prepare the data again"


class PreparedDataset:
    """A prepared directory as a random-access sequence of `Sentence`.

    It is a Grain `RandomAccessDataSource`, may be shared between threads, and pickles (each process
    opens the shards itself).
    """

    def __init__(self, directory: Path, manifest: dict[str, Any], labels: LabelSet | None) -> None:
        """Use `open` or `write`."""
        self.directory = directory
        self.manifest = manifest
        self.labels = labels
        self._records = ShardedRecords(directory, manifest["shards"])

    @classmethod
    def write(
        cls,
        directory: str | os.PathLike[str],
        sentences: Iterable[Sentence],
        labels: LabelSet | None,
        *,
        shard_size: int = 16_384,
        task: str,
        split: str,
        sources: Iterable[str | os.PathLike[str]] = (),
        definitions: str | None = None,
    ) -> "PreparedDataset":
        """Writes the directory aside, renames it, and opens it. Equal input gives equal bytes.

        Args:
          directory: replaced if it exists.
          sentences: read once, never held in memory together.
          labels: the label set of the task; None if no sentence is tagged.
          shard_size: the most sentences in a shard.
          task: the name of the task, for the manifest.
          split: the name of the split, for the manifest.
          sources: the files the sentences come from, for `sources_changed`.
          definitions: a hash of the code that made the sentences, kept in the manifest.

        Raises:
          UserError: a tagged sentence although `labels` is None, or a tag outside `labels`, naming
            the sentence's number.
        """
        if shard_size < 1:
            raise UserError(f"{directory}: the shard size must be at least 1, but is {shard_size}")
        content = hashlib.sha256()
        tagged = 0
        rules: set[TextWords] = set()

        def encoded() -> Iterator[bytes]:
            nonlocal tagged
            for number, sentence in enumerate(sentences, 1):
                _check_tags(sentence, labels, f"{task} ({split}), sentence {number}")
                record = _encode(sentence)
                content.update(len(record).to_bytes(8, "big") + record)
                tagged += sentence.tags is not None
                if sentence.origin is not None and sentence.origin.rule is not None:
                    rules.add(sentence.origin.rule)
                yield record

        shards: list[Shard] = []
        records = encoded()
        with atomic_directory(directory) as temporary:
            for first in records:
                path = temporary / f"part-{len(shards):05d}.array_record"
                rest = itertools.islice(records, shard_size - 1)
                shards.append(write_shard(path, itertools.chain([first], rest)))
            if labels is not None:
                labels.save(temporary / LABELS_FILE)
            manifest = {
                "schema": SCHEMA,
                "task": task,
                "split": split,
                "examples": sum(shard["examples"] for shard in shards),
                "tagged": tagged,
                "labels_sha256": labels.content_hash() if labels is not None else None,
                "content_sha256": content.hexdigest(),
                "text_words": sorted(rules),
                "shards": shards,
                "definitions_sha256": definitions,
                **prepared_sources.described(sources, data_dir()),
            }
            write_json(temporary / MANIFEST, manifest)
        return cls.open(directory)

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> "PreparedDataset":
        """Opens a prepared directory; checks everything but the bytes of the shards.

        Raises `UserError` if the manifest is missing or malformed, a shard is missing, has another
        size or another number of records, or the labels are not those of the manifest.
        """
        directory = Path(directory)
        manifest = _read_manifest(directory / MANIFEST)
        for shard in manifest["shards"]:
            check_shard(directory / shard["file"], shard, _REMEDY)
        labels = None
        if manifest["labels_sha256"] is not None:
            labels = LabelSet.load(directory / LABELS_FILE)
            if labels.content_hash() != manifest["labels_sha256"]:
                raise UserError(
                    f"{directory / LABELS_FILE}: not the label set the data was prepared with; "
                    f"restore the file, or {_REMEDY}"
                )
        return cls(directory, manifest, labels)

    def verify(self) -> None:
        """Compares the SHA-256 of every shard. Raises `UserError` naming a shard that differs."""
        for shard in self.manifest["shards"]:
            check_shard(self.directory / shard["file"], shard, _REMEDY, checksum=True)

    def sources_changed(self, data_dir: Path | None = None) -> bool:
        """Whether what the data was prepared from is no longer what is there: `prepared_sources.changed`."""
        return prepared_sources.changed(self.manifest, data_dir)

    def content_hash(self) -> str:
        """SHA-256 (hex) over the sentences in order, tags included, however they are sharded."""
        return self.manifest["content_sha256"]

    @property
    def task(self) -> str:
        """The name of the task it was prepared from."""
        return self.manifest["task"]

    @property
    def split(self) -> str:
        """The name of the split it was prepared from."""
        return self.manifest["split"]

    @property
    def text_words(self) -> frozenset[TextWords]:
        """The rules by which its words were found in texts; none where it came as words."""
        return frozenset(self.manifest.get("text_words", ()))

    @property
    def is_tagged(self) -> bool:
        """Whether every sentence has tags."""
        return self.manifest["tagged"] == len(self)

    def __len__(self) -> int:
        return self.manifest["examples"]

    def __getitem__(self, index: SupportsIndex) -> Sentence:
        """Sentence `index`, 0 … len - 1; `IndexError` outside."""
        position = index.__index__()
        if not 0 <= position < len(self):
            raise IndexError(f"sentence {position} of {len(self)} in {self.directory}")
        return _decode(self._records[position])

    def __iter__(self) -> Iterator[Sentence]:
        for position in range(len(self)):
            yield self[position]

    def __repr__(self) -> str:
        # Grain puts this into its checkpoints: it must say which data it is, not where it lies.
        return f"PreparedDataset({self.task!r}, {self.split!r}, {self.content_hash()[:16]})"


def _encode(sentence: Sentence) -> bytes:
    return json.dumps([sentence.words, sentence.tags], separators=(",", ":")).encode()


def _decode(record: bytes) -> Sentence:
    words, tags = json.loads(record)
    return Sentence(tuple(words), None if tags is None else tuple(tags))


def _check_tags(sentence: Sentence, labels: LabelSet | None, place: str) -> None:
    if sentence.tags is None:
        return
    if labels is None:
        raise UserError(f"{place}: has tags but the task has no labels; give it a label set")
    try:
        labels.encode_iob2(sentence.tags)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


_FIELDS: dict[str, type | tuple[type, ...]] = {
    "task": str,
    "split": str,
    "examples": int,
    "tagged": int,
    "labels_sha256": (str, type(None)),
    "content_sha256": str,
    "shards": list,
    "definitions_sha256": (str, type(None)),
    "sources": list,
}
_SOURCE_FIELDS: dict[str, type] = {"path": str, "bytes": int, "sha256": str}
_FOLDER_FIELDS: dict[str, type] = {"path": str, "within": str, "names": list}


def _read_manifest(path: Path) -> dict[str, Any]:
    manifest = read_json_object(path, _REMEDY, absent="give a directory of prepared data")
    if manifest.get("schema") != SCHEMA:
        raise UserError(f"{path}: schema {manifest.get('schema')!r} instead of {SCHEMA}; {_REMEDY}")
    _check_fields(manifest, _FIELDS, path)
    for source in manifest["sources"]:
        _check_fields(source, _SOURCE_FIELDS, path)
    _check_fields({"folders": [], **manifest}, {"folders": list}, path)  # older ones have none
    for folder in manifest.get("folders", ()):
        _check_fields(folder, _FOLDER_FIELDS, path)
    shards = read_shards(manifest["shards"], path, _REMEDY)
    if sum(shard["examples"] for shard in shards) != manifest["examples"]:
        raise UserError(f"{path}: the shards' examples do not add up; {_REMEDY}")
    return manifest


def _check_fields(value: Any, fields: dict[str, Any], path: Path) -> None:
    for field, kind in fields.items():
        if not isinstance(value, dict) or not isinstance(value.get(field, ...), kind):
            raise UserError(f"{path}: {field!r} is missing or malformed; {_REMEDY}")
