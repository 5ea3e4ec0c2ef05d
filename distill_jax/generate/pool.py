"""A pool of new sentences on disk: written shard by shard, gone on with byte for byte, read when whole.

A directory holds `generated.json`, written first: what the pool is of. Of each shard there are two JSON Lines
files, `part-…` with what was accepted (`tokens`, and `tags` where the source knows them, which any reader
of JSON Lines takes) and `rejected-…` with what was not and why, and a `part-….json` with their sizes,
checksums and counts, written after them: a shard without it is made again. `manifest.json` is written last
and repeats them, with the figures of the whole: a pool without it is unfinished.
"""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distill_jax.errors import UserError
from distill_jax.files import read_json_object, sha256_json, write_json
from distill_jax.generate.figures import MOST, diversity, overlap
from distill_jax.generate.filters import REASONS, Filters, Reason
from distill_jax.generate.shard import AGAIN, PoolShard
from distill_jax.generate.sources import Source
from distill_jax.integers import ceil_divide
from distill_jax.signals import check_stopped
from distill_jax.tagging import Sentence

SCHEMA = 1
POOL, MANIFEST = "generated.json", "manifest.json"

Words = Sequence[str]


class PoolLayout(NamedTuple):
    """How many samples are drawn, and how many of them a shard has."""

    number: int
    shard_size: int = 1024


class Compared(NamedTuple):
    """Sentences that a pool's figures compare it with: gold, and files that are held out, by name."""

    gold: Sequence[Words] = ()
    held_out: Mapping[str, Sequence[Words]] = {}


def write_pool(
    directory: str | Path,
    source: Source,
    filters: Filters,
    *,
    layout: PoolLayout,
    settings: Mapping[str, Any],
    compared: Compared = Compared(),  # noqa: B008 (immutable)
    progress: Callable[[int], None] | None = None,
) -> "GeneratedPool":
    """Draws and judges samples, shard by shard; shards already there are kept.

    Args:
        settings: JSON that names all that the pool depends on: source, seed, filters, gold.
        filters: fresh; it is told of the accepted sentences of shards that are there.
        progress: hears the number of samples of every shard done.

    Raises:
        UserError: the directory holds something else, or a pool of other settings; or nothing is left.
    """
    number, shard_size = layout
    if number < 1 or shard_size < 1:
        raise UserError(f"{directory}: {number} samples in shards of {shard_size}; use at least 1")
    directory = Path(directory)
    header = {**settings, "schema": SCHEMA, "number": number, "shard_size": shard_size}
    _claim(directory, header)
    count = ceil_divide(number, shard_size)
    shards = [PoolShard(directory, place, count) for place in range(count)]
    for place, shard in enumerate(shards):
        check_stopped()
        start, end = place * shard_size, min((place + 1) * shard_size, number)
        if shard.facts_file.exists():
            filters.remember(record["tokens"] for record in shard.read(shard.accepted))
        else:
            # A finished pool of which a shard is made again is unfinished meanwhile.
            (directory / MANIFEST).unlink(missing_ok=True)
            shard.write(start, source.draw(start, end), filters)
        if progress is not None:
            progress(end - start)
    facts = [shard.facts() for shard in shards]
    counts = Counter[str]()
    for each in facts:
        counts.update(each["counts"])
    if not counts["accepted"]:
        raise UserError(f"{directory}: the filters leave nothing of {_taken(counts)}; {_LESS}")
    manifest = {
        "shards": facts,
        "counts": {name: counts[name] for name in ("accepted", *REASONS)},
        "figures": _figures(shards, compared),
    }
    write_json(directory / MANIFEST, manifest, sort_keys=True)
    return GeneratedPool(directory)


_LESS = "switch a filter off, widen its band, or train the generator longer"


