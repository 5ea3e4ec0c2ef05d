"""Metrics of predictions against gold tags."""

from collections.abc import Sequence
from typing import Any

from distill_jax.errors import UserError
from distill_jax.inference.base import Prediction
from distill_jax.tagging import CalibrationCounts, LabelSet, Sentence, SpanCounts


def evaluate(
    labels: LabelSet, sentences: Sequence[Sentence], predictions: Sequence[Prediction]
) -> dict[str, Any]:
    """Span metrics and calibration of predictions for labelled sentences.

    Raises `UserError` if a sentence has no tags or tags outside the label set.
    """
    spans, calibration = SpanCounts(), CalibrationCounts()
    for sentence, prediction in zip(sentences, predictions, strict=True):
        if sentence.tags is None:
            raise UserError(
                f"the sentence '{' '.join(sentence.words[:8])}…' has no tags; "
                "evaluation needs labelled sentences"
            )
        gold = labels.encode_iob2(sentence.tags)
        spans.update(sentence.tags, labels.decode_iob2(prediction.tag_ids))
        if len(gold):
            calibration.update(prediction.posteriors, gold)
    return spans.result() | calibration.result()
