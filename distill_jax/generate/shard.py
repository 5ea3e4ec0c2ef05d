"""The files of a shard of a pool; see `pool`."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.files import atomic_write, read_json_object, sha256_file, write_json
from distill_jax.generate.filters import Filters, Reason, perplexity
from distill_jax.generate.sources import Drawn

AGAIN = "run the same `distill-jax generate` command again"


class PoolShard:
    """The files of one shard."""

    def __init__(self, directory: Path, place: int, count: int) -> None:
        name = f"{place:05d}-of-{count:05d}"
        self.accepted = directory / f"part-{name}.jsonl"
        self.rejected = directory / f"rejected-{name}.jsonl"
        self.facts_file = directory / f"part-{name}.json"

    def write(self, start: int, samples: Sequence[Drawn], filters: Filters) -> None:
        """Judges samples and writes them."""
        reasons = filters.judge(samples)
        records = [
            _record(start + place, sample, reason)
            for place, (sample, reason) in enumerate(zip(samples, reasons, strict=True))
        ]
        files = {}
        for path, is_rejected in ((self.accepted, False), (self.rejected, True)):
            with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
                for record in records:
                    if ("rejected" in record) == is_rejected:
                        file.write(json.dumps(record, ensure_ascii=False) + "\n")
            files[path.name] = _state(path)
        counts = Counter[str](reason or "accepted" for reason in reasons)
        write_json(self.facts_file, {"files": files, "counts": counts}, sort_keys=True)

    def facts(self) -> dict[str, Any]:
        """What was written of it."""
        facts = read_json_object(self.facts_file, self.remedy())
        self.check(facts)
        return dict(facts)

    def check(self, facts: Mapping[str, Any], *, checksum: bool = False) -> None:
        """Raises `UserError` if a file is missing, or not what the facts say."""
        for path in (self.accepted, self.rejected):
            saved = facts.get("files", {}).get(path.name, {})
            if not path.exists() or path.stat().st_size != saved.get("bytes"):
                raise UserError(f"{path}: missing or cut short; {self.remedy()}")
            if checksum and sha256_file(path) != saved.get("sha256"):
                raise UserError(f"{path}: its bytes have changed; {self.remedy()}")

    def remedy(self) -> str:
        """What to do where one of its files is damaged."""
        return f"delete {self.facts_file} and {AGAIN}"

    def read(self, path: Path) -> Iterator[dict[str, Any]]:
        """The records of one of its files. Raises `UserError` for a line that is none."""
        try:
            with path.open(encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    try:
                        record = json.loads(line)
                        record["tokens"], record["number"]
                    except (ValueError, KeyError, TypeError):
                        raise UserError(f"{path}:{number}: is damaged; {self.remedy()}") from None
                    yield record
        except OSError:
            raise UserError(f"{path}: is missing; {self.remedy()}") from None


def _record(number: int, sample: Drawn, reason: Reason | None) -> dict[str, Any]:
    """A line of a file: what is not known is left out."""
    value = perplexity(sample)
    fields = {
        "number": number,
        "tokens": sample.words,
        "tags": sample.tags,
        "log_probability": None
        if sample.log_probability is None
        else round(sample.log_probability, 4),
        "perplexity": None if value is None else round(value, 4),
        "rejected": reason,
    }
    return {name: field for name, field in fields.items() if field is not None}


def _state(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
