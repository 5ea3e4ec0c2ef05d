"""What a stage trains, and on what: made and checked for all stages before anything is computed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from distill_jax.data.distillation import Target
from distill_jax.data.teacher_readers import SubwordReader
from distill_jax.distill.attention_maps import check_heads, map_pairs, states_and_maps
from distill_jax.distill.states import PROJECTIONS, STUDENT, StateDistillation, StateMatching
from distill_jax.distill.tags import TaggerDistillation
from distill_jax.errors import UserError
from distill_jax.integers import ceil_divide
from distill_jax.jobs.evaluation import dev_evaluation
from distill_jax.jobs.stages import Phase, Stage, phases_of
from distill_jax.jobs.student import Material
from distill_jax.jobs.targets import untagged_targets
from distill_jax.kinds.base import Learner, Lesson, ParameterGroup
from distill_jax.kinds.registry import kind_of
from distill_jax.train.feed import Batches, RowBatches
from distill_jax.train.objective import Objective

F1 = "f1"
"""What the dev score of a stage that is judged by F1 is named."""

_MOST_HELD_OUT = 500

Score = Callable[[Any, Any], dict[str, float]]
"""(all parameters of the stage's objective, the teacher's) → dev metrics."""


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """A stage that is ready to be trained.

    `prefix` is where the student's parameters are among those of the objective, empty if they are all;
    `measure` names what its dev score is, so that scores of one name compare.
    """

    stage: Stage
    phases: list[Phase]
    objective: Objective
    batches: Batches
    score: Score
    measure: str
    needs_teacher: bool
    prefix: str = ""

    def begin(self, params: Any) -> Any:
        """The objective's parameters with those of the student; others are random."""
        if not self.prefix:
            return params
        made = jax.jit(lambda key: nn.unbox(self.objective.init(key)))(
            jax.random.key(self.stage.training.seed)
        )
        others = jax.tree.map(np.asarray, {name: made[name] for name in made if name != STUDENT})
        return {STUDENT: params, **others}

    def end(self, params: Any) -> Any:
        """The student's parameters among those of the objective."""
        return params[self.prefix] if self.prefix else params

    def paths(self, phase: Phase) -> tuple[str, ...]:
        """What of the objective's parameters a phase trains."""
        if not self.prefix:
            return phase.paths
        return (PROJECTIONS, *(f"{self.prefix}/{path}" for path in phase.paths))


def plan_stages(
    stages: Sequence[Stage], learner: Learner, lesson: Lesson, material: Material
) -> list[StagePlan]:
    """The plans of a run's stages.

    Args:
        stages: of the run.
        learner: the student, of a lesson without a teacher within the step.
        lesson: of all sentences, with the teacher that there is.
        material: the sentences.

    Raises:
        UserError: the student's kind cannot be trained in stages, a stage has no sentences or lacks the
            teacher that its loss needs, or names layers or groups that are not there.
    """
    groups = kind_of(learner.config).groups(learner.config)
    if isinstance(stages[-1].loss, StateMatching):
        raise UserError(
            "the last stage matches states and leaves the head as it was; end with a loss on tags"
        )
    makers: Mapping[bool, Any] = {True: _plan_states, False: _plan_tags}
    plans = []
    for number, stage in enumerate(stages, 1):
        chosen = dataclasses.replace(
            lesson, targets=_targets(stage, number, lesson, material), training=stage.training
        )
        make = makers[isinstance(stage.loss, StateMatching)]
        plans.append(make(stage, number, groups, learner, chosen, material))
    return plans


def _targets(stage: Stage, number: int, lesson: Lesson, material: Material) -> Sequence[Target]:
    """The sentences of a stage."""
    gold = sum(bool(sentence.words) for sentence in material.gold)
    parts = {"gold": slice(gold), "silver": slice(gold, None), "all": slice(None)}
    targets = lesson.targets[parts[stage.sentences]]
    if not targets:
        remedy = "give TEACHER_LABELS, or TEACHER with a SILVER_SPLIT, or choose other SENTENCES"
        raise UserError(f"stage {number}: there are no {stage.sentences} sentences; {remedy}")
    return targets


def _plan_tags(
    stage: Stage,
    number: int,
    groups: Sequence[ParameterGroup],
    learner: Learner,
    lesson: Lesson,
    material: Material,
) -> StagePlan:
    tagger, loss = learner.objective, stage.loss
    assert isinstance(tagger, TaggerDistillation) and not isinstance(loss, StateMatching)
    assert learner.predictor is not None and learner.batches_of is not None
    teacher = lesson.teacher
    # A store has the posteriors; a teacher beside it is there for its states.
    if material.stores or not (loss.has_kl or stage.sentences != "gold"):
        teacher = None
    if loss.has_kl and teacher is None and not any(t.scores is not None for t in lesson.targets):
        raise UserError(
            f"stage {number}: its loss compares with a teacher's posteriors, and none of its "
            f"{len(lesson.targets)} sentences has any; give TEACHER_LABELS or TEACHER, or a loss of tags "
            "alone (KL_WEIGHT=0)"
        )
    objective: Any = dataclasses.replace(tagger, distillation=loss)
    if teacher is not None:
        objective = teacher.online(objective)
    lesson = dataclasses.replace(lesson, loss=loss, teacher=teacher)
    held_out: Sequence[Target] = ()
    if stage.selection == "loss":
        learnt, held_out = hold_out(lesson.targets, number)
        lesson = dataclasses.replace(lesson, targets=learnt)
    evaluate = learner.evaluation(dev_evaluation(learner.predictor, material.dev))
    of_held_out: Score = lambda params, teacher: {}  # noqa: E731
    if held_out:
        batches = learner.batches_of(dataclasses.replace(lesson, targets=held_out))
        count = ceil_divide(len(held_out), stage.training.batch_size)
        of_held_out = held_out_loss(objective, batches, count)
    return StagePlan(
        stage,
        phases_of(stage, number, groups),
        objective,
        learner.batches_of(lesson),
        lambda params, teacher: evaluate(params) | of_held_out(params, teacher),
        f"loss of stage {number}" if held_out else F1,
        teacher is not None,
    )


