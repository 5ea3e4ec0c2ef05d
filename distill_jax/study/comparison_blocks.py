"""A cell's teacher and its best student as parts of the study's page: mistakes, calibration, differences."""

from distill_jax.report.blocks import Fold, Paragraph
from distill_jax.report.confusion import Confusion
from distill_jax.report.confusion_tables import confusion_tables
from distill_jax.report.metric_tables import agreement
from distill_jax.report.reliability import reliability
from distill_jax.report.rendering import Block
from distill_jax.report.sentences import Example, Reading, sentence_list
from distill_jax.study.comparison import Comparison, Tagged


def differences_blocks(title: str, comparison: Comparison, most: int = 50) -> list[Block]:
    """A table of who is right, and the first sentences tagged differently, folded.

    Those the teacher has right and the student wrong stand first, then the reverse, then the others.
    """
    different = comparison.different
    counted = (
        f"{len(different):,} sentences are tagged differently by the teacher and "
        f"{comparison.student}."
    )
    caption = f"{title}: sentences by who is right"
    blocks: list[Block] = [
        agreement(comparison.counts, "teacher", "student", caption),
        Paragraph(counted),
    ]
    shown = [_example(one) for one in sorted(different, key=_who_is_right)[:most]]
    if shown:
        how_many = "All" if len(shown) == len(different) else f"The first {len(shown)}"
        blocks.append(Fold(f"{how_many} of them", [sentence_list(shown, comparison.labels)]))
    return blocks


def _who_is_right(one: Tagged) -> int:
    """0: the teacher, 1: the student, 2: neither; they differ, so not both."""
    return 0 if one.teacher == one.gold else 1 if one.student == one.gold else 2


def _example(one: Tagged) -> Example:
    readings = [
        Reading("gold", one.gold),
        Reading("teacher", one.teacher),
        Reading("student", one.student),
    ]
    who = ("the teacher is right", "the student is right", "neither is right")
    return Example(one.words, readings, who[_who_is_right(one)])


def confusion_blocks(title: str, comparison: Comparison) -> list[Block]:
    """Which labels each model takes for which, folded."""
    blocks: list[Block] = []
    for who in ("teacher", "student"):
        counts = Confusion()
        for one in comparison.sentences:
            counts.update(one.gold, getattr(one, who))
        blocks.append(Fold(f"{title}: {_name(comparison, who)}", confusion_tables(counts)))
    return blocks


def calibration_blocks(title: str, comparison: Comparison, name: str) -> list[Block]:
    """How sure and how right each model is, folded; nothing of one without posteriors.

    `name` is a word that no other comparison of the page is called by.
    """
    return [
        Fold(
            f"{title}: {_name(comparison, who)}",
            [reliability(result, name=f"reliability-{name}-{who}")],
        )
        for who, result in comparison.calibration.items()
        if result
    ]


def _name(comparison: Comparison, who: str) -> str:
    return who if who == "teacher" else comparison.student
