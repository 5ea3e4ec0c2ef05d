"""What the runs that train students share: gold sentences, teachers' labels, the dev split."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from distill_jax.data.distillation import Target
from distill_jax.data.prepared import PreparedDataset
from distill_jax.distill.objectives import DistillationWeights
from distill_jax.errors import UserError
from distill_jax.jobs.common import contents, prepared_data, single
from distill_jax.jobs.online import LiveTeacher, load_teacher
from distill_jax.labels.confidence import Weighting, check_weighting, confidence_weight
from distill_jax.labels.ensemble import average_teachers
from distill_jax.labels.record import LabelSequence
from distill_jax.labels.store import TeacherLabels
from distill_jax.tagger import model_hash
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.train.loop import Outcome


@dataclasses.dataclass(frozen=True)
class StudentData:
    """What a student learns from and is selected on.

    `teachers` counts the stores; `teacher` is the one within the training step, if any. `inputs` are
    hashes of all that was read, by name.
    """

    task: str
    gold: Sequence[Sentence]
    dev: Sequence[Sentence]
    labels: LabelSet
    targets: Sequence[Target]
    teachers: int
    weighting: Weighting
    inputs: Mapping[str, str]
    teacher: LiveTeacher | None = None

    @property
    def frozen(self) -> Any:
        """The parameters of a teacher within the step, for `fit`; None if there is none."""
        return None if self.teacher is None else self.teacher.params

    def facts(
        self, outcome: Outcome, distillation: DistillationWeights | None, **more: Any
    ) -> dict[str, Any]:
        """How the student was trained, for its card; choices the paper leaves open included."""
        weights = distillation or DistillationWeights()
        has_teacher = self.teachers > 0 or self.teacher is not None
        facts = {
            "task": self.task,
            "gold_sentences": len(self.gold),
            "silver_sentences": len(self.targets) - len(self.gold),
            "recipe": recipe_name(has_teacher, weights),
            "distillation": dataclasses.asdict(weights) if has_teacher else None,
            "steps": outcome.best_step,
            "seconds": outcome.seconds,
        }
        if self.teachers > 1:
            facts["teachers"] = self.teachers
        if self.teacher is not None:
            facts["online_teacher"] = True
        if self.weighting != "none":
            facts["confidence_weighting"] = self.weighting
        return facts | more


def student_data(
    task: str,
    train_split: str,
    eval_split: str,
    teacher_labels: str | Sequence[str] | None = None,
    confidence_weighting: Weighting = "none",
    *,
    teacher: str | None = None,
    silver_split: str | None = None,
) -> StudentData:
    """Reads a student's data.

    Args:
        task: the tagging task whose `train_split` holds the gold sentences and whose `eval_split`
            selects the model.
        teacher_labels: a store written by `distill-jax label`, or several of the same sentences by
            different teachers, whose posteriors are averaged; None: gold alone.
        confidence_weighting: of silver sentences, see `distill.confidence`.
        teacher: a model directory, whose model is to be within the training step.
        silver_split: the sentences that such a teacher tags there, besides the gold ones; None:
            the teacher tags nothing, and its labels are those of `teacher_labels`, if any.

    Raises:
        UserError: the task is not one of tagging, the stores do not fit it or each other, or the
            teacher does not fit the task.
    """
    check_weighting(confidence_weighting)
    if silver_split is not None:
        if teacher is None:
            raise UserError(
                "a silver split is given but no teacher to tag it in the step; give the teacher's "
                "model directory, or its labels alone"
            )
        if teacher_labels is not None or confidence_weighting != "none":
            raise UserError(
                "a teacher that tags within the step goes with neither TEACHER_LABELS nor "
                "CONFIDENCE_WEIGHTING; leave them out, or label beforehand and leave the teacher out"
            )
    gold: PreparedDataset = single(prepared_data(task, train_split), "MIXTURE_OR_TASK_NAME")
    dev = single(prepared_data(task, eval_split), "MIXTURE_OR_TASK_NAME")
    if gold.labels is None:
        raise UserError(f"{task!r} is plain text; a student's task must have tags")
    paths = [teacher_labels] if isinstance(teacher_labels, str) else list(teacher_labels or ())
    stores = [TeacherLabels(path) for path in paths]
    for store in stores:
        store.check_labels(gold.labels, f"task {task!r}")
    inputs = contents(gold, dev) | {str(store.directory): store.content_hash() for store in stores}
    targets = student_targets(
        list(gold), gold.labels, average_teachers(stores) if stores else None, confidence_weighting
    )
    if silver_split is not None:
        known = {sentence.words for sentence in gold}
        silver = single(prepared_data(task, silver_split), "MIXTURE_OR_TASK_NAME")
        inputs |= contents(silver)
        targets += _untagged({s.words: None for s in silver if s.words not in known})
    if teacher is not None:
        inputs |= {teacher: model_hash(teacher)}
    return StudentData(
        task,
        list(gold),
        list(dev),
        gold.labels,
        targets,
        len(stores),
        confidence_weighting,
        inputs,
        None if teacher is None else load_teacher(teacher, gold.labels, f"task {task!r}"),
    )


def _untagged(sentences: Iterable[tuple[str, ...]]) -> list[Target]:
    """Sentences whose tags are to come from a teacher within the step."""
    return [
        Target(words, np.zeros(len(words), np.int32), known=False) for words in sentences if words
    ]


def student_targets(
    gold: Sequence[Sentence],
    labels: LabelSet,
    teacher_labels: LabelSequence | None,
    confidence_weighting: Weighting = "none",
) -> list[Target]:
    """Gold sentences with gold tags, the teacher's others with the teacher's tags.

    A gold sentence that the teacher labelled too keeps its gold tags and gets the teacher's scores
    (PAPERS, P1: y* is the gold tag on gold words, the KL term is on all words). Gold sentences have
    weight 1, the others that of `distill.confidence`. Sentences without words are left out. Scores are
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
        targets.append(Target(sentence.words, tags, None if taught is None else taught.scores))
    # Only now: a gold sentence may occur twice.
    labelled = {sentence.words for sentence in gold}
    targets += [target for words, target in stored.items() if words not in labelled]
    return [target for target in targets if target.words]


def _scores(labels: LabelSequence, index: int) -> np.ndarray:
    return labels[index].log_posteriors


def recipe_name(has_teacher: bool, distillation: DistillationWeights) -> str:
    """`gold`, `pseudo` or `kd`."""
    if not has_teacher:
        return "gold"
    return "kd" if distillation.kl_weight else "pseudo"
