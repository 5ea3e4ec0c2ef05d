"""A teacher that is part of the training step, from its model directory."""

import dataclasses
from typing import Any

import gin

from distill_jax.distill.objectives import DistillationWeights, Objective
from distill_jax.distill.online import (
    OnlineDistillation,
    OnlineTeacher,
    TargetWriter,
    TokenDistillation,
)
from distill_jax.errors import UserError
from distill_jax.jobs import t5_start  # noqa: F401  (makes T5Execution known to Gin)
from distill_jax.model_dir.directory import load_model
from distill_jax.models.stacking import stack_layers
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config, T5Execution
from distill_jax.sent.format import SenTFormat
from distill_jax.sentscore import LabelTrie, Normaliser
from distill_jax.tagging import LabelSet
from distill_jax.vocab import Vocabulary


@dataclasses.dataclass(frozen=True)
class LiveTeacher:
    """A teacher in memory; `params` are host arrays, to be placed on the mesh by `train.loop.fit`."""

    config: T5Config
    params: Any
    sent_format: SenTFormat
    single_token_tags: bool
    normaliser: Normaliser

    def online(
        self, student: Objective, sent_format: SenTFormat | None = None, *, start_id: int = 0
    ) -> OnlineDistillation:
        """A student's objective with this teacher; a T5 student's with its format and start token."""
        sentinels = tuple(self.sent_format.sentinel_ids.tolist())
        trie = LabelTrie.compile(self.sent_format.tag_token_ids, sentinel_ids=sentinels)
        writer = None
        if sent_format is not None:
            writer = TargetWriter(
                sent_format.tag_token_ids,
                tuple(sent_format.sentinel_ids.tolist()),
                sent_format.vocabulary.eos_id,
                start_id,
            )
        teacher = OnlineTeacher(T5(self.config), trie, sentinels, self.normaliser)
        return OnlineDistillation(student, teacher, writer)

    def token_by_token(
        self,
        student: T5,
        vocabulary: Vocabulary,
        distillation: DistillationWeights,
        *,
        single_token_tags: bool,
    ) -> TokenDistillation:
        """A T5 student's objective towards this teacher's next-token distributions.

        Raises `UserError` if the two do not write tags by the same tokens.
        """
        if vocabulary.content_hash() != self.sent_format.vocabulary.content_hash():
            raise UserError(
                "token-level distillation needs one vocabulary for teacher and student, and theirs "
                "differ; start the student from the teacher's, or distil posteriors (distil_t5.gin)"
            )
        if single_token_tags != self.single_token_tags:
            raise UserError(
                f"token-level distillation needs the same texts for tags: the teacher has "
                f"single_token_tags {self.single_token_tags}, the student {single_token_tags}"
            )
        if single_token_tags and student.config.vocab_size != self.config.vocab_size:
            raise UserError(
                f"token-level distillation with single_token_tags needs as many embedding rows in "
                f"both models, and the teacher has {self.config.vocab_size}, the student "
                f"{student.config.vocab_size}; start the student from the teacher's layers"
            )
        return TokenDistillation(student, T5(self.config), distillation)


def load_teacher(directory: str, labels: LabelSet, what: str) -> LiveTeacher:
    """Reads a teacher's model directory; how it is computed is what Gin binds in the scope `teacher`.

    With `teacher/T5Execution.scan_layers` its parameters are stacked. Without a binding of
    `teacher/T5Execution` it is computed as it was saved, however the student is.

    Raises `UserError` if it is no T5, its labels are not those of `what`, or padding is not 0.
    """
    model = load_model(directory)
    if not isinstance(model.config, T5Config) or not isinstance(model.vocabulary, Vocabulary):
        raise UserError(f"{directory}: a teacher within the step must be a T5")
    if model.labels.content_hash() != labels.content_hash():
        raise UserError(
            f"{directory}: the teacher has other labels than {what} ({len(model.labels.names)} and "
            f"{len(labels.names)}, or other names, texts or order); use a teacher of the same task"
        )
    if model.vocabulary.pad_id != 0:
        raise UserError(
            f"{directory}: padding has id {model.vocabulary.pad_id} in the teacher's vocabulary, and "
            "a teacher within the step needs 0; label the sentences with it beforehand"
        )
    sent_format = SenTFormat(
        model.vocabulary,
        model.labels,
        single_token_tags=model.settings.single_token_tags,
        rows=model.config.vocab_size,
    )
    config = _execution().apply(model.config)
    return LiveTeacher(
        config,
        stack_layers(model.params) if config.scan_layers else model.params,
        sent_format,
        model.settings.single_token_tags,
        model.settings.normaliser,
    )


def _execution() -> T5Execution:
    """What Gin binds to `teacher/T5Execution`, as `distill-jax compile` reads it.

    With no binding in the scope there is nothing to change; with one, fields not bound there are
    those bound outside it.
    """
    with gin.config_scope("teacher"):
        if not gin.get_bindings("T5Execution", resolve_references=False, inherit_scopes=False):
            return T5Execution()
        # Called in its scope, so that the bindings are part of the operative configuration.
        execution: T5Execution = gin.get_configurable("T5Execution")()
        return execution
