"""The students of a cell: BiLSTMs that are trained together, and students of other kinds."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from distill_jax.distill.tags import TagLoss
from distill_jax.inference import Prediction
from distill_jax.inference.settings import TaggerSettings
from distill_jax.jobs.resources import RunResources
from distill_jax.jobs.student import StudentRun
from distill_jax.jobs.targets import student_targets, trusted_targets
from distill_jax.kinds.base import Lesson, Model
from distill_jax.kinds.bilstm_together import TrainedStudent, predict_together, train_together
from distill_jax.labels.cut import sure_of
from distill_jax.labels.record import TeacherLabel
from distill_jax.labels.store import TeacherLabels
from distill_jax.model_dir.directory import save_model
from distill_jax.study.cell_data import CellData
from distill_jax.study.grid import Cell, Silver, Taught, crossed
from distill_jax.study.measuring import ModelFacts, row_of, timed_predictions
from distill_jax.study.recipe import Assignment, Recipe, other_of, with_values
from distill_jax.study.results import BILSTM, Row
from distill_jax.study.teachers import TrainingFacts
from distill_jax.tagger import Tagger

GOLD_ONLY = f"{BILSTM}-gold"


class TaggedTest(NamedTuple):
    """A BiLSTM that was trained, and its predictions for the test sentences."""

    student: TrainedStudent
    taught: Taught | None
    predictions: list[Prediction]


class Lessons:
    """Makes the lessons of a cell's BiLSTMs, which differ in what they learn from and in λ."""

    def __init__(self, cell: Cell, data: CellData, recipe: Recipe) -> None:
        self._data, self._run = data, recipe.students
        self._training = dataclasses.replace(self._run.training, seed=cell.seed)
        self._resources = RunResources(self._run.data.sources, cell.task)

    def of_gold(self) -> Assignment:
        """That of gold alone."""
        loss = with_values(self._run.loss, kl_weight=0.0, temperature=1.0)
        return Assignment(None, self._lesson(None, loss))

    def of_labels(self, taught: Taught, labels: Sequence[TeacherLabel]) -> Assignment:
        """One that learns from labels as well; gold sentences among them have the teacher's scores alone."""
        loss = with_values(self._run.loss, kl_weight=taught.kl_weight)
        return Assignment(taught, self._lesson(labels, loss))

    def _lesson(self, labels: Sequence[TeacherLabel] | None, loss: TagLoss) -> Lesson:
        data = self._data
        weighting = self._run.data.confidence_weighting
        targets = student_targets(data.gold, data.labels, labels, weighting)
        trusted = trusted_targets(data.dev, data.labels, weighting)
        return Lesson(data.labels, targets, loss, self._training, self._resources, trusted=trusted)


def assignments(
    cell: Cell,
    data: CellData,
    recipe: Recipe,
    counts: Mapping[Silver, int],
    labels: Sequence[TeacherLabel],
) -> dict[str, Assignment]:
    """The BiLSTMs of a cell by name: first that of gold alone, then every silver size with every λ.

    A silver set of which the teacher is sure of no sentence (`min_confidence`) is left out.

    Args:
        cell, data, recipe: what for, and from which sentences.
        counts: silver sentences of each size, before those are left out that the teacher is unsure of.
        labels: the teacher's, of the gold sentences and then of the largest silver set.
    """
    lessons = Lessons(cell, data, recipe)
    of_gold = len(labels) - max(counts.values(), default=0)
    assigned = {GOLD_ONLY: lessons.of_gold()}
    least, gold = recipe.students.data.min_confidence, {each.words for each in data.gold}
    for taught in crossed(counts, recipe.lambdas):
        chosen = list(sure_of(labels[: of_gold + taught.sentences], least, gold))
        sure = dataclasses.replace(taught, sentences=len(chosen) - of_gold)
        if sure.sentences or not taught.sentences:
            assigned[taught.name(BILSTM)] = lessons.of_labels(sure, chosen)
    return assigned