def hold_out(targets: Sequence[Target], number: int) -> tuple[list[Target], list[Target]]:
    """The targets without a twentieth of the silver ones, evenly chosen, and these."""
    silver = [index for index, target in enumerate(targets) if not target.gold]
    if len(silver) < 2:
        raise UserError(
            f"stage {number}: SELECTION='loss' holds silver sentences out, and it has {len(silver)}; "
            "give 'f1', or silver sentences"
        )
    count = min(max(len(silver) // 20, 1), _MOST_HELD_OUT)
    chosen = {silver[n * len(silver) // count] for n in range(count)}
    kept = [target for index, target in enumerate(targets) if index not in chosen]
    return kept, [targets[index] for index in sorted(chosen)]


def _plan_states(
    stage: Stage,
    number: int,
    groups: Sequence[ParameterGroup],
    learner: Learner,
    lesson: Lesson,
    material: Material,
) -> StagePlan:
    tagger, matching = learner.objective, stage.loss
    assert isinstance(tagger, TaggerDistillation) and isinstance(matching, StateMatching)
    assert learner.batches_of is not None
    states_store = material.states
    if states_store is not None:
        lesson = dataclasses.replace(lesson, teacher=states_store)
    if lesson.teacher is None:
        raise UserError(
            f"stage {number}: it matches a teacher's hidden states; give the teacher's directory as TEACHER, "
            "or a store of them (label --states) as TEACHER_STATES"
        )
    dev = untagged_targets(sentence.words for sentence in material.dev)
    if states_store is not None:
        sentences = [target.words for target in (*lesson.targets, *dev)]
        states_store.check(sentences, [layer for _, layer in matching.layers or ()])
    teacher, batches = lesson.teacher.teacher, learner.batches_of(lesson)
    batch = _batch(batches, 0)

    def states(key: jax.Array) -> tuple[Any, Any]:
        inputs = [batch[name] for name in tagger.inputs]
        own = states_and_maps(tagger.model, nn.unbox(tagger.model.initial(key)), inputs)
        return own, teacher.states_and_maps(nn.unbox(teacher.init(key)), batch)

    (own, own_maps), (theirs, their_maps) = jax.eval_shape(states, jax.random.key(0))
    try:
        pairs = matching.pairs(len(own), len(theirs))
        maps = map_pairs(matching.attention, len(own_maps), len(their_maps))
        for m, n in maps:
            _check_same_tokens(learner, lesson)
            check_heads(own_maps[m].shape[1], their_maps[n].shape[1], matching.heads)
    except UserError as error:
        raise UserError(f"stage {number}: {error}") from None
    if states_store is not None:
        states_store.check((), [n for _, n in pairs])
    widths = tuple((own[m].shape[-1], theirs[n].shape[-1]) for m, n in pairs)
    objective = StateDistillation(
        tagger.model,
        tagger.inputs,
        teacher,
        pairs,
        widths,
        matching.measure,
        maps,
        matching.heads,
    )
    held_out = learner.batches_of(dataclasses.replace(lesson, targets=dev))
    return StagePlan(
        stage,
        phases_of(stage, number, groups, max([m for m, _ in pairs] + [m + 1 for m, _ in maps])),
        objective,
        batches,
        held_out_loss(objective, held_out, ceil_divide(len(dev), stage.training.batch_size)),
        f"states of stage {number}",
        states_store is None,
        STUDENT,
    )


def _check_same_tokens(learner: Learner, lesson: Lesson) -> None:
    """Raises `UserError` if a student and its teacher do not read the same tokens."""
    reader = lesson.reader
    theirs = reader.vocabulary if isinstance(reader, SubwordReader) else None
    own = learner.vocabulary
    if theirs is None or own.content_hash() != theirs.content_hash():
        raise UserError(
            "attention maps are over tokens, and student and teacher have other vocabularies; leave "
            "ATTENTION_LAYERS out, or give the student the teacher's (TEACHER_EMBEDDING)"
        )


def held_out_loss(objective: Objective, batches: Batches, count: int) -> Score:
    """Scores parameters by the loss on the first `count` batches, the same at every evaluation."""
    chosen = [_batch(batches, number) for number in range(count)]
    loss = jax.jit(lambda params, frozen, batch: objective.loss(params, frozen, batch, None))

    def score(params: Any, frozen: Any) -> dict[str, float]:
        totals: dict[str, np.ndarray] = {}
        for batch in chosen:
            for name, pair in jax.device_get(loss(params, frozen, batch)).items():
                totals[name] = totals.get(name, np.zeros(2)) + np.array(pair, np.float64)
        means = {name: float(total / max(weight, 1.0)) for name, (total, weight) in totals.items()}
        return {"selection": -means["loss"], **means}

    return score


def _batch(batches: Batches, number: int) -> dict[str, np.ndarray]:
    """A batch of sentences, which a student of words learns from one a row."""
    assert not isinstance(batches, RowBatches)
    batch: dict[str, np.ndarray] = batches[number]
    return batch
