"""Metrics of predictions against gold tags."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distill_jax.errors import UserError
from distill_jax.inference.prediction import Prediction
from distill_jax.tagging import CalibrationCounts, LabelSet, Sentence, SpanCounts

SCALARS = ("f1", "f1_strict", "precision", "recall", "perfect", "illegal", "ece", "nll", "brier")


def scalars(result: Mapping[str, Any]) -> dict[str, float]:
    """The headline figures of an evaluation, without per-label and per-bin details."""
    return {name: float(result[name]) for name in SCALARS}


def evaluate(
    labels: LabelSet, sentences: Sequence[Sentence], predictions: Sequence[Prediction]
) -> dict[str, Any]:
    """Span metrics and calibration of predictions for labelled sentences.

    The calibration figures are there only if the decoder computes posteriors. From `pruned` they are
    those of `Prediction.distributions`, in which unexplored mass is spread evenly over unexplored
    tags: ECE and Brier are then off by little more than that mass, and the NLL of a word whose gold
    tag was not explored is by convention, not by the model. So the mean mass (`unexplored`) and the
    share of such words (`gold_unexplored`) are reported beside them.

    From `free` there are `malformed`, the share of sentences that are malformed in any way, and
    `malformations`, the share for each kind. A malformed sentence counts as tagged O throughout.

    Gold spans whose label the model does not have count as missed. Their words are left out of the
    calibration figures and of `gold_unexplored`, for no distribution of the model has their tags. If
    there are any, `unknown_labels` says how many spans of each label, and `words_left_out` how many
    words.

    Raises `UserError` if a sentence has no tags.
    """
    spans, calibration = SpanCounts(), CalibrationCounts()
    pruned = _PrunedCounts()
    unknown: Counter[str] = Counter()
    left_out = 0
    for sentence, prediction in zip(sentences, predictions, strict=True):
        if sentence.tags is None:
            raise UserError(
                f"the sentence '{' '.join(sentence.words[:8])}…' has no tags; "
                "evaluation needs labelled sentences"
            )
        gold, outside = labels.encode_known_iob2(sentence.tags)
        unknown.update(span.label for span in outside)
        left_out += int((gold < 0).sum())
        spans.update(sentence.tags, labels.decode_iob2(prediction.tag_ids))
        if len(gold) and prediction.log_likelihoods is not None:
            calibration.update(prediction.distributions, gold)
            pruned.update(prediction, gold)
    result = spans.result()
    if all(prediction.log_likelihoods is not None for prediction in predictions):
        result |= {**calibration.result(), "words": result["words"]}
    if any(prediction.unexplored is not None for prediction in predictions):
        result |= pruned.result()
    if any(prediction.malformed is not None for prediction in predictions):
        result |= _malformations(predictions)
    if unknown:
        result |= {"unknown_labels": dict(sorted(unknown.items())), "words_left_out": left_out}
    return result


def evaluate_tags(sentences: Sequence[Sentence], predicted: Sequence[Sentence]) -> dict[str, Any]:
    """Span metrics of tags, whoever predicted them, for the same sentences in the same order."""
    spans = SpanCounts()
    for gold, found in zip(sentences, predicted, strict=True):
        spans.update(gold.tags or (), found.tags or ())
    return spans.result()


def check_labels(labels: LabelSet, sentences: Sequence[Sentence], what: str) -> None:
    """Raises `UserError` if a sentence has a label outside the set; `what` the sentences are."""
    for number, sentence in enumerate(sentences, 1):
        try:
            labels.encode_iob2(sentence.tags or ())
        except UserError as error:
            raise UserError(f"{what}, sentence {number}: {error}") from None


class _PrunedCounts:
    """How much the `pruned` decoder left open, summed over words."""

    def __init__(self) -> None:
        self.words = 0
        self.mass = 0.0
        self.gold = 0

    def update(self, prediction: Prediction, gold: np.ndarray) -> None:
        mass = prediction.unexplored_mass
        if mass is None or prediction.unexplored is None:
            return
        known = np.flatnonzero(gold >= 0)
        self.words += len(known)
        self.mass += float(mass[known].sum(dtype=np.float64))
        self.gold += int(prediction.unexplored.tags[known, gold[known]].sum())

    def result(self) -> dict[str, float]:
        words = max(self.words, 1)
        return {"unexplored": self.mass / words, "gold_unexplored": self.gold / words}


def _malformations(predictions: Sequence[Prediction]) -> dict[str, Any]:
    kinds = Counter(str(kind) for prediction in predictions for kind in prediction.malformed or ())
    total = max(len(predictions), 1)
    return {
        "malformed": sum(bool(prediction.malformed) for prediction in predictions) / total,
        "malformations": {kind: count / total for kind, count in sorted(kinds.items())},
    }
