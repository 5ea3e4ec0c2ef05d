"""A cell's teacher and its best student on the test sentences, kept in the cell for the page.

The best student is that with the highest F1 on the dev sentences, as everywhere.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distill_jax.errors import UserError
from distill_jax.files import write_text
from distill_jax.inference import Prediction
from distill_jax.inference.evaluation import evaluate
from distill_jax.report.reliability import CALIBRATION
from distill_jax.tagging import LabelSet, Sentence, Span, spans_from_iob2

COMPARISON = "comparison.json"
SCHEMA = 1


class Tagged(NamedTuple):
    """The spans of a sentence: the gold ones, and those of each model."""

    words: tuple[str, ...]
    gold: tuple[Span, ...]
    teacher: tuple[Span, ...]
    student: tuple[Span, ...]


class Comparison(NamedTuple):
    """What `comparison.json` holds."""

    student: str
    """Its name."""
    labels: tuple[str, ...]
    calibration: Mapping[str, Mapping[str, Any]]
    """What a reliability diagram needs, of `teacher` and `student`; empty without posteriors."""
    sentences: tuple[Tagged, ...]
    """All, in the order of the data."""

    @property
    def different(self) -> list[Tagged]:
        """The sentences that teacher and student tag differently."""
        return [one for one in self.sentences if one.teacher != one.student]

    @property
    def counts(self) -> list[list[int]]:
        """Sentences by whether the teacher (first) and the student have all spans right (0) or not."""
        counts = [[0, 0], [0, 0]]
        for one in self.sentences:
            counts[one.teacher != one.gold][one.student != one.gold] += 1
        return counts


def compare(
    labels: LabelSet,
    sentences: Sequence[Sentence],
    teacher: Sequence[Prediction],
    name: str,
    student: Sequence[Prediction],
) -> Comparison:
    """Compares predictions for the same sentences, which have tags."""
    compared = []
    for sentence, first, second in zip(sentences, teacher, student, strict=True):
        assert sentence.tags is not None, "a study's sentences have tags"
        tags = (
            sentence.tags,
            labels.decode_iob2(first.tag_ids),
            labels.decode_iob2(second.tag_ids),
        )
        compared.append(
            Tagged(tuple(sentence.words), *(tuple(spans_from_iob2(each)) for each in tags))
        )
    calibration = {}
    for who, predictions in (("teacher", teacher), ("student", student)):
        result = evaluate(labels, sentences, predictions)
        calibration[who] = {key: result[key] for key in CALIBRATION} if "bins" in result else {}
    return Comparison(name, tuple(labels.names), calibration, tuple(compared))


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Writes `comparison.json` into a cell's folder, a sentence a line."""
    head = {"schema": SCHEMA, **comparison._asdict()}
    del head["sentences"]
    lines = [
        json.dumps(each, ensure_ascii=False) for each in (head, *_as_json(comparison.sentences))
    ]
    write_text(folder / COMPARISON, "[" + ",\n".join(lines) + "]\n")


def read_comparison(folder: Path) -> Comparison | None:
    """What is in a cell's folder; None if nothing is.

    Raises `UserError` if the file is damaged or of another schema.
    """
    path = folder / COMPARISON
    if not path.exists():
        return None
    try:
        head, *sentences = json.loads(path.read_text("utf-8"))
        if head["schema"] != SCHEMA:
            raise UserError(f"{path}: schema {head['schema']!r} instead of {SCHEMA}; delete it")
        tagged = tuple(
            Tagged(
                tuple(one["words"]),
                *(_spans(one[name]) for name in ("gold", "teacher", "student")),
            )
            for one in sentences
        )
        calibration = {who: dict(head["calibration"][who]) for who in ("teacher", "student")}
        return Comparison(head["student"], tuple(head["labels"]), calibration, tagged)
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: damaged; delete it, and the page does without") from None


def _as_json(sentences: Sequence[Tagged]) -> list[dict[str, Any]]:
    return [one._asdict() for one in sentences]


def _spans(values: Any) -> tuple[Span, ...]:
    return tuple(Span(int(start), int(end), str(label)) for start, end, label in values)
