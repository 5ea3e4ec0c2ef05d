"""What a kind of tagger offers, and what training asks of a student or a teacher of any kind."""

import abc
import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from distill_jax.data.distillation import Target
from distill_jax.data.teacher_readers import TeacherReader
from distill_jax.distill.online import Teacher
from distill_jax.distill.tags import TagLoss
from distill_jax.errors import UserError
from distill_jax.inference import Predictor
from distill_jax.inference.settings import TaggerFormat, TaggerSettings
from distill_jax.models.partitioning import ANYWHERE, Place
from distill_jax.safetensors_io import TensorSource
from distill_jax.sent.format import SenTFormat
from distill_jax.sentscore import DecoderSettings, Normaliser
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.train.feed import Batches
from distill_jax.train.objective import Objective
from distill_jax.train.selection import Evaluate
from distill_jax.train.training import Training
from distill_jax.vocab import WordTable

Params = dict[str, Any]
"""A nested dictionary of parameters, named as in t5x (no `params` level around it)."""

TaskNames = str | Mapping[str, float]
"""A task or mixture, or several with the share of rows each gets."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A model with all that it needs to tag, in memory.

    Attributes:
        config: of the model; its type tells the kind.
        params: arrays of any kind without a `params` level; as loaded, NumPy float32 (word vectors of a
            frozen table may be float16).
        vocabulary: that it was trained with.
        labels: whose sBIO tags it predicts.
        settings: how it tags; None: the defaults of its kind.
        metadata: `name`, `role`, `metrics` and `training`, where they are known.
    """

    config: Any
    params: Any
    vocabulary: Any
    labels: LabelSet
    settings: TaggerSettings | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Checkpoint(NamedTuple):
    """A model's files that have been checked but not yet read: of a model directory, or of others.

    `read` gives the parameters (NumPy float32), `embedding` those of the tokens alone,
    float32[rows, width]; `vocabulary` loads the vocabulary beside them.
    """

    config: Any
    read: Callable[[], Params]
    embedding: Callable[[], np.ndarray]
    vocabulary: Callable[[], Any]


class PredictorOptions(NamedTuple):
    """How a model is to predict; decoder and normaliser None: as it was saved."""

    decoder: DecoderSettings | None = None
    normaliser: Normaliser | None = None
    batch_size: int = 32
    place: Place = ANYWHERE


class Resources(Protocol):
    """What students and teachers start from, beside their own settings."""

    def checkpoint(self, path: str) -> Checkpoint:
        """The model in a directory, of any kind."""

    def vocabulary(self, path: str | None, rows: int = 0) -> Any:
        """A vocabulary of subwords from a file, a directory or `byte`; None where there is no path.

        `rows` are the embedding rows that the model has, 0 where the vocabulary decides.
        """

    def new_vocabulary(self, wanted: Any) -> Any:
        """A vocabulary trained on tasks (`kinds.t5_start.NewVocabulary`)."""

    def sentences(self, tasks: TaskNames) -> Iterable[Sentence]:
        """The training sentences of tasks."""

    def word_vectors(
        self,
        path: str,
        dim: int,
        *,
        lowercase: bool,
        first: int | None,
        wanted: Collection[str],
    ) -> WordTable:
        """See `vocab.read_word_vectors`."""


