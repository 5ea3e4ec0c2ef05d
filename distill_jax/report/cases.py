"""What models made of each sentence, and how sure they are where they are wrong or differ."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from distill_jax.inference import Prediction
from distill_jax.inference.tagged import tagged
from distill_jax.report.sentences import Reading
from distill_jax.tagging import LabelSet, Sentence, Span, spans_from_iob2


class Evaluated(NamedTuple):
    """A model and what it made of the sentences."""

    model: str
    """Where it lies, as the user named it."""
    labels: LabelSet
    predictions: Sequence[Prediction]
    result: dict[str, Any]
    """As `evaluate --json` writes it."""


class Answer(NamedTuple):
    """What one model made of one sentence."""

    words: tuple[str, ...]
    labels: LabelSet
    prediction: Prediction
    spans: list[Span]

    def reading(self, who: str) -> Reading:
        """Its spans with their scores, where the decoder computes any."""
        scores = [span.score for span in tagged(self.words, self.prediction, self.labels).spans]
        return Reading(who, self.spans, scores)

    def certainty(self, against: Sequence[Span]) -> float | None:
        """How sure the model is of what is not in `against`; None if the decoder does not say.

        The highest score of a span that `against` does not have, or, where the model sees none among
        the words of a span, of O for all of them: the product of their posteriors.
        """
        if self.prediction.log_likelihoods is None:
            return None
        posteriors = self.prediction.posteriors
        outside = self.labels.tags.index("O")
        spans = tagged(self.words, self.prediction, self.labels).spans
        sure = [
            span.score
            for span in spans
            if span.score is not None and Span(span.start, span.end, span.label) not in against
        ]
        for start, end, _ in against:
            if not any(span.start < end and start < span.end for span in spans):
                sure.append(float(np.prod(posteriors[start:end, outside], dtype=np.float64)))
        return max(sure, default=0.0)

    def difference(self, against: Sequence[Span]) -> frozenset[tuple[str, bool]]:
        """The labels of its spans that `against` lacks (with True) and of those it lacks (False)."""
        return frozenset(
            [(span.label, True) for span in self.spans if span not in against]
            + [(span.label, False) for span in against if span not in self.spans]
        )


class Case(NamedTuple):
    """A sentence, its gold spans, and what each model made of it."""

    words: tuple[str, ...]
    gold: list[Span]
    answers: list[Answer]

    def is_right(self, model: int) -> bool:
        """Whether that model has all spans and no others."""
        return self.answers[model].spans == self.gold


def cases(sentences: Sequence[Sentence], models: Sequence[Evaluated]) -> list[Case]:
    """The sentences, all of which have tags, with the answers of the models in their order."""
    made = []
    for number, sentence in enumerate(sentences):
        assert sentence.tags is not None, "evaluation has seen to that"
        words = tuple(sentence.words)
        answers = []
        for model in models:
            prediction = model.predictions[number]
            spans = spans_from_iob2(model.labels.decode_iob2(prediction.tag_ids))
            answers.append(Answer(words, model.labels, prediction, spans))
        made.append(Case(words, spans_from_iob2(sentence.tags), answers))
    return made
