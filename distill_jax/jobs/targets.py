"""What students learn from: gold sentences with their tags, others with a teacher's."""

import functools
from collections.abc import Iterable, Sequence

import numpy as np

from distill_jax.data.distillation import Target
from distill_jax.errors import UserError
from distill_jax.labels.confidence import Weighting, confidence_weight
from distill_jax.labels.record import LabelSequence
from distill_jax.tagging import LabelSet, Sentence


def student_targets(
    gold: Sequence[Sentence],
    labels: LabelSet,
    teacher_labels: LabelSequence | None,
    confidence_weighting: Weighting = "none",
) -> list[Target]:
    """Gold sentences with gold tags, the teacher's others with the teacher's tags.

    A gold sentence that the teacher labelled too keeps its gold tags and gets the teacher's scores
    (PAPERS, P1: y* is the gold tag on gold words, the KL term is on all words). Gold sentences have
    weight 1, the others that of `labels.confidence`. Sentences without words are left out. Scores are
    read when a batch needs them: a store may be larger than memory. Raises `UserError` if a gold
    sentence has no tags.
    """
    stored: dict[tuple[str, ...], Target] = {}
    if teacher_labels is not None:
        for index, label in enumerate(teacher_labels):
            stored[label.words] = Target(
                label.words,
                label.tag_ids,
                functools.partial(_scores, teacher_labels, index),
                confidence_weight(label.log_posteriors, confidence_weighting),
            )
    targets = []
    for number, sentence in enumerate(gold):
        if sentence.tags is None:
            raise UserError(
                f"gold sentence {number} ({' '.join(sentence.words[:8])}…) has no tags; "
                "a student's task must have tags"
            )
        tags = labels.encode_iob2(sentence.tags)
        taught = stored.get(sentence.words)
        scores = None if taught is None else taught.scores
        targets.append(Target(sentence.words, tags, scores, gold=True))
    # Only now: a gold sentence may occur twice.
    labelled = {sentence.words for sentence in gold}
    targets += [target for words, target in stored.items() if words not in labelled]
    return [target for target in targets if target.words]


def trusted_targets(
    dev: Sequence[Sentence], labels: LabelSet, confidence_weighting: Weighting
) -> list[Target]:
    """The dev sentences, where the weights of silver ones are learnt by them; else none."""
    return student_targets(dev, labels, None) if confidence_weighting == "learnt" else []


def untagged_targets(sentences: Iterable[tuple[str, ...]]) -> list[Target]:
    """Sentences whose tags are to come from a teacher within the step."""
    return [
        Target(words, np.zeros(len(words), np.int32), known=False) for words in sentences if words
    ]


def _scores(labels: LabelSequence, index: int) -> np.ndarray:
    return labels[index].log_posteriors