class StepTeacher(Protocol):
    """A teacher that is part of a student's training step, of any kind."""

    @property
    def reader(self) -> TeacherReader:
        """How it reads sentences."""

    @property
    def teacher(self) -> Teacher:
        """Its labels and its hidden states, as functions of its parameters and a batch."""

    def params(self) -> Params:
        """Its parameters, host arrays as the step takes them."""

    def online(
        self, student: Any, sent_format: SenTFormat | None = None, *, start_id: int = 0
    ) -> Objective:
        """A student's objective with this teacher; a T5 student's with its format and start token."""


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What a student learns from, and how.

    Attributes:
        labels: of the task.
        targets: gold and silver sentences.
        loss: of tags, that of the paper or another.
        training: batch size, seed and the like.
        resources: what its start is made of.
        teacher: one that is part of the training step, if any.
        trusted: sentences by which the weights of silver ones are learnt (`distill.reweighting`); none: they
            are not.
    """

    labels: LabelSet
    targets: Sequence[Target]
    loss: TagLoss
    training: Training
    resources: Resources
    teacher: StepTeacher | None = None
    trusted: Sequence[Target] = ()

    def check_weights_are_given(self) -> None:
        """Raises `UserError` if weights are to be learnt, for students that cannot."""
        if self.trusted:
            raise UserError(
                "CONFIDENCE_WEIGHTING='learnt' is for BiLSTMs, and this student is none; use another one"
            )

    @property
    def reader(self) -> TeacherReader | None:
        """How a teacher within the step reads, for the batches; None without one."""
        return None if self.teacher is None else self.teacher.reader


def unchanged(value: Any) -> Any:
    """Parameters, or an evaluation, that need no other layout."""
    return value


@dataclasses.dataclass(frozen=True)
class Learner:
    """A model that is ready to be trained, and what it will be saved with.

    Attributes:
        config: of the model that leaves the run.
        vocabulary: its own.
        objective: what a step minimises.
        batches: the data.
        predictor: tags the dev split with the parameters that leave the run; None where there is none to tag.
        initial_params: gives arrays to start from, in the layout of training; None: random ones.
        settings: of the model that leaves the run; None: the defaults of its kind.
        evaluation: an evaluation of the parameters that leave the run → one of those that are trained.
        final: trained parameters → those that leave the run.
        plain: the objective without rematerialisation, whose FLOPs are those of the model; None: the same.
        execution: options of memory and time that are on, by name, for advice.
        held_out: the evaluation of trained parameters where there is no predictor.
        inputs: hashes of what it reads beside the lesson's material, by role.
        coverage: says how many words of the dev sentences the model knows, where that is known.
        batches_of: the data of another lesson for the same model; None: it learns one lesson only.
    """

    config: Any
    vocabulary: Any
    objective: Objective
    batches: Batches
    predictor: Predictor | None
    initial_params: Callable[[], Any] | None = None
    settings: TaggerSettings | None = None
    evaluation: Callable[[Evaluate], Evaluate] = unchanged
    final: Callable[[Any], Any] = unchanged
    plain: Objective | None = None
    execution: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    held_out: Callable[[], Evaluate] | None = None
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    coverage: Callable[[Sequence[Sentence]], str] | None = None
    batches_of: Callable[[Lesson], Batches] | None = None


class Student(Protocol):
    """The configuration of a student of some kind, a frozen dataclass."""

    kind: ClassVar[str]
    """The name of its kind, which results call it by."""

    def learner(self, lesson: Lesson) -> Learner:
        """The student at its start.

        Raises `UserError` if it cannot be one of this lesson.
        """


class ParameterGroup(NamedTuple):
    """Parameters that are trained or left alone together: those below `paths` (`a/b`: all of `a/b/…`)."""

    name: str
    paths: tuple[str, ...]


class Kind(abc.ABC):
    """A kind of tagger: its files, its predictor, and the settings its students and teachers are made by.

    Attributes:
        name: what results and messages call it by.
        model_types: values of `model_type` in `config.json` that are this kind's.
        similar_types: other values that may be taken for its own: what is wrong with each, and the
            remedy.
        config_type: of its configurations.
        format: of `tagger.json`.
        settings: the dataclasses that describe its students and teachers, for Gin files.
    """

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    similar_types: ClassVar[Mapping[str, str]] = {}
    config_type: ClassVar[type]
    format: ClassVar[TaggerFormat] = "word_tags"
    settings: ClassVar[tuple[type, ...]] = ()

    @abc.abstractmethod
    def describe(self, config: Any) -> str:
        """The architecture in a few words, for the model card."""

    def frozen_parameters(self, config: Any) -> int:
        """How many of the model's parameters were never trained, as word vectors of a file."""
        return 0

    @abc.abstractmethod
    def load_vocabulary(self, directory: Path) -> Any:
        """The vocabulary in a model directory."""

    @abc.abstractmethod
    def check_fit(self, config: Any, vocabulary: Any, labels: LabelSet, where: str) -> None:
        """Raises `UserError` if model, vocabulary and labels do not belong together."""

    @abc.abstractmethod
    def sources(self, config: Any, params: Mapping[str, Any]) -> list[TensorSource]:
        """The tensors to write; `ValueError` if the parameters are not those of such a model."""

    @abc.abstractmethod
    def write_files(self, directory: Path, model: Model, sources: list[TensorSource]) -> None:
        """Writes `config.json` and `model.safetensors`; the tensors stand in for the parameters."""

    @abc.abstractmethod
    def open(self, directory: Path) -> Checkpoint:
        """The model in a directory, checked; `UserError` in one line if something is wrong."""

    @abc.abstractmethod
    def predictor(self, model: Model, options: PredictorOptions) -> Predictor:
        """Tags sentences with the model; `UserError` for options that the kind does not have."""

    def with_dtype(self, config: Any, dtype: str) -> Any:
        """The configuration with activations of another type; `UserError` if the kind has one alone."""
        return config.replace(dtype=dtype)

    def abstract_params(self, config: Any, place: Place) -> Any:
        """Shapes and shardings of the parameters on the place's mesh; `UserError` if the kind
        cannot be split."""
        raise UserError(
            "only a T5 can be split over devices, and this model is none; use one device"
        )

    def groups(self, config: Any) -> tuple[ParameterGroup, ...]:
        """All trained parameters, from the top down: the head, each layer, what is below them (embeddings).

        But for the head's there is a group for each of the states that `word_states` gives, last first.
        Raises `UserError` if the kind has no such states.
        """
        raise UserError(
            f"a {self.name} cannot be distilled in stages; use a student that gives each word its tags' "
            "scores (a BiLSTM, an encoder tagger, a BERT)"
        )

    def step_teacher(self, model: Model, execution: Any, where: str) -> StepTeacher:
        """The model as a teacher within a student's step.

        `execution` is a `T5Execution`, None: as it was saved. Raises `UserError` if the kind cannot be a
        teacher, or has not what `execution` asks for.
        """
        raise UserError(
            f"{where}: a {self.name} tagger cannot be a teacher within the step; label the sentences "
            "with it beforehand"
        )
