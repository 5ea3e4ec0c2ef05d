"""Pre-training a T5 whose encoder learns another model's word states beside it (`distill.text_states`).

A BERT or MiniLM has read what a small T5 will never see. It lends what it knows of words, in context, before
the T5 has any label: stage 1 of XtremeDistil (`distill.states`), of which a teacher is the student.
"""

import dataclasses
import sys
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from distill_jax.configuration import setting
from distill_jax.data.prepared import PreparedDataset
from distill_jax.data.text_states import beside_rows, sentence_batches
from distill_jax.distill.language_model import LanguageModel
from distill_jax.distill.states import PROJECTIONS, STUDENT, StateDistillation, StateMatching
from distill_jax.distill.text_states import INPUTS, STATES, SentWordStates, TextWithStates
from distill_jax.errors import UserError
from distill_jax.integers import ceil_divide
from distill_jax.jobs.evaluation import say_left_behind
from distill_jax.jobs.resources import RunResources
from distill_jax.jobs.sources import content_hashes
from distill_jax.jobs.stage_plan import held_out_loss
from distill_jax.jobs.targets import untagged_targets
from distill_jax.jobs.teacher import TextRun, pretraining_material, write_start
from distill_jax.kinds.base import Learner, Model, StepTeacher, TaskNames
from distill_jax.kinds.registry import kind_of
from distill_jax.model_dir.directory import model_hash, open_checkpoint
from distill_jax.parallel import processes
from distill_jax.sent.format import SenTFormat
from distill_jax.tagging import LabelSet
from distill_jax.train.feed import Batches, RowBatches
from distill_jax.train.loop import fit
from distill_jax.train.same_run import Origin
from distill_jax.train.selection import Evaluate, Outcome
from distill_jax.train.state import abstract_frozen, shardings_of

_ANY_LABELS = LabelSet(("label",))
"""Nothing is tagged, but a format has labels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StateSource:
    """Whose states a T5's encoder is to have, at which words.

    Attributes:
        path: the directory of a model of any kind: a bare encoder of Hugging Face (a BERT, MiniLM,
            ELECTRA, RoBERTa or XLM-R), or a tagger.
        text: tasks whose sentences are read, without their tags.
        weight: what a word's distance counts, where a target token's negative log-likelihood counts 1.
        per_row: sentences beside each packed row of a step.

    Raises:
        UserError: a number makes no sense.
    """

    path: str = setting(macro="TEACHER", free=True)  # its content is an input
    text: TaskNames = setting(macro="STATES_TEXT")
    weight: float = setting(1.0, macro="STATES_WEIGHT")
    per_row: int = setting(2, macro="STATES_PER_ROW")

    def __post_init__(self) -> None:
        if not (np.isfinite(self.weight) and self.weight > 0):
            raise UserError(
                f"STATES_WEIGHT is {self.weight}; it must be above 0 (without states: gin/runs/pretrain.gin)"
            )
        if self.per_row < 1:
            raise UserError(f"STATES_PER_ROW is {self.per_row}; it must be at least 1")

    def teacher(self) -> StepTeacher:
        """The model, read; `UserError` if it is none, or of a kind that has no states of words."""
        checkpoint = open_checkpoint(self.path)
        model = Model(checkpoint.config, checkpoint.read(), checkpoint.vocabulary(), _ANY_LABELS)
        return kind_of(model.config).step_teacher(model, None, self.path)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatchStatesRun(TextRun):
    """Pre-training with another model's word states; of what it leaves, teachers start."""

    source: StateSource = setting()
    matching: StateMatching = setting(StateMatching())

    def run(self) -> Outcome:
        """See `match_states`."""
        return match_states(self)


