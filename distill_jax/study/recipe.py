"""What every study trains in every cell: a teacher, and BiLSTM students that are trained together.

The runs of a recipe are templates. A cell puts its own task, splits, seed, folder, teacher labels and λ into
them; whoever sets one of these is told so.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from distill_jax.configuration import MACRO, setting
from distill_jax.errors import UserError
from distill_jax.jobs.sources import Sources
from distill_jax.jobs.student import StudentRun
from distill_jax.jobs.teacher import TeacherRun
from distill_jax.kinds.base import Lesson
from distill_jax.kinds.bilstm import BiLSTMStudent
from distill_jax.kinds.bilstm_together import as_bilstm
from distill_jax.kinds.t5 import NAME as T5
from distill_jax.labels.confidence import check_weighting
from distill_jax.labels.cut import check_least
from distill_jax.sentscore import DecoderSettings, Normaliser
from distill_jax.study.cell_data import CellData
from distill_jax.study.grid import Cell, Taught, check_lambdas, check_positive
from distill_jax.study.results import Row
from distill_jax.tagger import Tagger
from distill_jax.train.training import Training


class Assignment(NamedTuple):
    """A BiLSTM that is to be trained: what it has of the teacher (None: nothing), and its lesson."""

    taught: Taught | None
    lesson: Lesson


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(abc.ABC):
    """What is trained in every cell.

    Attributes:
        teacher: trained on the gold sentences: a T5 in the SenT′ format, or a tagger of any kind that
            students may be.
        students: BiLSTMs, trained together: one of gold alone, and those that the study compares.
        lambdas: λ of the students.
        teachers_of: the folder of a study with the same settings of the teacher, whose teachers are taken
            over, so that losses and students are compared with the same ones.
        label_normaliser: of the teacher's scores; None: as the teacher was trained.
        keep_students: whether the BiLSTMs' model directories stay in the cell's folder.

    Raises:
        UserError: a value makes no sense, or belongs to the cells.
    """

    teacher: TeacherRun | StudentRun = setting(part=(TeacherRun, StudentRun), scope="teacher")
    students: StudentRun = setting(scope="student")
    lambdas: Sequence[float] = setting((0.0, 1.0), macro="LAMBDAS")
    teachers_of: str | None = setting(None, macro="TEACHERS_OF", free=True)
    label_normaliser: Normaliser | None = setting(None, macro="LABEL_NORMALISER")
    keep_students: bool = setting(True)

    def __post_init__(self) -> None:
        as_bilstm(self.students.student)
        check_lambdas(self.lambdas)
        if self.label_normaliser is not None:
            DecoderSettings(normaliser=self.label_normaliser)  # checks it
        check_left_to_cells(self.teacher.data, "train_split", "eval_split", "teacher_labels")
        check_left_to_cells(self.teacher.training, "seed")
        check_student(self.students)

    @property
    def architecture(self) -> BiLSTMStudent:
        """Of the students that are trained together."""
        return as_bilstm(self.students.student)

    @property
    def teacher_kind(self) -> str:
        """What teachers are, by a kind's name."""
        return T5 if isinstance(self.teacher, TeacherRun) else self.teacher.student.kind

    @property
    def sources(self) -> Sources:
        """Where the cells' sentences come from."""
        return self.students.data.sources

    @abc.abstractmethod
    def check(self, cell: Cell, data: CellData) -> None:
        """Raises `UserError` if a cell's sentences are not what the study needs."""

    @abc.abstractmethod
    def assign(
        self, cell: Cell, data: CellData, tagger: Tagger, folder: Path
    ) -> dict[str, Assignment]:
        """Lets the teacher label what it is to; the BiLSTMs of a cell by name, first that of gold alone.

        `tagger` is the teacher, of `teacher/model` in the cell's folder.
        """

    def train_others(self, cell: Cell, data: CellData, folder: Path) -> list[Row]:
        """Trains what a cell has besides BiLSTMs; their lines of results."""
        return []

    @abc.abstractmethod
    def write(self, folder: Path, rows: Sequence[Row], settings: Mapping[str, Any]) -> None:
        """Writes tables, figures and page into the study's folder; `settings` are those of the folder."""

    def teacher_of(self, cell: Cell, folder: Path) -> TeacherRun | StudentRun:
        """The teacher of a cell, trained in a folder."""
        train, dev = cell.splits
        run, training = self.teacher, alone(self.teacher.training, cell, folder)
        if isinstance(run, TeacherRun):
            text = dataclasses.replace(
                run.data, mixture=cell.task, train_split=train, eval_split=dev
            )
            return dataclasses.replace(run, data=text, training=training)
        data = dataclasses.replace(run.data, task=cell.task, train_split=train, eval_split=dev)
        return dataclasses.replace(run, data=data, training=training)

    def training_of(self, cell: Cell, folder: Path) -> Training:
        """How a cell's BiLSTMs are trained."""
        return dataclasses.replace(self.students.training, model_dir=str(folder), seed=cell.seed)


def other_of(run: StudentRun, cell: Cell, taught: Taught, folder: Path, labels: Path) -> StudentRun:
    """A student of one of the `others` of a recipe, trained in a folder on a store of teacher labels."""
    train, dev = cell.splits
    data = dataclasses.replace(
        run.data, task=cell.task, train_split=train, eval_split=dev, teacher_labels=str(labels)
    )
    return dataclasses.replace(
        run,
        data=data,
        loss=with_values(run.loss, kl_weight=taught.kl_weight),
        training=alone(run.training, cell, folder),
    )


def with_values(loss: Any, **values: float) -> Any:
    """A loss with other values of those fields that it has."""
    names = {field.name for field in dataclasses.fields(loss)}
    return dataclasses.replace(loss, **{n: value for n, value in values.items() if n in names})


def check_student(run: StudentRun) -> None:
    """Raises `UserError` if a student's run has a loss that is none of a study, or what cells give it."""
    _check_loss(run.loss)
    check_weighting(run.data.confidence_weighting)
    check_least(run.data.min_confidence)
    check_left_to_cells(run.data, "train_split", "eval_split", "teacher_labels")
    check_left_to_cells(run.data.teacher, "path")
    check_left_to_cells(run.loss, "kl_weight")
    check_left_to_cells(run.training, "seed")


def _check_loss(loss: Any) -> None:
    if not hasattr(loss, "kl_weight"):
        raise UserError(
            f"the loss of a study's students must have a λ (`kl_weight`), and {type(loss).__name__} has "
            "none; bind another, or train the students one by one"
        )
    if hasattr(loss, "temperature"):
        check_positive("TEMPERATURE", loss.temperature)


def alone(training: Training, cell: Cell, folder: Path) -> Training:
    """With a cell's seed; on a CPU, which has a device a core for students, on the first of them."""
    placement = training.placement
    if jax.devices()[0].platform == "cpu":
        placement = dataclasses.replace(placement, first_devices=1)
    return dataclasses.replace(training, model_dir=str(folder), seed=cell.seed, placement=placement)


def check_left_to_cells(part: Any, *names: str) -> None:
    """Raises `UserError` if one of these fields has another value than its default."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name in names and value != field.default:
            macro = field.metadata[MACRO]
            raise UserError(
                f"{macro} is {value!r}, but every cell of a study has its own; leave it out (see "
                "DATASETS, SIZES, SEEDS and LAMBDAS)"
            )
