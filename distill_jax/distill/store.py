"""The teacher-label store: sentences with the teacher's tags and its whole posterior.

A directory of ArrayRecord shards with three small files. `store.json` is written first and says what
the store is of: schema, teacher, decoder settings, the pool of sentences. Each shard is written
aside and renamed, and then its size and checksum to a file of their own, so an interrupted job goes
on at the first shard without. `manifest.json` is written last and repeats them: a store without it
is unfinished. `labels.txt` holds the label set.

Log-posteriors are kept as float16, not posteriors: under a temperature of 10 a tag of probability
1e-8 still weighs 0.16 of the first, and float16 holds its logarithm but not the number.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distill_jax.errors import UserError
from distill_jax.files import atomic_write, sha256_json
from distill_jax.records import Shard, ShardedRecords, check_shard, read_shards, write_shard
from distill_jax.tagging import LabelSet, Sentence

SCHEMA = 1
STORE, MANIFEST, LABELS_FILE = "store.json", "manifest.json", "labels.txt"
_AGAIN = "run the same `distill-jax label` command again"
_UNFINISHED = f"{_AGAIN} to finish it"
_DAMAGED = "delete that directory and label the sentences again"


class TeacherLabel(NamedTuple):
    """One sentence of the pool as the teacher tagged it."""

    words: tuple[str, ...]
    tag_ids: np.ndarray
    """int32[L], sBIO ids."""
    log_posteriors: np.ndarray
    """float32[L, K]: log softmax(u) to float16's precision; -inf for tags that were illegal."""


Label = Callable[[Sequence[Sentence]], list[tuple[np.ndarray, np.ndarray]]]
"""Sentences → for each its tag ids int32[L] and the teacher's scores u float32[L, K]."""


def write_store(
    directory: str | Path,
    sentences: Sequence[Sentence],
    labels: LabelSet,
    label: Label,
    *,
    settings: dict[str, Any],
    shard_size: int = 2048,
    progress: Callable[[int], None] | None = None,
) -> "TeacherLabels":
    """Labels a pool, shard by shard; shards already there are kept.

    `settings` (JSON) must name everything the labels depend on besides the sentences: the teacher's
    hash and the decoder's options. `progress` hears the number of sentences of every shard done.

    Raises:
        UserError: the directory holds a store made with other settings or of other sentences, or
            something else; or the teacher's scores are not finite.
        ValueError: `label` returned arrays of other shapes than the sentences have.
    """
    if shard_size < 1:
        raise UserError(f"{directory}: the shard size must be at least 1, but is {shard_size}")
    directory = Path(directory)
    header = {
        **settings,
        "schema": SCHEMA,
        "labels_sha256": labels.content_hash(),
        "sentences": len(sentences),
        "pool_sha256": sha256_json([sentence.example_id for sentence in sentences]),
        "shard_size": shard_size,
    }
    _claim(directory, header, labels)
    shards: list[Shard] = []
    count = max(1, -(-len(sentences) // shard_size))
    for number in range(count):
        path = directory / f"part-{number:05d}-of-{count:05d}.array_record"
        facts = path.with_suffix(".json")
        chunk = sentences[number * shard_size : (number + 1) * shard_size]
        if not facts.exists():
            records = [
                _encode(sentence, tags, scores, labels.num_tags)
                for sentence, (tags, scores) in zip(chunk, label(chunk), strict=True)
            ]
            # A finished store of which a shard is made again is unfinished meanwhile.
            (directory / MANIFEST).unlink(missing_ok=True)
            _write_json(facts, write_shard(path, records))
        remedy = f"delete that file and {_AGAIN}"
        shards += read_shards([_read_json(facts, remedy)], facts, remedy)
        if progress is not None:
            progress(len(chunk))
    _write_json(directory / MANIFEST, {"shards": shards})
    return TeacherLabels(directory)


class TeacherLabels:
    """A finished store as a random-access sequence of `TeacherLabel`.

    Raises `UserError` if it is unfinished, of another schema, or a shard is missing or truncated.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.header = _read_json(self.directory / STORE, "give a directory that `label` wrote")
        if self.header.get("schema") != SCHEMA:
            raise UserError(
                f"{self.directory / STORE}: schema {self.header.get('schema')!r} instead of {SCHEMA}; "
                "label the sentences again with this version"
            )
        manifest = _read_json(self.directory / MANIFEST, _UNFINISHED)
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

    def verify(self) -> None:
        """Compares every shard's checksum. Raises `UserError` naming a shard that differs."""
        for shard in self._shards:
            check_shard(self.directory / shard["file"], shard, _damaged(shard), checksum=True)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> TeacherLabel:
        if not 0 <= index < len(self):
            raise IndexError(f"label {index} of {len(self)} in {self.directory}")
        return _decode(self._records[index], self.labels.num_tags)

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


def _damaged(shard: Shard) -> str:
    facts = Path(shard["file"]).with_suffix(".json")
    return f"delete {facts} and {_AGAIN}"


def _claim(directory: Path, header: dict[str, Any], labels: LabelSet) -> None:
    header = json.loads(json.dumps(header))  # as it is read back: tuples are lists
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: is not a directory; choose another --output")
    if (directory / STORE).exists():
        found = _read_json(directory / STORE, _DAMAGED)
        different = sorted(key for key in header | found if header.get(key) != found.get(key))
        if different:
            raise UserError(
                f"{directory}: holds labels made with other settings ({', '.join(different)}); "
                "choose another --output or delete that directory"
            )
    elif directory.exists() and any(not path.name.startswith(".") for path in directory.iterdir()):
        raise UserError(f"{directory}: is not empty and not a label store; choose another --output")
    directory.mkdir(parents=True, exist_ok=True)
    # First, because an interrupted job is recognised by it.
    _write_json(directory / STORE, header)
    labels.save(directory / LABELS_FILE)


def _write_json(path: Path, value: Any) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def _read_json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); {remedy}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object; {remedy}")
    return value


def _encode(sentence: Sentence, tag_ids: np.ndarray, scores: np.ndarray, num_tags: int) -> bytes:
    words = len(sentence.words)
    if tag_ids.shape != (words,) or scores.shape != (words, num_tags):
        raise ValueError(
            f"{words} words and {num_tags} tags, but tag ids {tag_ids.shape} and scores {scores.shape}"
        )
    scores = scores.astype(np.float64)
    highest = scores.max(axis=-1, keepdims=True)
    if not np.isfinite(highest).all():
        raise UserError(
            f"sentence {' '.join(sentence.words[:8])!r}: the teacher's scores are not finite; "
            "train the teacher again, with a lower learning rate if it diverged"
        )
    log_z = np.log(np.exp(scores - highest).sum(axis=-1, keepdims=True)) + highest
    log_posteriors = scores - log_z
    # What float16 cannot hold is still not illegal.
    lowest = np.finfo(np.float16).min
    log_posteriors = np.where(np.isneginf(scores), -np.inf, np.maximum(log_posteriors, lowest))
    head = json.dumps(
        {"id": sentence.example_id, "words": sentence.words, "tags": tag_ids.tolist()},
        separators=(",", ":"),
    ).encode()
    return len(head).to_bytes(4, "little") + head + log_posteriors.astype("<f2").tobytes()


def _decode(record: bytes, num_tags: int) -> TeacherLabel:
    end = 4 + int.from_bytes(record[:4], "little")
    head = json.loads(record[4:end])
    words = tuple(head["words"])
    log_posteriors = np.frombuffer(record[end:], "<f2").astype(np.float32)
    return TeacherLabel(
        words, np.array(head["tags"], np.int32), log_posteriors.reshape(len(words), num_tags)
    )
