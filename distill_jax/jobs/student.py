"""Training a student of any kind, from gold sentences and a teacher's labels."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_jax.configuration import setting, to_json
from distill_jax.data.distillation import Target
from distill_jax.distill.stored_states import StoredStepTeacher
from distill_jax.distill.symmetric import SymmetricCrossEntropy
from distill_jax.distill.tags import DistillationWeights, TagLoss
from distill_jax.errors import UserError
from distill_jax.jobs.evaluation import dev_evaluation, say_left_behind
from distill_jax.jobs.resources import RunResources
from distill_jax.jobs.sources import Sources, content_hashes, settings_with
from distill_jax.jobs.targets import student_targets, trusted_targets, untagged_targets
from distill_jax.kinds.base import Learner, Lesson, Model, Resources, StepTeacher, Student
from distill_jax.kinds.registry import kind_of
from distill_jax.labels.confidence import Weighting, check_weighting
from distill_jax.labels.cut import check_least, sure_labels
from distill_jax.labels.ensemble import average_teachers
from distill_jax.labels.store import TeacherLabels
from distill_jax.model_dir.directory import load_model, model_hash, save_model
from distill_jax.models.t5_config import T5Config, T5Execution
from distill_jax.parallel.processes import is_first
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.train.loop import fit
from distill_jax.train.same_run import Origin
from distill_jax.train.selection import Outcome
from distill_jax.train.training import Training
from distill_jax_runtime.text import TextWords


@dataclasses.dataclass(frozen=True)
class TeacherInStep:
    """A teacher that is part of the training step.

    Attributes:
        path: its model directory, of any kind; None: there is none.
        execution: how it is computed, however the student is; None: as it was saved. A teacher that
            is no T5 has some of it alone (`dtype`; a BERT `attention_implementation` too).
        stand_in: the T5 that `distill-jax compile` takes where there is no directory.
    """

    path: str | None = setting(None, macro="TEACHER", free=True)  # its content is an input
    execution: T5Execution | None = setting(None)
    stand_in: T5Config | None = setting(None, free=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentData:
    """What a student learns from and is selected on.

    Attributes:
        task: the tagging task whose `train_split` holds the gold sentences and whose
            `eval_split` selects the model by F1.
        teacher_labels: a store written by `distill-jax label`, or several of the same sentences by different
            teachers, whose posteriors are averaged; None: gold alone.
        confidence_weighting: how silver sentences are weighted by the teacher's confidence
            (`labels.confidence`), or `learnt`: in every step by what they do for the dev sentences
            (`distill.reweighting`).
        min_confidence: silver sentences are left out whose tags are all right with a lower probability than
            this, by the teacher (`sequence` of `labels.confidence`).
        teacher: in place of a store, one that tags the task's `silver_split` and scores all
            sentences within the step (`distill.online`).
        sources: where the task comes from.
    """

    task: str = setting(macro="MIXTURE_OR_TASK_NAME")
    sources: Sources = setting()
    train_split: str = setting("gold", macro="TRAIN_SPLIT")
    eval_split: str = setting("dev", macro="EVAL_SPLIT")
    teacher_labels: str | Sequence[str] | None = setting(
        None, macro="TEACHER_LABELS", free=True
    )  # their content is an input
    confidence_weighting: Weighting = setting("none", macro="CONFIDENCE_WEIGHTING")
    min_confidence: float = setting(0.0, macro="MIN_CONFIDENCE")
    teacher: TeacherInStep = setting(TeacherInStep(), scope="teacher")
    silver_split: str | None = setting("silver", macro="SILVER_SPLIT")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentRun:
    """A student's training: what it learns from, what it is, its loss, and how it is trained."""

    data: StudentData = setting()
    student: Student = setting()
    loss: TagLoss = setting(
        DistillationWeights(), part=(DistillationWeights, SymmetricCrossEntropy)
    )
    training: Training = setting()

    def run(self) -> Outcome:
        """See `train_student`."""
        return train_student(self.data, self.student, self.loss, self.training)

    def learner(self, material: "Material", resources: Resources) -> Learner:
        """The student at its start, and the teacher within its step."""
        return self.student.learner(
            Lesson(
                material.labels,
                material.targets,
                self.loss,
                self.training,
                resources,
                material.teacher,
                material.trusted,
            )
        )


@dataclasses.dataclass(frozen=True)
class Material:
    """The sentences of a student's data, read.

    `stores` counts the teachers' labels, `unsure` the silver sentences that were left out; `states` are a
    teacher's hidden states that were kept; `trusted` are what weights are learnt by; `inputs` are hashes of
    all that was read, by role; `text_words` is how texts become words for the model.
    """

    labels: LabelSet
    gold: Sequence[Sentence]
    dev: Sequence[Sentence]
    targets: Sequence[Target]
    stores: int = 0
    unsure: int = 0
    teacher: StepTeacher | None = None
    states: StoredStepTeacher | None = None
    trusted: Sequence[Target] = ()
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    text_words: TextWords = "blanks"

    @property
    def said(self) -> str:
        """How many sentences there are, for the person who watches."""
        gold, silver = len(self.gold), len(self.targets) - len(self.gold)
        left_out = (
            f"; {self.unsure:,} silver ones below MIN_CONFIDENCE left out" if self.unsure else ""
        )
        return f"sentences: {gold:,} gold, {silver:,} silver, {len(self.dev):,} dev{left_out}"


