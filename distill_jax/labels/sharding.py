"""How a store of sentences is written: shard by shard, by one process or several, resumable.

`store.json` is written first and says what the store is of. Each shard is written aside and renamed, and then
its size and checksum to a file of their own, so an interrupted job goes on at the first shard without.
`manifest.json` is written last and repeats them: a store without it is unfinished.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.files import read_json_object, write_json
from distill_jax.integers import ceil_divide
from distill_jax.labels.pool import Pool
from distill_jax.records import Shard, check_shard, read_shards, write_shard
from distill_jax.tagging import Sentence

STORE, MANIFEST = "store.json", "manifest.json"
AGAIN = "run the same `distill-jax label` command again"
UNFINISHED = f"{AGAIN} to finish it"
DAMAGED = "delete that directory and label the sentences again"


def check_options(directory: str | Path, shard_size: int, process: tuple[int, int]) -> None:
    """Raises `UserError` if a store cannot be cut or shared like this."""
    index, processes = process
    if shard_size < 1:
        raise UserError(f"{directory}: the shard size must be at least 1, but is {shard_size}")
    if not 0 <= index < processes:
        raise UserError(f"process {index} of {processes} does not exist; count from 0")


def claim(directory: Path, header: dict[str, Any], what: str) -> None:
    """Writes `store.json`, by which an interrupted job is recognised.

    Raises `UserError` if the directory holds something else than `what` (labels, say) made by this header.
    """
    header = json.loads(json.dumps(header))  # as it is read back: tuples are lists
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: is not a directory; choose another --output")
    if (directory / STORE).exists():
        saved = read_json_object(directory / STORE, DAMAGED)
        different = sorted(key for key in header | saved if header.get(key) != saved.get(key))
        if different:
            raise UserError(
                f"{directory}: holds {what} made with other settings ({', '.join(different)}); "
                "choose another --output or delete that directory"
            )
    elif directory.exists() and any(not path.name.startswith(".") for path in directory.iterdir()):
        raise UserError(
            f"{directory}: is not empty and not a {what[:-1]} store; choose another --output"
        )
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / STORE, header, sort_keys=True)


def write_shards(
    directory: Path,
    pool: Pool,
    records_of: Callable[[Sequence[Sentence]], Iterable[bytes]],
    shard_size: int,
    process: tuple[int, int],
    progress: Callable[[int], None] | None = None,
) -> bool:
    """Writes the shards of this process that are not there yet, and the manifest once all are.

    No more than a shard of the pool is in memory. `progress` hears the number of sentences of every shard
    done. Returns whether the store is finished: it is not where other processes have not done their share.
    """
    index, processes = process
    count = max(1, ceil_divide(len(pool), shard_size))
    paths = [directory / f"part-{n:05d}-of-{count:05d}.array_record" for n in range(count)]
    remaining, position = iter(pool), 0
    for number in range(index, count, processes):
        start = number * shard_size
        end = min(start + shard_size, len(pool))
        if not facts(paths[number]).exists():
            chunk = list(itertools.islice(remaining, start - position, end - position))
            position = end
            records = records_of(chunk)
            _check_still_there(directory)
            # A finished store of which a shard is made again is unfinished meanwhile.
            (directory / MANIFEST).unlink(missing_ok=True)
            write_json(facts(paths[number]), write_shard(paths[number], records), sort_keys=True)
        if progress is not None:
            progress(end - start)
    if not all(facts(path).exists() for path in paths):
        return False
    shards: list[Shard] = []
    for path in paths:
        remedy = f"delete that file and {AGAIN}"
        shards += read_shards([read_json_object(facts(path), remedy)], facts(path), remedy)
    write_json(directory / MANIFEST, {"shards": shards}, sort_keys=True)
    return True


def read_store(directory: Path, schema: int, what: str) -> tuple[dict[str, Any], list[Shard]]:
    """The header and the shards of a finished store, each as large as it was written.

    Raises `UserError` if it is unfinished, of another schema, or a shard is missing or truncated.
    """
    header = read_json_object(directory / STORE, f"give a directory that `{what}` wrote")
    if header.get("schema") != schema:
        raise UserError(
            f"{directory / STORE}: schema {header.get('schema')!r} instead of {schema}; "
            "label the sentences again with this version"
        )
    manifest = read_json_object(directory / MANIFEST, UNFINISHED)
    shards = read_shards(manifest.get("shards"), directory / MANIFEST, UNFINISHED)
    for shard in shards:
        check_shard(directory / shard["file"], shard, damaged(shard))
    return header, shards


def check_count(directory: Path, header: dict[str, Any], found: int) -> None:
    """Raises `UserError` if the shards hold another number of sentences than the header says."""
    if found != header.get("sentences"):
        raise UserError(
            f"{directory / MANIFEST}: the shards hold {found} sentences instead "
            f"of {header.get('sentences')}; {UNFINISHED}"
        )


def _check_still_there(directory: Path) -> None:
    """Refuses to write shards where the store has been removed: a new folder would lack those before."""
    if not (directory / STORE).exists():
        raise UserError(
            f"{directory}: the store has been removed while sentences were labelled; {AGAIN}"
        )


def facts(shard: Path) -> Path:
    """The file that says what a shard is."""
    return shard.with_suffix(".json")


def damaged(shard: Shard) -> str:
    """What to do about a shard that is not what it was."""
    return f"delete {facts(Path(shard['file']))} and {AGAIN}"
