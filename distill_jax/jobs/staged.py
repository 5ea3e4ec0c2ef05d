"""Training a student in stages, each in phases, each from the best parameters of the one before.

Every phase is a run of its own in a folder of its own (`MODEL_DIR/stage1`, `MODEL_DIR/stage2-phase3`): what
has finished is read and not trained again, and what was stopped goes on from its checkpoint, so that a run
that was killed anywhere ends as one that was not.
"""

import dataclasses
import hashlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from distill_jax.configuration import setting, to_json
from distill_jax.distill.stored_states import StoredStepTeacher
from distill_jax.distill.tags import DistillationWeights, TaggerDistillation
from distill_jax.errors import UserError
from distill_jax.jobs.evaluation import say_left_behind
from distill_jax.jobs.resources import RunResources
from distill_jax.jobs.sources import settings_with
from distill_jax.jobs.stage_plan import F1, StagePlan, plan_stages
from distill_jax.jobs.stages import Phase, Stage
from distill_jax.jobs.student import Material, StudentData, read_material
from distill_jax.kinds.base import Learner, Lesson, Model, Student
from distill_jax.labels.states import TeacherStates, check_same_teacher
from distill_jax.labels.store import TeacherLabels
from distill_jax.model_dir.directory import save_model
from distill_jax.parallel import processes
from distill_jax.train.loop import fit
from distill_jax.train.objective import Objective, WithUntrained
from distill_jax.train.partly import PartlyTrained, merged
from distill_jax.train.same_run import Origin
from distill_jax.train.selection import Outcome
from distill_jax.train.state import abstract_frozen, shardings_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class StagedRun:
    """A student's training in stages.

    Attributes:
        model_dir: its folder.
        data: what it learns from. Both a store and a teacher may be given: posteriors are then the store's,
            states the teacher's, and the silver sentences those of the store.
        student: what it is.
        stages: what it does, one after the other.
        teacher_states: a store that `distill-jax label --states` wrote, of all sentences whose states are
            matched, dev sentences too: states are then the store's, not computed in the step.

    Raises:
        UserError: there is no stage.
    """

    model_dir: str = setting(macro="MODEL_DIR", free=True)
    data: StudentData = setting()
    student: Student = setting()
    stages: Sequence[Stage] = setting()
    teacher_states: str | None = setting(
        None, macro="TEACHER_STATES", free=True
    )  # its content is an input

    def __post_init__(self) -> None:
        if not self.stages:
            raise UserError("StagedRun.stages is empty; give at least one stage")
        if self.data.confidence_weighting == "learnt":
            raise UserError(
                "CONFIDENCE_WEIGHTING='learnt' is for runs of one stage; use one of the others"
            )

    def run(self) -> Outcome:
        """See `train_in_stages`."""
        return train_in_stages(self)


def train_in_stages(run: StagedRun) -> Outcome:
    """Trains a student stage by stage, and leaves it in `MODEL_DIR/model`.

    The outcome's steps and seconds are those of all phases.

    Raises:
        UserError: the data are not there or do not fit each other, the student or the stages (see
            `stage_plan.plan_stages`), or as `train.loop.fit` does.
    """
    if processes.is_distributed():
        raise UserError("a run in stages is one process, of however many devices; start one")
    data = run.data
    if data.teacher_labels is not None:
        data = dataclasses.replace(data, silver_split=None)
    material = _with_states(run.teacher_states, data, read_material(data))
    _check_same_teacher(data, material)
    first = run.stages[0].training
    lesson = Lesson(
        material.labels,
        material.targets,
        DistillationWeights(kl_weight=0),
        first,
        RunResources(data.sources, data.task),
        material.teacher,
    )
    learner = run.student.learner(dataclasses.replace(lesson, teacher=None))
    plans = plan_stages(run.stages, learner, lesson, material)
    if learner.coverage is not None:
        _say(learner.coverage(material.dev))
    teacher = None
    if material.teacher is not None and any(plan.needs_teacher for plan in plans):
        teacher = material.teacher.params()
    progress = Progress(_start(learner, first.seed))
    _say(material.said)
    for number, plan in enumerate(plans, 1):
        params = plan.begin(progress.params)
        for phase in plan.phases:
            _say(
                f"stage {number} of {len(plans)}, {type(plan.stage.loss).__name__} on "
                f"{plan.stage.sentences} sentences: {phase.folder} trains {', '.join(phase.names)}"
            )
            described = {
                "data": run.data,
                "student": run.student,
                "stages": run.stages[:number],
                "trained": phase.names,
            }
            inputs = {
                **material.inputs,
                **learner.inputs,
                "what the stage starts from": _hash(params),
            }
            outcome, reached = train_phase(
                plan,
                phase,
                params,
                teacher if plan.needs_teacher else None,
                Path(run.model_dir),
                Origin(described, inputs),
            )
            if progress.take(plan, phase, outcome):
                params = reached
            else:
                _say(f"{phase.folder} found nothing better: its start is kept")
        progress.params = plan.end(params)
    model = Model(
        learner.config,
        learner.final(progress.params),
        learner.vocabulary,
        material.labels,
        settings_with(learner, material.text_words),
        {
            "role": "student",
            "metrics": progress.metrics,
            "training": _facts(run, material, progress),
        },
    )
    save_model(Path(run.model_dir) / "model", model)
    outcome = Outcome(
        progress.params, progress.metrics, progress.steps, progress.steps, progress.seconds
    )
    say_left_behind(run.model_dir, outcome)
    return outcome


