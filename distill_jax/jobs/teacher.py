"""Training a T5 on text: fine-tuning a teacher in the SenT′ format, and pre-training.

Each part of a mixture is learnt in the way its data allow, tagged sentences in the SenT′ format and
plain text by span corruption.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distill_jax.configuration import setting
from distill_jax.data.prepared import PreparedDataset
from distill_jax.distill.language_model import LanguageModelLoss
from distill_jax.errors import UserError
from distill_jax.interop.hf.checkpoint import write_hf
from distill_jax.jobs.evaluation import dev_evaluation, say_left_behind
from distill_jax.jobs.resources import RunResources
from distill_jax.jobs.sources import Part, Sources, content_hashes, settings_with
from distill_jax.kinds.base import Learner, Model, Resources, TaskNames
from distill_jax.kinds.t5_teacher import T5Teacher, TextLesson, TextPart
from distill_jax.model_dir.directory import save_model
from distill_jax.parallel.processes import is_first
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.train.loop import fit
from distill_jax.train.same_run import Origin
from distill_jax.train.selection import Outcome
from distill_jax.train.training import Training


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextData:
    """What a T5 learns from and is selected on.

    Attributes:
        mixture: a task or mixture, or several with their rates.
        lengths: tokens of a packed row, `inputs` and `targets`.
        sources: where tasks come from.
        eval_task: the tagging task whose dev split selects the model, by F1; None: the task itself.
        eval_examples: use only the first so many sentences of each dev split.
        packing: whether a row holds several examples.
        mention_copies: variants of each labelled training sentence, mentions swapped (`swap_mentions`).
    """

    mixture: TaskNames = setting(macro="MIXTURE_OR_TASK_NAME")
    lengths: Mapping[str, int] = setting(macro="TASK_FEATURE_LENGTHS")
    sources: Sources = setting()
    train_split: str = setting("train", macro="TRAIN_SPLIT")
    eval_split: str = setting("valid", macro="EVAL_SPLIT")
    eval_task: str | None = setting(None, macro="EVAL_TASK")
    eval_examples: int | None = setting(None, macro="EVAL_EXAMPLES")
    packing: bool = setting(True, macro="PACKING")
    mention_copies: int = setting(0, macro="MENTION_COPIES")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextRun:
    """What trainings of a T5 on text share: data, model, loss, and how it is trained."""

    data: TextData = setting()
    teacher: T5Teacher = setting()
    loss: LanguageModelLoss = setting(LanguageModelLoss())
    training: Training = setting()

    def learner(self, material: "TextMaterial", resources: Resources) -> Learner:
        """The T5 at its start."""
        data = self.data
        return self.teacher.learner(
            TextLesson(
                material.parts,
                material.held_out,
                material.labels,
                data.lengths,
                data.packing,
                data.mention_copies,
                self.loss,
                self.training,
                resources,
            )
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherRun(TextRun):
    """The fine-tuning of a teacher."""

    def run(self) -> Outcome:
        """See `train_teacher`."""
        return train_teacher(self.data, self.teacher, self.loss, self.training)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainRun(TextRun):
    """Pre-training: of what it leaves, teachers start."""

    def run(self) -> Outcome:
        """See `pretrain`."""
        return pretrain(self.data, self.teacher, self.loss, self.training)


@dataclasses.dataclass(frozen=True)
class TextMaterial:
    """The sentences of a T5's data, read; without `labels` the model that leaves the run is no tagger."""

    parts: list[TextPart]
    held_out: list[TextPart]
    labels: LabelSet | None
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def said(self) -> str:
        """How many sentences there are, for the person who watches."""
        train, dev = (sum(len(part.sentences) for part in of) for of in (self.parts, self.held_out))
        return f"sentences: {train:,}, and {dev:,} dev"