def train_student(
    data: StudentData, student: Student, loss: TagLoss, training: Training
) -> Outcome:
    """Trains a student, selected on the dev split, and leaves it in `MODEL_DIR/model`.

    `loss` with λ 0 is training on pseudo-labels, and `data` without a teacher on gold alone.

    Raises:
        UserError: the data are not there or do not fit each other or the student, or as
            `train.loop.fit` does.
    """
    run = StudentRun(data=data, student=student, loss=loss, training=training)
    material = read_material(data)
    learner = run.learner(material, RunResources(data.sources, data.task))
    assert learner.predictor is not None, "a student tags"
    if learner.coverage is not None and is_first():
        _say(learner.coverage(material.dev))
    outcome = fit(
        learner.objective,
        learner.batches,
        learner.evaluation(dev_evaluation(learner.predictor, material.dev)),
        training,
        initial_params=learner.initial_params,
        frozen=None if material.teacher is None else material.teacher.params(),
        origin=Origin(run, {**material.inputs, **learner.inputs}, material.said),
    )
    if is_first():
        model = Model(
            learner.config,
            learner.final(outcome.params),
            learner.vocabulary,
            material.labels,
            settings_with(learner, material.text_words),
            {
                "role": "student",
                "metrics": outcome.metrics,
                "training": facts(run, material, outcome),
            },
        )
        save_model(Path(training.model_dir) / "model", model)
    say_left_behind(training.model_dir, outcome)
    return outcome


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def read_material(data: StudentData) -> Material:
    """Reads a student's data.

    Raises `UserError` if the task is not one of tagging, the stores do not fit it or each other, or
    the teacher does not fit the task.
    """
    check_weighting(data.confidence_weighting)
    check_least(data.min_confidence)
    sources, path = data.sources, data.teacher.path
    silver_split = None if path is None else data.silver_split
    if silver_split is not None and (
        data.teacher_labels is not None
        or data.confidence_weighting != "none"
        or data.min_confidence
    ):
        raise UserError(
            "a teacher that tags within the step goes with none of TEACHER_LABELS, CONFIDENCE_WEIGHTING and "
            "MIN_CONFIDENCE; leave them out, or label beforehand and leave the teacher out"
        )
    gold_data = sources.one(data.task, data.train_split, "MIXTURE_OR_TASK_NAME")
    dev_data = sources.one(data.task, data.eval_split, "MIXTURE_OR_TASK_NAME")
    labels = gold_data.labels
    if labels is None:
        raise UserError(f"{data.task!r} is plain text; a student's task must have tags")
    text_words = sources.rule_for_words(gold_data, dev_data)
    given = data.teacher_labels
    stores = [TeacherLabels(each) for each in ([given] if isinstance(given, str) else given or ())]
    inputs = content_hashes(gold_data, dev_data)
    for number, store in enumerate(stores):
        store.check_labels(labels, f"task {data.task!r}")
        inputs[f"teacher labels {number}" if number else "teacher labels"] = store.content_hash()
    gold = list(gold_data)
    taught, unsure = None, 0
    if stores:
        averaged = average_teachers(stores)
        taught = sure_labels(averaged, data.min_confidence, {sentence.words for sentence in gold})
        unsure = len(averaged) - len(taught)
    targets = student_targets(gold, labels, taught, data.confidence_weighting)
    teacher = None
    if path is not None:
        if silver_split is not None:
            known = {sentence.words for sentence in gold}
            silver = sources.one(data.task, silver_split, "MIXTURE_OR_TASK_NAME")
            inputs |= content_hashes(silver)
            targets += untagged_targets({s.words: None for s in silver if s.words not in known})
        inputs["teacher"] = model_hash(path)
        teacher = load_step_teacher(data.teacher, labels, f"task {data.task!r}")
    dev = list(dev_data)
    return Material(
        labels,
        gold,
        dev,
        targets,
        len(stores),
        unsure,
        teacher,
        trusted=trusted_targets(dev, labels, data.confidence_weighting),
        inputs=inputs,
        text_words=text_words,
    )


def load_step_teacher(teacher: TeacherInStep, labels: LabelSet, what: str) -> StepTeacher:
    """Reads the model directory of a teacher within the step.

    Raises `UserError` if its kind cannot be one, or its labels are not those of `what`.
    """
    assert teacher.path is not None, "there is a teacher"
    model = load_model(teacher.path)
    if model.labels.content_hash() != labels.content_hash():
        raise UserError(
            f"{teacher.path}: the teacher has other labels than {what} ({len(model.labels.names)} and "
            f"{len(labels.names)}, or other names, texts or order); use a teacher of the same task"
        )
    return kind_of(model.config).step_teacher(model, teacher.execution, teacher.path)


def recipe_name(has_teacher: bool, loss: TagLoss) -> str:
    """`gold`, `pseudo` or `kd`."""
    if not has_teacher:
        return "gold"
    return "kd" if loss.has_kl else "pseudo"


def facts(run: StudentRun, material: Material, outcome: Outcome) -> dict[str, Any]:
    """How a student was trained, for its card; choices the paper leaves open included."""
    has_teacher = material.stores > 0 or material.teacher is not None
    loss = to_json(run.loss)
    del loss["is"]
    about: dict[str, Any] = {
        "task": run.data.task,
        "gold_sentences": len(material.gold),
        "silver_sentences": len(material.targets) - len(material.gold),
        "recipe": recipe_name(has_teacher, run.loss),
        "distillation": loss if has_teacher else None,
        "steps": outcome.best_step,
        "seconds": outcome.seconds,
    }
    if material.stores > 1:
        about["teachers"] = material.stores
    if material.teacher is not None:
        about["online_teacher"] = True
    if run.data.confidence_weighting != "none":
        about["confidence_weighting"] = run.data.confidence_weighting
    if run.data.min_confidence:
        about["min_confidence"] = run.data.min_confidence
        about["unsure_sentences"] = material.unsure
    return about