@dataclasses.dataclass
class Progress:
    """What a run has reached: the student's parameters, their dev metrics, and a line for each phase."""

    params: Any
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    phases: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    best: dict[str, float] = dataclasses.field(default_factory=dict)

    def take(self, plan: StagePlan, phase: Phase, outcome: Outcome) -> bool:
        """Notes what a phase came to; whether that is no worse than what it started from."""
        score = outcome.metrics.get("selection", -math.inf)
        kept = score >= self.best.get(plan.measure, -math.inf)
        if kept:
            # A score by another measure is of other parameters, but for F1, which all stages of tags have.
            f1 = outcome.metrics.get(F1)
            self.best = ({} if f1 is None else {F1: f1}) | {plan.measure: score}
            self.metrics = outcome.metrics
        self.steps += outcome.steps
        self.seconds += outcome.seconds
        self.phases.append(
            {
                "phase": phase.folder,
                "trained": list(phase.names),
                "steps": outcome.best_step,
                "dev_score": score if math.isfinite(score) else None,
                "kept": kept,
            }
        )
        return kept


def train_phase(
    plan: StagePlan, phase: Phase, params: Any, teacher: Any, directory: Path, origin: Origin
) -> tuple[Outcome, Any]:
    """Trains a phase in its folder, or reads what it came to; and all parameters with the best of it.

    `params` are those of the plan's objective, host arrays; `teacher` the teacher's, None if it needs none.
    Raises `UserError` as `train.loop.fit`.
    """
    training = dataclasses.replace(plan.stage.training, model_dir=str(directory / phase.folder))
    place = training.placement.place()
    partly = PartlyTrained(plan.objective, plan.paths(phase))
    trained, untrained = partly.split(params)
    objective: Objective = partly if untrained else plan.objective
    frozen = WithUntrained(untrained, teacher) if untrained else teacher
    if frozen is not None:
        # Placed once: the step and the evaluation share them.
        frozen = jax.tree.map(
            jax.device_put, frozen, shardings_of(abstract_frozen(objective, place))
        )

    def evaluate(given: Any) -> dict[str, float]:
        if isinstance(frozen, WithUntrained):
            return plan.score(merged(given, frozen.untrained), frozen.frozen)
        return plan.score(given, frozen)

    outcome = fit(
        objective,
        plan.batches,
        evaluate,
        training,
        initial_params=lambda: trained,
        frozen=frozen,
        origin=origin,
    )
    return outcome, merged(outcome.params, untrained)


def _with_states(path: str | None, data: StudentData, material: Material) -> Material:
    """The material with the states that were kept; `UserError` if they are of another teacher."""
    if path is None:
        return material
    store = TeacherStates(path)
    check_same_teacher(store, material.inputs.get("teacher"), f"TEACHER, {data.teacher.path}")
    given = data.teacher_labels
    for labels in [given] if isinstance(given, str) else given or ():
        of_labels = TeacherLabels(labels).header.get("teacher_sha256")
        check_same_teacher(store, of_labels, f"that of {labels}")
    inputs = {**material.inputs, "teacher states": store.content_hash()}
    return dataclasses.replace(material, states=StoredStepTeacher(store), inputs=inputs)


def _check_same_teacher(data: StudentData, material: Material) -> None:
    """Raises `UserError` if the stores' labels are of other teachers than the one within the step.

    Of several stores one must be its; one that does not say whose it is may be.
    """
    given = data.teacher_labels
    if given is None or material.teacher is None:
        return
    stores = [TeacherLabels(path) for path in ([given] if isinstance(given, str) else given)]
    hashes = {store.header.get("teacher_sha256") for store in stores}
    if not hashes & {None, material.inputs["teacher"]}:
        raise UserError(
            f"{data.teacher.path}: not the teacher that labelled {stores[0].directory}, so its states would "
            "not belong to those posteriors; give that teacher, or labels of this one"
        )


def _start(learner: Learner, seed: int) -> Any:
    """The student's parameters before the first stage, host arrays."""
    if learner.initial_params is not None:
        return jax.tree.map(np.asarray, learner.initial_params())
    tagger = learner.objective
    assert isinstance(tagger, TaggerDistillation), "its kind has groups of parameters"
    made = jax.jit(lambda key: nn.unbox(tagger.init(key)))(jax.random.key(seed))
    return jax.tree.map(np.asarray, made)


def _hash(params: Any) -> str:
    digest = hashlib.sha256()
    for path, leaf in sorted(flatten_dict(params, sep="/").items()):
        digest.update(f"{path} {leaf.dtype} {leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _facts(run: StagedRun, material: Material, progress: Progress) -> dict[str, Any]:
    """How a student was trained, for its card."""
    return {
        "task": run.data.task,
        "gold_sentences": len(material.gold),
        "silver_sentences": len(material.targets) - len(material.gold),
        "recipe": "staged",
        "stages": [
            {"loss": to_json(stage.loss), "sentences": stage.sentences} for stage in run.stages
        ],
        "phases": progress.phases,
        "steps": progress.steps,
        "seconds": progress.seconds,
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
