"""From a prediction to a sentence as people and programs read it."""

from collections.abc import Callable, Mapping

import numpy as np

from distill_jax.inference.prediction import Prediction
from distill_jax.tagging import (
    LabelSet,
    beam_span_score,
    greedy_span_score,
    spans_from_iob2,
)
from distill_jax_runtime.sentence import TextOrigin
from distill_jax_runtime.tagged import TaggedSentence, TaggedSpan, written_span

__all__ = ["TaggedSentence", "TaggedSpan", "tagged", "without_improbable_spans"]


def tagged(
    words: tuple[str, ...],
    prediction: Prediction,
    labels: LabelSet,
    origin: TextOrigin | None = None,
) -> TaggedSentence:
    """The prediction for these words, and for the text they come from, written out."""
    tags = tuple(labels.decode_iob2(prediction.tag_ids))
    posteriors, score_of = _probabilities(prediction, labels)
    spans = [written_span(span, score_of(*span), words, origin) for span in spans_from_iob2(tags)]
    return TaggedSentence(
        words,
        tags,
        tuple(spans),
        labels.tags,
        posteriors,
        prediction.log_likelihoods,
        None if posteriors is None else prediction.unexplored_mass,
        prediction.malformed,
        text=None if origin is None else origin.text,
        offsets=None if origin is None else origin.offsets,
        windows=prediction.windows,
    )


def without_improbable_spans(
    prediction: Prediction, labels: LabelSet, thresholds: Mapping[str, float]
) -> Prediction:
    """The prediction without spans whose score is below the threshold of their label.

    Without posteriors there are no scores, and no span is dropped.
    """
    if not thresholds:
        return prediction
    _, score_of = _probabilities(prediction, labels)
    tag_ids = prediction.tag_ids.copy()
    for start, end, label in spans_from_iob2(labels.decode_iob2(prediction.tag_ids)):
        score = score_of(start, end, label)
        if score is not None and score < thresholds.get(label, 0.0):
            tag_ids[start:end] = 0  # O
    return prediction._replace(tag_ids=tag_ids)


def _probabilities(
    prediction: Prediction, labels: LabelSet
) -> tuple[np.ndarray | None, Callable[[int, int, str], float | None]]:
    """The posteriors of a prediction, and a function that scores its spans (start, end, label)."""
    if prediction.log_likelihoods is None:
        return None, lambda start, end, label: None
    if prediction.words_alone:
        marginals = prediction.marginals()
        return marginals.tags(), lambda start, end, label: marginals.span(
            start, end, labels.index(label)
        )
    posteriors = prediction.posteriors
    if prediction.beam is not None:
        beam, temperature = prediction.beam, prediction.temperature
        return posteriors, lambda start, end, label: beam_span_score(
            beam, start, end, labels.index(label), temperature=temperature
        )
    return posteriors, lambda start, end, label: greedy_span_score(
        posteriors, prediction.tag_ids, start, end
    )