class GeneratedPool:
    """A finished pool.

    Attributes:
        header: what it is of.
        counts: samples accepted, and rejected by each filter.
        figures: diversity, and overlap with held-out files.

    Raises:
        UserError: it is unfinished, of another schema, or a file is missing or truncated.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.header = read_json_object(
            self.directory / POOL, "give a directory that `generate` wrote"
        )
        if self.header.get("schema") != SCHEMA:
            raise UserError(
                f"{self.directory / POOL}: schema {self.header.get('schema')!r} instead of {SCHEMA}; "
                "generate the sentences again with this version"
            )
        manifest = read_json_object(self.directory / MANIFEST, f"{AGAIN} to finish it")
        self.counts: dict[str, int] = manifest.get("counts", {})
        self.figures: dict[str, Any] = manifest.get("figures", {})
        self._facts: list[dict[str, Any]] = manifest.get("shards", [])
        count = len(self._facts)
        self._shards = [PoolShard(self.directory, place, count) for place in range(count)]
        for shard, facts in zip(self._shards, self._facts, strict=True):
            shard.check(facts)

    def __len__(self) -> int:
        return self.counts["accepted"]

    def content_hash(self) -> str:
        """SHA-256 (hex) over the settings and the files' checksums."""
        return sha256_json([self.header, self._facts])

    def located(self) -> Iterator[tuple[str, Sentence]]:
        """The accepted sentences in order, each with its file and line."""
        for shard in self._shards:
            for line, record in enumerate(shard.read(shard.accepted), 1):
                tags = record.get("tags")
                sentence = Sentence(tuple(record["tokens"]), None if tags is None else tuple(tags))
                yield f"{shard.accepted}:{line}", sentence

    def samples(self) -> Iterator[tuple[Sentence, Reason | None]]:
        """All that was drawn, in the order of numbers, each with the filter that rejected it."""
        for shard in self._shards:
            records = itertools.chain(shard.read(shard.accepted), shard.read(shard.rejected))
            for record in sorted(records, key=lambda record: record["number"]):
                tags = record.get("tags")
                sentence = Sentence(tuple(record["tokens"]), None if tags is None else tuple(tags))
                yield sentence, record.get("rejected")

    def verify(self) -> None:
        """Reads everything: checksums, and that files hold as many samples as counted, each in its place.

        Raises `UserError` naming what differs.
        """
        expected = 0
        for shard, facts in zip(self._shards, self._facts, strict=True):
            shard.check(facts, checksum=True)
            numbers = [
                record["number"]
                for path in (shard.accepted, shard.rejected)
                for record in shard.read(path)
            ]
            end = expected + sum(facts["counts"].values())
            if sorted(numbers) != list(range(expected, end)):
                raise UserError(
                    f"{shard.accepted}: not the samples {expected} to {end - 1}; {shard.remedy()}"
                )
            expected = end


def _figures(shards: Iterable[PoolShard], compared: Compared) -> dict[str, Any]:
    """Of the accepted sentences, read again."""

    def accepted() -> Iterator[Words]:
        for shard in shards:
            for record in shard.read(shard.accepted):
                yield record["tokens"]

    return {
        "diversity": diversity(list(itertools.islice(accepted(), MOST)), compared.gold),
        "held_out": {
            name: overlap(accepted(), sentences) for name, sentences in compared.held_out.items()
        },
    }


def _taken(counts: Mapping[str, int]) -> str:
    """How many there were, and which filter took how many."""
    taken = ", ".join(f"{name} {counts[name]}" for name in REASONS if counts[name])
    return f"{sum(counts.values())} sentences ({taken or 'there were none'})"


def _claim(directory: Path, header: dict[str, Any]) -> None:
    """Writes the header first, or compares it with the one that is there."""
    header = json.loads(json.dumps(header))  # as it is read back: tuples are lists
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: is not a directory; choose another --output")
    if (directory / POOL).exists():
        saved = read_json_object(directory / POOL, "delete that directory and generate again")
        different = sorted(key for key in header | saved if header.get(key) != saved.get(key))
        if different:
            raise UserError(
                f"{directory}: holds sentences made with other settings ({', '.join(different)}); "
                "choose another --output or delete that directory"
            )
        return
    if directory.exists() and any(not path.name.startswith(".") for path in directory.iterdir()):
        raise UserError(
            f"{directory}: is not empty and no pool of sentences; choose another --output"
        )
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / POOL, header, sort_keys=True)
