"""T5s: teachers and students that tag by writing, whose model directory is a Hugging Face checkpoint."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from distill_jax.configuration import setting
from distill_jax.data.distillation import sent_batches
from distill_jax.data.teacher_readers import SentReader
from distill_jax.distill.language_model import LanguageModelLoss
from distill_jax.distill.online import (
    OnlineDistillation,
    OnlineTeacher,
    TokenDistillation,
)
from distill_jax.distill.sent import SentDistillation
from distill_jax.distill.tags import DistillationWeights
from distill_jax.errors import UserError
from distill_jax.inference import Predictor, SentPredictor
from distill_jax.inference.settings import TaggerSettings
from distill_jax.interop.hf.checkpoint import HfCheckpoint, hf_sources, write_hf_files
from distill_jax.interop.hf.config import NOT_T5, T5_TYPES
from distill_jax.kinds.base import (
    Checkpoint,
    Kind,
    Learner,
    Lesson,
    Model,
    Params,
    PredictorOptions,
)
from distill_jax.kinds.registry import register
from distill_jax.kinds.step_teacher import online_distillation
from distill_jax.kinds.subwords import check_subwords
from distill_jax.kinds.t5_start import NewVocabulary, T5Start, TrainingLayout
from distill_jax.kinds.t5_teacher import T5Teacher, execution_of
from distill_jax.models.partitioning import Place
from distill_jax.models.stacking import stack_layers
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config, T5Execution
from distill_jax.safetensors_io import TensorSource
from distill_jax.sent.format import SenTFormat
from distill_jax.sentscore import DecoderSettings, LabelTrie, Normaliser
from distill_jax.tagging import LabelSet
from distill_jax.train.objective import Objective
from distill_jax.train.state import abstract
from distill_jax.vocab import ByteVocabulary, Vocabulary, load_vocabulary

NAME = "t5"


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Student:
    """A T5 student, of any size and vocabulary.

    Attributes:
        start: where it starts.
        lengths: tokens of a sentence, `inputs` and `targets`; longer ones become windows.
        language_model: options of the language-model loss.
        execution: how it is computed while it is trained.
        normaliser: of its scores in the KL term, and of the model that leaves the run.
        single_token_tags: write each tag as one token of its own instead of its label's text.
        token_level: the KL term is that between the next-token distributions of student and a
            teacher within the step, which must have the same vocabulary, on gold tags and those
            of the teacher's labels.
    """

    kind: ClassVar[str] = NAME
    start: T5Start = setting(T5Start())
    lengths: Mapping[str, int] = setting(macro="TASK_FEATURE_LENGTHS")
    language_model: LanguageModelLoss = setting(LanguageModelLoss())
    execution: T5Execution = setting(T5Execution())
    normaliser: Normaliser = setting("trie", macro="NORMALISER")
    single_token_tags: bool = setting(False, macro="SINGLE_TOKEN_TAGS")
    token_level: bool = setting(False, macro="TOKEN_LEVEL")

    def __post_init__(self) -> None:
        if self.token_level and self.language_model.logit_chunks != 1:
            raise UserError(
                f"LOGIT_CHUNKS is {self.language_model.logit_chunks}, but token-level distillation "
                "compares all logits at once; leave it at 1"
            )

    def learner(self, lesson: Lesson) -> Learner:
        """See `kinds.base.Student`."""
        lesson.check_weights_are_given()
        training, teacher, loss = lesson.training, lesson.teacher, lesson.loss
        if not isinstance(loss, DistillationWeights):
            raise UserError(
                f"a T5 student's loss is that of DistillationWeights, not of {type(loss).__name__}"
            )
        if self.token_level:
            self._check_token_level(lesson)
        config, initial_params, vocabulary = self.start.begin(lesson.resources, training.seed)
        layout = TrainingLayout(config, self.execution)
        sent_format = SenTFormat(
            vocabulary,
            lesson.labels,
            single_token_tags=self.single_token_tags,
            rows=config.vocab_size,
        )

        def objective_of(model: T5) -> Objective:
            if self.token_level:
                assert isinstance(teacher, T5StepTeacher), "checked"
                return teacher.token_by_token(model, sent_format, loss)
            student = SentDistillation(
                model,
                LabelTrie.compile(sent_format.tag_token_ids),
                tuple(sent_format.sentinel_ids.tolist()),
                loss,
                self.normaliser,
                self.language_model,
            )
            if teacher is None:
                return student
            return teacher.online(student, sent_format, start_id=config.decoder_start_id)

        remat = layout.config.remat != "none"
        return Learner(
            config,
            vocabulary,
            objective_of(T5(layout.config)),
            sent_batches(
                lesson.targets,
                sent_format,
                batch_size=training.batch_size,
                seed=training.seed,
                feature_lengths=dict(self.lengths),
                start_id=config.decoder_start_id,
                teacher=None if self.token_level else lesson.reader,
            ),
            SentPredictor(
                T5(layout.unstacked),
                sent_format,
                decoder=DecoderSettings(normaliser=self.normaliser),
                batch_size=training.eval_batch_size,
            ),
            layout.initial(initial_params),
            TaggerSettings(normaliser=self.normaliser, single_token_tags=self.single_token_tags),
            layout.evaluation,
            layout.final,
            objective_of(T5(layout.config.replace(remat="none"))) if remat else None,
            execution_of(layout.config, self.language_model),
        )

    def _check_token_level(self, lesson: Lesson) -> None:
        if lesson.teacher is None:
            raise UserError("token-level distillation needs the teacher itself; give TEACHER")
        if not isinstance(lesson.teacher, T5StepTeacher):
            raise UserError(
                "token-level distillation needs a teacher that writes tags as the student does, a T5; "
                "distil posteriors (distil_t5_online.gin), or give a T5 as TEACHER"
            )
        if not all(target.known for target in lesson.targets):
            raise UserError(
                "token-level distillation needs tags before the step; set SILVER_SPLIT=None, and give "
                "TEACHER_LABELS for the tags of silver sentences"
            )


@dataclasses.dataclass(frozen=True)
class T5StepTeacher:
    """See `kinds.base.StepTeacher`."""

    model: T5
    read: Any
    sent_format: SenTFormat
    normaliser: Normaliser

    @property
    def reader(self) -> SentReader:
        """See `StepTeacher.reader`."""
        return SentReader(self.sent_format)

    @property
    def teacher(self) -> OnlineTeacher:
        """See `StepTeacher.teacher`."""
        sentinels = tuple(self.sent_format.sentinel_ids.tolist())
        trie = LabelTrie.compile(self.sent_format.tag_token_ids, sentinel_ids=sentinels)
        return OnlineTeacher(self.model, trie, sentinels, self.normaliser)

    def params(self) -> Params:
        """See `StepTeacher.params`."""
        params: Params = self.read()
        return stack_layers(params) if self.model.config.scan_layers else params

    def online(
        self, student: Any, sent_format: SenTFormat | None = None, *, start_id: int = 0
    ) -> OnlineDistillation:
        """See `StepTeacher.online`."""
        return online_distillation(student, self.teacher, sent_format, start_id)

    def token_by_token(
        self, student: T5, sent_format: SenTFormat, distillation: DistillationWeights
    ) -> TokenDistillation:
        """A T5 student's objective towards this teacher's next-token distributions.

        Raises `UserError` if the two do not write tags by the same tokens.
        """
        own = self.sent_format
        if sent_format.vocabulary.content_hash() != own.vocabulary.content_hash():
            raise UserError(
                "token-level distillation needs one vocabulary for teacher and student, and theirs "
                "differ; start the student from the teacher's, or distil posteriors (distil_t5.gin)"
            )
        if sent_format.single_token_tags != own.single_token_tags:
            raise UserError(
                f"token-level distillation needs the same texts for tags: the teacher has "
                f"single_token_tags {own.single_token_tags}, the student "
                f"{sent_format.single_token_tags}"
            )
        rows, students_rows = self.model.config.vocab_size, student.config.vocab_size
        if own.single_token_tags and rows != students_rows:
            raise UserError(
                "token-level distillation with single_token_tags needs as many embedding rows in "
                f"both models, and the teacher has {rows}, the student {students_rows}; start the "
                "student from the teacher's layers"
            )
        return TokenDistillation(student, self.model, distillation)


class T5Kind(Kind):
    """T5, Flan-T5, mT5, umT5 and ByT5."""

    name = NAME
    model_types = T5_TYPES
    similar_types = NOT_T5
    config_type = T5Config
    format = "sent_prime"
    settings = (T5Teacher, T5Student, T5Start, NewVocabulary, T5Config, T5Execution)

    def describe(self, config: T5Config) -> str:
        """See `Kind.describe`."""
        layers = f"{config.num_encoder_layers} + {config.num_decoder_layers} layers"
        return f"T5 ({layers}, {config.d_model} wide)"

    def load_vocabulary(self, directory: Path) -> Vocabulary:
        """See `Kind.load_vocabulary`."""
        return load_vocabulary(directory)

    def check_fit(self, config: T5Config, vocabulary: Any, labels: LabelSet, where: str) -> None:
        """See `Kind.check_fit`."""
        check_subwords(vocabulary, config.vocab_size, "a T5", where)

    def sources(self, config: T5Config, params: Mapping[str, Any]) -> list[TensorSource]:
        """See `Kind.sources`."""
        return hf_sources(config, params)

    def write_files(self, directory: Path, model: Model, sources: list[TensorSource]) -> None:
        """See `Kind.write_files`."""
        # By the class of its tokenizer ByT5 is told from models with a vocabulary file.
        byte = isinstance(model.vocabulary, ByteVocabulary)
        tokenizer = "ByT5Tokenizer" if byte else "T5Tokenizer"
        write_hf_files(directory, model.config, sources, tokenizer_class=tokenizer)

    def open(self, directory: Path) -> Checkpoint:
        """See `Kind.open`."""
        checkpoint = HfCheckpoint(directory)
        return Checkpoint(
            checkpoint.config,
            checkpoint.read,
            checkpoint.embedding,
            lambda: load_vocabulary(directory),
        )

    def abstract_params(self, config: T5Config, place: Place) -> Any:
        """See `Kind.abstract_params`."""
        assert place.mesh is not None, "parameters are placed on a mesh"
        return abstract(T5(config).initial, place.mesh, place.rules)

    def predictor(self, model: Model, options: PredictorOptions) -> Predictor:
        """See `Kind.predictor`."""
        settings = model.settings or TaggerSettings()
        decoder = options.decoder
        if decoder is None:
            decoder = DecoderSettings(normaliser=settings.normaliser)
        if options.normaliser is not None:
            decoder = dataclasses.replace(decoder, normaliser=options.normaliser)
        return SentPredictor(
            T5(model.config),
            _format(model, settings),
            decoder=decoder,
            batch_size=options.batch_size,
            temperature=settings.temperature,
            place=options.place,
            limit_memory=options.place.mesh is None,  # the formula is of a model on one device
        )

    def step_teacher(self, model: Model, execution: Any, where: str) -> T5StepTeacher:
        """See `Kind.step_teacher`."""
        if model.vocabulary.pad_id != 0:
            raise UserError(
                f"{where}: padding has id {model.vocabulary.pad_id} in the teacher's vocabulary, and "
                "a teacher within the step needs 0; label the sentences with it beforehand"
            )
        settings = model.settings or TaggerSettings()
        config = (execution or T5Execution()).apply(model.config)
        return T5StepTeacher(
            T5(config), lambda: model.params, _format(model, settings), settings.normaliser
        )


def _format(model: Model, settings: TaggerSettings) -> SenTFormat:
    return SenTFormat(
        model.vocabulary,
        model.labels,
        single_token_tags=settings.single_token_tags,
        rows=model.config.vocab_size,
    )


register(T5Kind())
