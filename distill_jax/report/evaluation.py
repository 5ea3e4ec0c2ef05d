"""What `distill-jax evaluate --html` writes: one model, or two beside each other, on tagged sentences."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from distill_jax.inference import Prediction
from distill_jax.inference.tagged import tagged
from distill_jax.report.confusion import Confusion, confusion_tables
from distill_jax.report.elements import Html, element, join, paragraph, table
from distill_jax.report.figures import agreement, headline, per_label, tiles
from distill_jax.report.page import Section, page
from distill_jax.report.reliability import reliability_content
from distill_jax.report.sentences import Example, Reading, sentence_list
from distill_jax.tagging import LabelSet, Sentence, Span, spans_from_iob2


class Evaluated(NamedTuple):
    """A model and what it made of the sentences."""

    model: str
    """Where it lies, as the user named it."""
    labels: LabelSet
    predictions: Sequence[Prediction]
    result: dict[str, Any]
    """As `evaluate --json` writes it."""


class _Case(NamedTuple):
    """A sentence, its gold spans, and what each model made of it."""

    sentence: Sentence
    gold: list[Span]
    spans: list[list[Span]]
    predictions: list[Prediction]


def evaluation_page(
    data: str,
    sentences: Sequence[Sentence],
    models: Sequence[Evaluated],
    *,
    examples: int = 100,
) -> str:
    """The page.

    Args:
        data: where the sentences lie, as the user named it.
        sentences: all with tags.
        models: the one that is evaluated, and the one it is compared with, if there is one.
        examples: how many sentences are shown, of those wrong and of those tagged differently.
    """
    first = models[0]
    names = ["this model", "other model"] if len(models) > 1 else ["value"]
    results = {name: model.result for name, model in zip(names, models, strict=True)}
    cases = _cases(sentences, models)
    sections = [
        Section("figures", "Figures", join([_about(data, models), headline(results)])),
        Section("labels", "Labels", per_label(results)),
        Section("confusion", "Confusion between labels", _confusion(cases)),
    ]
    if "bins" in first.result:
        sections.append(Section("reliability", "Reliability", reliability_content(first.result)))
    sections.append(Section("wrong", "Sentences tagged wrongly", _wrong(cases, first, examples)))
    if len(models) > 1:
        content = _different(cases, models, examples)
        sections.append(Section("different", "Sentences the models tag differently", content))
    lead = f"{first.model} on {len(sentences):,} sentences of {data}"
    if len(models) > 1:
        lead += f", beside {models[1].model}"
    return page("Evaluation", lead + ".", tiles(first.result), sections)


def _cases(sentences: Sequence[Sentence], models: Sequence[Evaluated]) -> list[_Case]:
    cases = []
    for number, sentence in enumerate(sentences):
        assert sentence.tags is not None, "evaluation has seen to that"
        found = [model.predictions[number] for model in models]
        spans = [
            spans_from_iob2(model.labels.decode_iob2(one.tag_ids))
            for model, one in zip(models, found, strict=True)
        ]
        cases.append(_Case(sentence, spans_from_iob2(sentence.tags), spans, found))
    return cases


def _about(data: str, models: Sequence[Evaluated]) -> Html:
    rows = []
    for model in models:
        settings = dict(model.result["decoder"])
        algorithm = settings.pop("algorithm")
        decoder = ", ".join([algorithm, *(f"{name} {value}" for name, value in settings.items())])
        temperature = f"{model.result['temperature']:.4g}"
        rows.append([element("code", model.model), decoder, temperature])
    if len(models) > 1:
        for row, name in zip(rows, ("this model", "other model"), strict=True):
            row.insert(0, name)
    head = ["model", "decoder", "temperature"]
    if len(models) > 1:
        head.insert(0, "")
    columns = range(len(head) - 1)
    return table(head, rows, caption=f"Evaluated on {data}", text_columns=columns)


def _confusion(cases: Sequence[_Case]) -> Html:
    counts = Confusion()
    for case in cases:
        counts.update(case.gold, case.spans[0])
    return confusion_tables(counts)


def _wrong(cases: Sequence[_Case], model: Evaluated, most: int) -> Html:
    wrong = [case for case in cases if set(case.gold) != set(case.spans[0])]
    if not wrong:
        return paragraph("None: every sentence has all its spans and no others.")
    ranked = _by_confidence(
        [(case, _certainty(case, 0, model.labels, case.gold)) for case in wrong]
    )
    shown = [
        Example(
            case.sentence.words,
            [_gold(case), _reading("predicted", case, 0, model.labels)],
            "" if certainty is None else f"confidence of the mistake: {certainty:.2f}",
        )
        for case, certainty in ranked[:most]
    ]
    return join(
        [
            paragraph(
                f"{len(wrong):,} of {len(cases):,} sentences. ",
                _how_many(len(shown), len(wrong), ranked[0][1] is not None, "mistakes"),
                " A predicted span that gold does not have is marked ✗ and framed; the number in a "
                "span is how probable it is.",
            ),
            sentence_list(shown, model.labels.names),
        ]
    )


def _different(cases: Sequence[_Case], models: Sequence[Evaluated], most: int) -> Html:
    different = [case for case in cases if set(case.spans[0]) != set(case.spans[1])]
    counts = [[0, 0], [0, 0]]
    for case in cases:
        counts[case.spans[0] != case.gold][case.spans[1] != case.gold] += 1
    caption = "Sentences by which of the models has all spans right"
    table_of_counts = agreement(counts, "this model", "other model", caption)
    if not different:
        return join([table_of_counts, paragraph("None: the models agree on every sentence.")])
    own = models[0].labels
    ranked = _by_confidence([(case, _certainty(case, 0, own, case.spans[1])) for case in different])
    shown = []
    for case, certainty in ranked[:most]:
        right = [
            name
            for name, spans in zip(("this model", "the other model"), case.spans, strict=True)
            if set(spans) == set(case.gold)
        ]
        about = f"{right[0] if right else 'neither'} is right"
        if certainty is not None:
            about += f" · this model's confidence where they differ: {certainty:.2f}"
        readings = [
            _gold(case),
            _reading("this model", case, 0, own),
            _reading("other model", case, 1, models[1].labels),
        ]
        shown.append(Example(case.sentence.words, readings, about))
    names = list(dict.fromkeys(name for model in models for name in model.labels.names))
    return join(
        [
            table_of_counts,
            paragraph(
                f"{len(different):,} of {len(cases):,} sentences. ",
                _how_many(len(shown), len(different), ranked[0][1] is not None, "differences"),
            ),
            sentence_list(shown, names),
        ]
    )


def _certainty(case: _Case, model: int, labels: LabelSet, against: Sequence[Span]) -> float | None:
    """How sure the model is of what is not in `against`; None if the decoder does not say.

    The highest score of a span that `against` does not have, or, where the model sees none among the
    words of a span, of O for all of them: the product of their posteriors.
    """
    found = case.predictions[model]
    if found.log_likelihoods is None:
        return None
    posteriors, outside = found.posteriors, labels.tags.index("O")
    spans = tagged(tuple(case.sentence.words), found, labels).spans
    sure = [
        span.score
        for span in spans
        if span.score is not None and Span(span.start, span.end, span.label) not in against
    ]
    for start, end, _ in against:
        if not any(span.start < end and start < span.end for span in spans):
            sure.append(float(np.prod(posteriors[start:end, outside], dtype=np.float64)))
    return max(sure, default=0.0)


def _by_confidence(
    cases: list[tuple[_Case, float | None]],
) -> list[tuple[_Case, float | None]]:
    """The surest first; of equals, and where nothing says how sure, in the order of the data."""
    return sorted(cases, key=lambda case: -(case[1] or 0.0))


def _gold(case: _Case) -> Reading:
    return Reading("gold", case.gold)


def _reading(who: str, case: _Case, model: int, labels: LabelSet) -> Reading:
    words = tuple(case.sentence.words)
    scores = [span.score for span in tagged(words, case.predictions[model], labels).spans]
    return Reading(who, case.spans[model], scores)


def _how_many(shown: int, there: int, ranked: bool, what: str) -> str:
    order = f"the most confident {what} first" if ranked else "in the order of the data"
    return f"{'All' if shown == there else f'The first {shown:,}'}, {order}."
