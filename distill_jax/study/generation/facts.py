"""What is known of a cell's pools, kept in `pools.json` of its folder for tables and page."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distill_jax.errors import UserError
from distill_jax.files import write_text
from distill_jax.labels.cut import is_sure
from distill_jax.labels.record import TeacherLabel
from distill_jax.study.cell_data import CellData
from distill_jax.study.generation.pools import CellPool, Sample
from distill_jax.tagging import LabelSet, Span, spans_from_iob2

POOLS = "pools.json"
SCHEMA = 1
_SHOWN = 8
"""Accepted samples that are kept for the page; of rejected ones `_OF_REASON` of each filter."""
_OF_REASON = 2


class ShownSample(NamedTuple):
    """A sample that the page shows: the teacher's spans, its own where it has tags, why it was rejected."""

    words: tuple[str, ...]
    teacher: tuple[Span, ...]
    own: tuple[Span, ...] | None
    rejected: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolFacts:
    """Of one pool of a cell.

    Attributes:
        generator: that made it.
        labels: names of the task's.
        counts: accepted, and rejected by each filter.
        figures: diversity, and overlap with held-out sentences.
        new_mentions: the share of mentions, each counted once, that no gold sentence has, by the teacher.
        sure: the share of accepted sentences that the teacher is sure of; None where nobody asked.
        agreement: the share of those with tags of their own that the teacher tags alike; None without any.
        samples: some of them.
    """

    generator: str
    labels: tuple[str, ...]
    counts: Mapping[str, int]
    figures: Mapping[str, Any]
    new_mentions: float | None
    sure: float | None
    agreement: float | None
    samples: tuple[ShownSample, ...]


def shown_samples(pool: CellPool) -> list[Sample]:
    """The samples that a page shows: accepted ones from all over the pool, and the first of each reason."""
    accepted = [each for each in pool.samples if each.rejected is None and each.sentence.words]
    step = max(1, len(accepted) // _SHOWN)
    seen = Counter[str]()
    rejected = []
    for sample in pool.samples:
        if sample.rejected is not None and sample.sentence.words:
            seen[sample.rejected] += 1
            if seen[sample.rejected] <= _OF_REASON:
                rejected.append(sample)
    return accepted[::step][:_SHOWN] + rejected


def facts_of(
    generator: str,
    pool: CellPool,
    data: CellData,
    labels: Mapping[tuple[str, ...], TeacherLabel],
    min_confidence: float,
) -> PoolFacts:
    """What is to be known of a pool whose accepted and shown sentences the teacher has labelled."""
    accepted = [sentence for sentence in pool.accepted() if sentence.words]
    known = {_mention(s.words, span) for s in data.gold for span in spans_from_iob2(s.tags or ())}
    mentions, alike, tagged = set(), 0, 0
    for sentence in accepted:
        spans = _spans(labels[sentence.words], data.labels)
        mentions |= {_mention(sentence.words, span) for span in spans}
        if sentence.tags is not None:
            tagged += 1
            alike += spans == tuple(spans_from_iob2(sentence.tags))
    sure = sum(is_sure(labels[sentence.words], min_confidence) for sentence in accepted)
    return PoolFacts(
        generator=generator,
        labels=tuple(data.labels.names),
        counts=pool.counts,
        figures=pool.figures,
        new_mentions=_share(len(mentions - known), len(mentions)),
        sure=_share(sure, len(accepted)) if min_confidence else None,
        agreement=_share(alike, tagged),
        samples=tuple(
            ShownSample(
                sentence.words,
                _spans(labels[sentence.words], data.labels),
                None if sentence.tags is None else tuple(spans_from_iob2(sentence.tags)),
                rejected,
            )
            for sentence, rejected in shown_samples(pool)
        ),
    )


def write_facts(folder: Path, facts: Sequence[PoolFacts]) -> None:
    """Writes `pools.json` into a cell's folder."""
    pools = []
    for one in facts:
        samples = [sample._asdict() for sample in one.samples]
        pools.append({**dataclasses.asdict(one), "samples": samples})
    text = json.dumps({"schema": SCHEMA, "pools": pools}, ensure_ascii=False, indent=1)
    write_text(folder / POOLS, f"{text}\n")


def read_facts(folder: Path) -> list[PoolFacts]:
    """What is in a cell's folder; nothing if there is no such file. Raises `UserError` if it is damaged."""
    path = folder / POOLS
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["schema"] != SCHEMA:
            raise UserError(f"{path}: schema {content['schema']!r} instead of {SCHEMA}; delete it")
        return [
            PoolFacts(
                **{
                    **pool,
                    "labels": tuple(pool["labels"]),
                    "samples": tuple(_sample(sample) for sample in pool["samples"]),
                }
            )
            for pool in content["pools"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: damaged; delete it, and the page does without") from None


def _sample(fields: Mapping[str, Any]) -> ShownSample:
    def spans(values: Any) -> tuple[Span, ...]:
        return tuple(Span(int(start), int(end), str(label)) for start, end, label in values)

    own = fields["own"]
    return ShownSample(
        tuple(fields["words"]),
        spans(fields["teacher"]),
        None if own is None else spans(own),
        fields["rejected"],
    )


def _spans(label: TeacherLabel, labels: LabelSet) -> tuple[Span, ...]:
    return tuple(spans_from_iob2(labels.decode_iob2(label.tag_ids)))


def _mention(words: Sequence[str], span: Span) -> tuple[str, ...]:
    return tuple(word.casefold() for word in words[span.start : span.end])


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
