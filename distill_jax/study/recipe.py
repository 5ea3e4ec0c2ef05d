"""What a study trains in every cell: a teacher, BiLSTM students, and students of other kinds.

The runs of a recipe are templates. A cell puts its own task, splits, seed, folder, teacher labels and λ into
them; whoever sets one of these is told so.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from distill_jax.configuration import MACRO, setting
from distill_jax.errors import UserError
from distill_jax.jobs.sources import Sources
from distill_jax.jobs.student import StudentRun
from distill_jax.jobs.teacher import TeacherRun
from distill_jax.kinds.bilstm import BiLSTMStudent
from distill_jax.kinds.bilstm_together import as_bilstm
from distill_jax.labels.confidence import check_weighting
from distill_jax.sentscore import DecoderSettings, Normaliser
from distill_jax.study.grid import (
    Cell,
    Silver,
    Taught,
    check_lambdas,
    check_positive,
    check_silver,
    silver_counts,
)
from distill_jax.train.training import Training


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained in every cell.

    Attributes:
        teacher: trained on the gold sentences: a T5 in the SenT′ format, or a tagger of any kind that
            students may be.
        students: BiLSTMs, trained together: one of gold alone, and of every silver size with every λ.
        others: students of any kind, each trained once for each λ on the largest silver set.
        silver: numbers of silver sentences, and `all`; 0 with a λ above 0 is the KL term on gold sentences
            alone.
        max_silver: what `all` is at most.
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
    others: Sequence[StudentRun] = setting(())
    silver: Sequence[Silver] = setting((0, 250, 500, 2000), macro="SILVER")
    max_silver: int | None = setting(None, macro="MAX_SILVER")
    lambdas: Sequence[float] = setting((0.0, 1.0), macro="LAMBDAS")
    teachers_of: str | None = setting(None, macro="TEACHERS_OF", free=True)
    label_normaliser: Normaliser | None = setting(None, macro="LABEL_NORMALISER")
    keep_students: bool = setting(True)

    def __post_init__(self) -> None:
        as_bilstm(self.students.student)
        check_silver(self.silver)
        check_lambdas(self.lambdas)
        if self.max_silver is not None:
            check_positive("MAX_SILVER", self.max_silver)
        if self.label_normaliser is not None:
            DecoderSettings(normaliser=self.label_normaliser)  # checks it
        _check_left_to_cells(self.teacher.data, "train_split", "eval_split", "teacher_labels")
        _check_left_to_cells(self.teacher.training, "seed")
        for run in (self.students, *self.others):
            _check_loss(run.loss)
            check_weighting(run.data.confidence_weighting)
            _check_left_to_cells(run.data, "train_split", "eval_split", "teacher_labels")
            _check_left_to_cells(run.data.teacher, "path")
            _check_left_to_cells(run.loss, "kl_weight")
            _check_left_to_cells(run.training, "seed")

    @property
    def architecture(self) -> BiLSTMStudent:
        """Of the students that are trained together."""
        return as_bilstm(self.students.student)

    @property
    def sources(self) -> Sources:
        """Where the cells' sentences come from."""
        return self.students.data.sources

    def counts(self, pool: int, task: str) -> dict[Silver, int]:
        """How many of the `pool` silver sentences of a task each size is; without any, 0 alone is left.

        Raises `UserError` if a size is more than there are.
        """
        if not pool:
            return {0: 0} if 0 in self.silver else {}
        return silver_counts(self.silver, self.max_silver, pool, task)

    def teacher_of(self, cell: Cell, folder: Path) -> TeacherRun | StudentRun:
        """The teacher of a cell, trained in a folder."""
        train, dev = cell.splits
        run, training = self.teacher, _alone(self.teacher.training, cell, folder)
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
        training=_alone(run.training, cell, folder),
    )


def with_values(loss: Any, **values: float) -> Any:
    """A loss with other values of those fields that it has."""
    names = {field.name for field in dataclasses.fields(loss)}
    return dataclasses.replace(loss, **{n: value for n, value in values.items() if n in names})


def _check_loss(loss: Any) -> None:
    if not hasattr(loss, "kl_weight"):
        raise UserError(
            f"the loss of a study's students must have a λ (`kl_weight`), and {type(loss).__name__} has "
            "none; bind another, or train the students one by one"
        )
    if hasattr(loss, "temperature"):
        check_positive("TEMPERATURE", loss.temperature)


def _alone(training: Training, cell: Cell, folder: Path) -> Training:
    """With a cell's seed; on a CPU, which has a device a core for students, on the first of them."""
    placement = training.placement
    if jax.devices()[0].platform == "cpu":
        placement = dataclasses.replace(placement, first_devices=1)
    return dataclasses.replace(training, model_dir=str(folder), seed=cell.seed, placement=placement)


def _check_left_to_cells(part: Any, *names: str) -> None:
    """Raises `UserError` if one of these fields has another value than its default."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name in names and value != field.default:
            macro = field.metadata[MACRO]
            raise UserError(
                f"{macro} is {value!r}, but every cell of a study has its own; leave it out (see "
                "DATASETS, SIZES, SEEDS and LAMBDAS)"
            )