def train_teacher(
    data: TextData, teacher: T5Teacher, loss: LanguageModelLoss, training: Training
) -> Outcome:
    """Fine-tunes a T5 in the SenT′ format, selected by dev F1, and leaves a tagger in `MODEL_DIR/model`.

    Raises:
        UserError: the data are plain text, or several label sets and no EVAL_TASK says which is
            the model's, or as `train.loop.fit` does.
    """
    run = TeacherRun(data=data, teacher=teacher, loss=loss, training=training)
    parts = data.sources.read(data.mixture, data.train_split)
    labels = _labels(data, parts)
    dev = data.sources.one(data.eval_task or data.mixture, data.eval_split, "EVAL_TASK")
    tagged = [dataset for dataset, _ in parts if dataset.labels is not None]
    text_words = data.sources.rule_for_words(*tagged, dev)
    material = TextMaterial(
        [_text(dataset, rate) for dataset, rate in parts],
        [],
        labels,
        content_hashes(*(dataset for dataset, _ in parts), dev),
    )
    learner = run.learner(material, RunResources(data.sources, data.mixture))
    assert learner.predictor is not None, "there are labels"
    evaluate = dev_evaluation(learner.predictor, _first(dev, data.eval_examples))
    said = f"sentences: {sum(map(len, tagged)):,} labelled, {len(dev):,} dev"
    outcome = fit(
        learner.objective,
        learner.batches,
        learner.evaluation(evaluate),
        training,
        initial_params=learner.initial_params,
        origin=Origin(run, material.inputs, said),
    )
    if is_first():
        about = {
            "task": str(data.mixture),
            "steps": outcome.best_step,
            "seconds": outcome.seconds,
        }
        model = Model(
            learner.config,
            learner.final(outcome.params),
            learner.vocabulary,
            labels,
            settings_with(learner, text_words),
            {"role": "teacher", "metrics": outcome.metrics, "training": about},
        )
        save_model(Path(training.model_dir) / "model", model)
    say_left_behind(training.model_dir, outcome)
    return outcome


def pretrain(
    data: TextData, teacher: T5Teacher, loss: LanguageModelLoss, training: Training
) -> Outcome:
    """Trains a T5 on a mixture, selected by the loss on its dev split.

    What it leaves (`fit_by_loss`) is no tagger of any one label set, but what others start from. Raises
    `UserError` as `train.loop.fit` does.
    """
    run = PretrainRun(data=data, teacher=teacher, loss=loss, training=training)
    return fit_by_loss(run, pretraining_material(data))


def fit_by_loss(
    run: TextRun, material: TextMaterial, beside: Callable[[Path], None] | None = None
) -> Outcome:
    """Trains a T5 that is no tagger, selected by the loss on held-out sentences.

    It leaves a plain Hugging Face directory in `MODEL_DIR/model` with its vocabulary; `beside` puts other
    files there. Raises `UserError` as `train.loop.fit` does.
    """
    learner = run.learner(material, RunResources(run.data.sources, run.data.mixture))
    assert learner.held_out is not None, "there are no labels"
    outcome = fit(
        learner.objective,
        learner.batches,
        learner.held_out(),
        run.training,
        initial_params=learner.initial_params,
        origin=Origin(run, material.inputs, material.said),
    )
    write_start(run.training, learner, learner.final(outcome.params), beside)
    say_left_behind(run.training.model_dir, outcome)
    return outcome


def pretraining_material(data: TextData) -> TextMaterial:
    """The sentences that a T5 is pre-trained and selected on."""
    parts = data.sources.read(data.mixture, data.train_split)
    dev = data.sources.read(data.mixture, data.eval_split)
    return TextMaterial(
        [_text(dataset, rate) for dataset, rate in parts],
        [
            TextPart(_first(dataset, data.eval_examples), dataset.labels, rate)
            for dataset, rate in dev
        ],
        None,
        content_hashes(*(dataset for dataset, _ in [*parts, *dev])),
    )


def write_start(
    training: Training,
    learner: Learner,
    params: Any,
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Writes a T5 of which others start, with its vocabulary, to `MODEL_DIR/model`; `beside` adds to it."""
    if is_first():
        directory = Path(training.model_dir) / "model"
        write_hf(directory, learner.config, params)
        learner.vocabulary.save(directory)
        if beside is not None:
            beside(directory)


def _labels(data: TextData, parts: list[Part]) -> LabelSet:
    """The label set of the tagger that leaves the run."""
    if data.eval_task is not None:
        labels = data.sources.one(data.eval_task, data.eval_split, "EVAL_TASK").labels
        if labels is None:
            raise UserError(f"EVAL_TASK {data.eval_task!r} is plain text; name a tagging task")
        return labels
    if len(parts) != 1:
        raise UserError(
            f"MIXTURE_OR_TASK_NAME is a mixture of {len(parts)} tasks; name the one whose labels the "
            "teacher is to have (EVAL_TASK), or pre-train (gin/runs/pretrain.gin)"
        )
    labels = parts[0][0].labels
    if labels is None:
        raise UserError(
            f"{parts[0][0].task!r} is plain text; a teacher needs a tagging task, or pre-train "
            "(gin/runs/pretrain.gin)"
        )
    return labels


def _text(dataset: PreparedDataset, rate: float) -> TextPart:
    return TextPart(list(dataset), dataset.labels, rate)


def _first(dataset: PreparedDataset, count: int | None) -> list[Sentence]:
    return [dataset[i] for i in range(min(len(dataset), count or len(dataset)))]
