"""Which sentences of an evaluation its page shows, and in which order."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from distill_jax.report.cases import Case
from distill_jax.report.metric_tables import agreement
from distill_jax.report.number_format import probability
from distill_jax.report.sentences import Example, Reading, SentenceList, sentence_list
from distill_jax.report.table import Table
from distill_jax.tagging import LabelSet, Span


class _Look(NamedTuple):
    """A sentence that deserves one, how sure the first model is of what is wrong, and what that is."""

    case: Case
    certainty: float | None
    kind: frozenset[tuple[str, bool]]


@dataclass(frozen=True)
class WrongSentences:
    """Sentences in which the model misses a span of gold or sees one that gold does not have."""

    template: ClassVar[str] = "wrong_sentences.html.j2"
    wrong: int
    sentences: int
    """Right ones included."""
    by_confidence: bool
    """The most confident mistakes stand first; otherwise the order is that of the data."""
    shown: SentenceList
    """The first of them."""


@dataclass(frozen=True)
class DifferentSentences:
    """Sentences that two models tag differently."""

    template: ClassVar[str] = "different_sentences.html.j2"
    agreement: Table
    different: int
    sentences: int
    """Those included that both tag alike."""
    by_confidence: bool
    """The first model's most confident differences stand first."""
    shown: SentenceList
    """The first of them."""


def wrong_sentences(cases: Sequence[Case], labels: LabelSet, most: int) -> WrongSentences:
    """The sentences that the first model tags wrongly, at most so many of them shown."""
    wrong = [_looked_at(case, case.gold) for case in cases if not case.is_right(0)]
    shown = [
        Example(
            case.words,
            [Reading("gold", case.gold), case.answers[0].reading("predicted")],
            "" if certainty is None else f"confidence of the mistake: {probability(certainty)}",
        )
        for case, certainty in _surest_first(wrong)[:most]
    ]
    return WrongSentences(
        len(wrong), len(cases), _says_how_sure(wrong), sentence_list(shown, labels.names)
    )


def different_sentences(
    cases: Sequence[Case], labels: Sequence[str], most: int, names: Sequence[str]
) -> DifferentSentences:
    """The sentences that two models tag differently, at most so many of them shown.

    Args:
        cases: with the answers of both.
        labels: those of either model, which colour the spans.
        most: how many are shown.
        names: what the models are called.
    """
    counts = [[0, 0], [0, 0]]
    different = []
    for case in cases:
        counts[not case.is_right(0)][not case.is_right(1)] += 1
        one, other = case.answers
        if one.spans != other.spans:
            different.append(_looked_at(case, other.spans))
    shown = [
        Example(
            case.words,
            [
                Reading("gold", case.gold),
                case.answers[0].reading(names[0]),
                case.answers[1].reading(names[1]),
            ],
            _who_is_right(case, certainty, names),
        )
        for case, certainty in _surest_first(different)[:most]
    ]
    caption = "Sentences by which of the models has all spans right"
    return DifferentSentences(
        agreement(counts, names[0], names[1], caption),
        len(different),
        len(cases),
        _says_how_sure(different),
        sentence_list(shown, labels),
    )


def _who_is_right(case: Case, certainty: float | None, names: Sequence[str]) -> str:
    who = "neither"
    if case.is_right(0):
        who = names[0]
    elif case.is_right(1):
        who = names[1]
    if certainty is None:
        return f"{who} is right"
    return f"{who} is right · {names[0]}'s confidence where they differ: {probability(certainty)}"


def _looked_at(case: Case, against: Sequence[Span]) -> _Look:
    first = case.answers[0]
    return _Look(case, first.certainty(against), first.difference(against))


def _surest_first(looks: Sequence[_Look]) -> list[tuple[Case, float | None]]:
    """By certainty in hundredths; of equals the first of each kind, then the second of each, …

    A model is often all but certain of hundreds of mistakes, most of them of one kind. Where nothing says
    how sure it is the order is that of the data.
    """
    surest = sorted(looks, key=lambda look: -(look.certainty or 0.0))
    if not _says_how_sure(looks):
        return [look[:2] for look in surest]
    seen: Counter[tuple[float, frozenset[tuple[str, bool]]]] = Counter()
    keys = []
    for look in surest:
        hundredths = round(look.certainty or 0.0, 2)
        keys.append((-hundredths, seen[hundredths, look.kind]))
        seen[hundredths, look.kind] += 1
    order = sorted(range(len(surest)), key=keys.__getitem__)
    return [surest[number][:2] for number in order]


def _says_how_sure(looks: Sequence[_Look]) -> bool:
    """Whether the decoder says how sure the model is: of all sentences or of none."""
    return any(look.certainty is not None for look in looks)