def match_states(run: MatchStatesRun) -> Outcome:
    """Trains a T5, selected by its loss on dev splits: that of the language model, and w times the states'.

    It leaves what `teacher.pretrain` leaves. Raises `UserError` if layers are matched that are not there, the
    vocabulary's padding is not 0, there are several processes, or as `train.loop.fit` does.
    """
    if processes.is_distributed():
        raise UserError(
            "a run that matches states is one process, of however many devices; start one"
        )
    data, training = run.data, run.training
    material = pretraining_material(data)
    learner = run.learner(material, RunResources(data.sources, data.mixture))
    if learner.vocabulary.pad_id != 0:
        raise UserError(
            f"padding has id {learner.vocabulary.pad_id} in the T5's vocabulary; where states are matched "
            "it must be 0; pre-train it without (gin/runs/pretrain.gin)"
        )
    text, dev = (
        data.sources.read(run.source.text, split) for split in (data.train_split, data.eval_split)
    )
    teacher = run.source.teacher()
    words = _sentences(*(dataset for dataset, _ in text))
    dev_words = _sentences(*(dataset for dataset, _ in dev), first=data.eval_examples)
    size = training.batch_size * run.source.per_row
    batches = _batches(run, learner, teacher, words, size)
    held_out = _batches(run, learner, teacher, dev_words, size)
    objective = _objective(run, learner, teacher, batches)
    assert isinstance(learner.batches, RowBatches), "rows are packed"
    frozen = jax.tree.map(
        jax.device_put,
        teacher.params(),
        shardings_of(abstract_frozen(objective, training.placement.place())),
    )
    outcome = fit(
        objective,
        beside_rows(learner.batches.rows, batches, training.batch_size, STATES),
        _evaluation(run, learner, objective, held_out, ceil_divide(len(dev_words), size), frozen),
        training,
        initial_params=_start(learner, objective, training.seed),
        frozen=frozen,
        origin=Origin(
            run,
            {
                **material.inputs,
                **content_hashes(*(dataset for dataset, _ in [*text, *dev])),
                "teacher": model_hash(run.source.path),
            },
            material.said,
        ),
    )
    write_start(training, learner, learner.final(outcome.params[STUDENT]))
    say_left_behind(training.model_dir, outcome)
    return outcome


def _sentences(*datasets: PreparedDataset, first: int | None = None) -> list[tuple[str, ...]]:
    """Each once, of each data set the first so many."""
    distinct: dict[tuple[str, ...], None] = {}
    for dataset in datasets:
        count = len(dataset) if first is None else min(first, len(dataset))
        distinct.update((dataset[number].words, None) for number in range(count))
    return [words for words in distinct if words]


def _format(learner: Learner) -> SenTFormat:
    return SenTFormat(learner.vocabulary, _ANY_LABELS, rows=learner.config.vocab_size)


def _batches(
    run: MatchStatesRun,
    learner: Learner,
    teacher: StepTeacher,
    words: Iterable[tuple[str, ...]],
    size: int,
) -> Any:
    return sentence_batches(
        untagged_targets(words),
        _format(learner),
        teacher.reader,
        batch_size=size,
        seed=run.training.seed,
        lengths=run.data.lengths,
    )


def _objective(
    run: MatchStatesRun, learner: Learner, teacher: StepTeacher, batches: Batches
) -> TextWithStates:
    """The pairs of layers are those that both models have."""
    language = learner.objective
    assert isinstance(language, LanguageModel) and not isinstance(batches, RowBatches)
    student = SentWordStates(language.model, tuple(_format(learner).sentinel_ids.tolist()))
    batch = batches[0]

    def states(key: jax.Array) -> tuple[Any, Any]:
        own = student.apply(
            {"params": nn.unbox(student.initial(key))},
            *(batch[name] for name in INPUTS),
            method="word_states",
        )
        return own, teacher.teacher.states(nn.unbox(teacher.teacher.init(key)), batch)

    own, theirs = jax.eval_shape(states, jax.random.key(0))
    pairs = run.matching.pairs(len(own), len(theirs))
    widths = tuple((own[m].shape[-1], theirs[n].shape[-1]) for m, n in pairs)
    matched = StateDistillation(
        student, INPUTS, teacher.teacher, pairs, widths, run.matching.measure
    )
    return TextWithStates(language, matched, run.source.weight)


def _start(learner: Learner, objective: TextWithStates, seed: int) -> Any:
    """The T5 at its start, and random projections; None: all is random."""
    initial = learner.initial_params
    if initial is None:
        return None

    def params() -> Any:
        made = jax.jit(lambda key: nn.unbox(objective.init(key)))(jax.random.key(seed))
        return {STUDENT: initial(), PROJECTIONS: made[PROJECTIONS]}

    return params


def _evaluation(
    run: MatchStatesRun,
    learner: Learner,
    objective: TextWithStates,
    held_out: Batches,
    count: int,
    frozen: Any,
) -> Evaluate:
    assert learner.held_out is not None, "there are no labels"
    language = learner.held_out()
    states = held_out_loss(objective.states, held_out, count)

    def evaluate(params: Any) -> dict[str, float]:
        text, matched = language(params[STUDENT]), states(params, frozen)
        distance = matched["loss"]
        if processes.is_first():
            print(f"distance of dev states: {distance:.4f}", file=sys.stderr, flush=True)
        return {
            **{name: value for name, value in matched.items() if name.startswith("states_")},
            **text,
            "states": distance,
            "selection": text["selection"] - run.source.weight * distance,
        }

    return evaluate
