"""Teachers within the step whose words have scores of their own: what kinds of word taggers share."""

import dataclasses
from collections.abc import Callable
from typing import Any

from distill_jax.data.teacher_readers import TeacherReader
from distill_jax.distill.online import OnlineDistillation, TargetWriter, Teacher
from distill_jax.distill.word_teacher import WordTeacher
from distill_jax.errors import UserError
from distill_jax.kinds.base import Kind, Params
from distill_jax.models.t5_config import T5Execution
from distill_jax.sent.format import SenTFormat


def online_distillation(
    student: Any, teacher: Teacher, sent_format: SenTFormat | None, start_id: int
) -> OnlineDistillation:
    """A student's objective with a teacher of any kind; a T5 student's with its format and start token."""
    writer = None
    if sent_format is not None:
        writer = TargetWriter(
            sent_format.tag_token_ids,
            tuple(sent_format.sentinel_ids.tolist()),
            sent_format.vocabulary.eos_id,
            start_id,
        )
    return OnlineDistillation(student, teacher, writer)


@dataclasses.dataclass(frozen=True)
class WordStepTeacher:
    """See `kinds.base.StepTeacher`: a Flax module that takes what `reader` makes of words."""

    model: Any
    reader: TeacherReader
    read: Callable[[], Params]

    @property
    def teacher(self) -> WordTeacher:
        """See `StepTeacher.teacher`."""
        return WordTeacher(self.model, tuple(self.reader.features))

    def params(self) -> Params:
        """See `StepTeacher.params`."""
        return self.read()

    def online(
        self, student: Any, sent_format: SenTFormat | None = None, *, start_id: int = 0
    ) -> OnlineDistillation:
        """See `StepTeacher.online`."""
        return online_distillation(student, self.teacher, sent_format, start_id)


def executed(kind: Kind, config: Any, execution: T5Execution | None, where: str) -> Any:
    """The configuration of a word tagger with those settings of a T5's execution that it has too.

    Raises `UserError` for one that it has not.
    """
    if execution is None:
        return config
    if execution.dtype is not None:
        config = kind.with_dtype(config, execution.dtype)
    for field in dataclasses.fields(execution):
        value = getattr(execution, field.name)
        if field.name == "dtype" or value == field.default:
            continue
        if not hasattr(config, field.name):
            raise UserError(
                f"{where}: teacher/T5Execution.{field.name} is {value!r}, a setting of a T5, and the "
                f"teacher is a {kind.name} tagger; leave it out"
            )
        config = config.replace(**{field.name: value})
    return config
