"""Where a cell's teacher and its best student differ: kept in the cell, shown on the page.

The best student is that with the highest F1 on the dev sentences, as everywhere.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distill_jax.errors import UserError
from distill_jax.files import atomic_write
from distill_jax.inference import Prediction
from distill_jax.report.elements import Html, details, join, paragraph
from distill_jax.report.figures import agreement
from distill_jax.report.sentences import Example, Reading, sentence_list
from distill_jax.tagging import LabelSet, Sentence, Span, spans_from_iob2

DIFFERENCES = "differences.json"
SCHEMA = 1


class Difference(NamedTuple):
    """A sentence that teacher and student tag differently."""

    words: tuple[str, ...]
    gold: tuple[Span, ...]
    teacher: tuple[Span, ...]
    student: tuple[Span, ...]


class Differences(NamedTuple):
    """What `differences.json` holds."""

    student: str
    """Its name."""
    labels: tuple[str, ...]
    counts: tuple[tuple[int, int], tuple[int, int]]
    """Sentences by whether the teacher (first) and the student have all spans right (0) or not (1)."""
    sentences: tuple[Difference, ...]
    """Those where they differ, in the order of the data."""


def differences(
    labels: LabelSet,
    sentences: Sequence[Sentence],
    teacher: Sequence[Prediction],
    name: str,
    student: Sequence[Prediction],
) -> Differences:
    """Compares predictions for the same sentences, which have tags."""
    counts = [[0, 0], [0, 0]]
    found = []
    for sentence, first, second in zip(sentences, teacher, student, strict=True):
        assert sentence.tags is not None, "a study's sentences have tags"
        tags = (
            sentence.tags,
            labels.decode_iob2(first.tag_ids),
            labels.decode_iob2(second.tag_ids),
        )
        gold, of_teacher, of_student = (tuple(spans_from_iob2(each)) for each in tags)
        counts[of_teacher != gold][of_student != gold] += 1
        if of_teacher != of_student:
            found.append(Difference(tuple(sentence.words), gold, of_teacher, of_student))
    (a, b), (c, d) = counts
    return Differences(name, tuple(labels.names), ((a, b), (c, d)), tuple(found))


def write_differences(folder: Path, found: Differences) -> None:
    """Writes `differences.json` into a cell's folder, a sentence a line."""
    head = {"schema": SCHEMA, "student": found.student, "labels": found.labels}
    lines = [json.dumps(head | {"counts": found.counts}, ensure_ascii=False)]
    lines += [json.dumps(one._asdict(), ensure_ascii=False) for one in found.sentences]
    with atomic_write(folder / DIFFERENCES) as temporary:
        temporary.write_text("[" + ",\n".join(lines) + "]\n", "utf-8")


def read_differences(folder: Path) -> Differences | None:
    """What is in a cell's folder; None if nothing is.

    Raises `UserError` if the file is damaged or of another schema.
    """
    path = folder / DIFFERENCES
    if not path.exists():
        return None
    try:
        head, *sentences = json.loads(path.read_text("utf-8"))
        if head["schema"] != SCHEMA:
            raise UserError(f"{path}: schema {head['schema']!r} instead of {SCHEMA}; delete it")
        (a, b), (c, d) = head["counts"]
        found = tuple(
            Difference(
                tuple(one["words"]),
                *(_spans(one[name]) for name in ("gold", "teacher", "student")),
            )
            for one in sentences
        )
        return Differences(head["student"], tuple(head["labels"]), ((a, b), (c, d)), found)
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: damaged; delete it, and the page does without") from None


def differences_content(title: str, found: Differences, most: int = 50) -> Html:
    """A table of who is right, and the first sentences, folded.

    Those the teacher has right and the student wrong stand first, then the reverse, then the others.
    """

    def order(one: Difference) -> int:
        return 0 if one.teacher == one.gold else 1 if one.student == one.gold else 2

    who = ("the teacher is right", "the student is right", "neither is right")
    shown = [
        Example(
            one.words,
            [
                Reading("gold", one.gold),
                Reading("teacher", one.teacher),
                Reading("student", one.student),
            ],
            who[order(one)],
        )
        for one in sorted(found.sentences, key=order)[:most]
    ]
    parts = [
        agreement(found.counts, "teacher", "student", f"{title}: sentences by who is right"),
        paragraph(
            f"{len(found.sentences):,} sentences are tagged differently by the teacher and "
            f"{found.student}."
        ),
    ]
    if shown:
        summary = f"{'All' if len(shown) == len(found.sentences) else f'The first {len(shown)}'}"
        parts.append(details(f"{summary} of them", sentence_list(shown, found.labels)))
    return join(parts)


def _spans(values: Any) -> tuple[Span, ...]:
    return tuple(Span(int(start), int(end), str(label)) for start, end, label in values)