def train_bilstms(
    assigned: Mapping[str, Assignment],
    data: CellData,
    recipe: Recipe,
    say: Callable[[str], None],
) -> list[TaggedTest]:
    """Trains a cell's BiLSTMs together, and tags its test sentences with each."""
    training = recipe.students.training
    lessons = {name: assignment.lesson for name, assignment in assigned.items()}
    trained = train_together(recipe.architecture, lessons, data.dev, training, say)
    predictions = predict_together(trained, data.labels, data.test, training.placement)
    return [
        TaggedTest(student, assigned[student.name].taught, own)
        for student, own in zip(trained, predictions, strict=True)
    ]


def bilstm_rows(
    cell: Cell,
    data: CellData,
    recipe: Recipe,
    tagged: Sequence[TaggedTest],
    *,
    measure_speed: bool,
) -> list[Row]:
    """Their lines of results; one is timed for all, which share an architecture."""
    rate = None
    if measure_speed:
        last = tagged[-1].student
        tagger = Tagger(Model(last.config, last.params, last.vocabulary, data.labels))
        _, rate = timed_predictions(tagger, data.test)
    return [
        row_of(
            cell,
            data,
            ModelFacts(
                name=student.name,
                model=BILSTM,
                recipe="gold" if taught is None else "distilled",
                parameters=student.parameters,
                training=TrainingFacts.of(student.outcome),
                taught=taught,
                run=recipe.students,
            ),
            predictions,
            rate,
        )
        for student, taught, predictions in tagged
    ]


def best_distilled(tagged: Sequence[TaggedTest]) -> TaggedTest | None:
    """The distilled BiLSTM that is best on the dev sentences; None if there is none."""
    distilled = [one for one in tagged if one.taught is not None]
    return max(distilled, key=lambda one: one.student.outcome.metrics.get("f1", 0.0), default=None)


def save_bilstms(
    folder: Path, data: CellData, tagged: Sequence[TaggedTest], rows: Sequence[Row]
) -> None:
    """Writes a model directory for each; `rows` are their lines of results."""
    for (student, _, _), row in zip(tagged, rows, strict=True):
        training = {
            "recipe": row.recipe,
            "gold_sentences": row.gold_sentences,
            "silver_sentences": row.silver_sentences,
            **student.varied,
            "seed": student.seed,
            "steps": student.outcome.best_step,
        }
        about = {"role": "student", "metrics": student.outcome.metrics, "training": training}
        model = Model(
            student.config,
            student.params,
            student.vocabulary,
            data.labels,
            TaggerSettings(format="word_tags", text_words=data.text_words),
            about,
        )
        save_model(folder / student.name, model)


def train_other(
    run: StudentRun,
    cell: Cell,
    data: CellData,
    recipe: Recipe,
    counts: Mapping[Silver, int],
    folder: Path,
) -> list[Row]:
    """Trains a student for each λ on the cell's largest silver set, each in a folder of its own.

    Args:
        run: one of the recipe's `others`.
        cell, data, recipe: what for.
        counts: silver sentences of each size.
        folder: the cell's, with the teacher's labels in `labels`.

    Returns:
        Their lines of results; none where the teacher is sure of no silver sentence.
    """
    largest, count = max(counts.items(), key=lambda item: item[1], default=(0, 0))
    if least := run.data.min_confidence:
        gold = {each.words for each in data.gold}
        labels = sure_of(TeacherLabels(folder / "labels"), least, gold)
        sure = sum(label.words not in gold for label in labels)
        if count and not sure:
            return []
        count = sure
    rows = []
    for taught in crossed({largest: count}, recipe.lambdas):
        name = taught.name(run.student.kind)
        own = other_of(run, cell, taught, folder / name, folder / "labels")
        outcome = own.run()
        tagger = Tagger.load(folder / name / "model")
        predictions, rate = timed_predictions(tagger, data.test)
        facts = ModelFacts(
            name=name,
            model=f"{run.student.kind}-student",
            recipe="distilled",
            parameters=tagger.parameters,
            training=TrainingFacts.of(outcome),
            taught=taught,
            run=own,
        )
        rows.append(row_of(cell, data, facts, predictions, rate))
    return rows
