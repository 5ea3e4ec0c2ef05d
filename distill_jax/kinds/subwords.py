"""What kinds over subwords share."""

from collections.abc import Callable
from typing import Any

from distill_jax.data.distillation import encoder_batches
from distill_jax.distill.tags import TaggerDistillation
from distill_jax.errors import UserError
from distill_jax.inference.base import InputLimits
from distill_jax.inference.encoder import EncoderPredictor
from distill_jax.inference.settings import TaggerSettings
from distill_jax.integers import round_up
from distill_jax.kinds.base import Learner, Lesson, Model
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.train.feed import Batches
from distill_jax.vocab import Vocabulary

ROW_MULTIPLE = 128
"""Rows of an embedding are padded to a multiple of this, as T5's 32,100 are to 32,128: it keeps the
vocabulary's axis divisible over a mesh."""


def rows_for(vocabulary: Vocabulary) -> int:
    """Embedding rows for a vocabulary."""
    return round_up(vocabulary.size, ROW_MULTIPLE)


def subword_learner(
    module: Any,
    vocabulary: Vocabulary,
    lesson: Lesson,
    max_input_tokens: int,
    initial_params: Callable[[], Any] | None,
) -> Learner:
    """A student that reads each word at its first subword.

    Args:
        module: the Flax module, of tokens and the place of each word's first.
        vocabulary: of the tokens.
        lesson: what it learns from.
        max_input_tokens: longer sentences are split into windows, in training as in prediction.
        initial_params: see `Learner`.
    """
    lesson.check_weights_are_given()
    student = TaggerDistillation(module, lesson.loss, ("tokens", "first"))

    def batches(lesson: Lesson) -> Batches:
        return encoder_batches(
            lesson.targets,
            SubwordFormat(vocabulary),
            lesson.labels.num_tags,
            batch_size=lesson.training.batch_size,
            seed=lesson.training.seed,
            max_input_tokens=max_input_tokens,
            teacher=lesson.reader,
        )

    return Learner(
        module.config,
        vocabulary,
        student if lesson.teacher is None else lesson.teacher.online(student),
        batches(lesson),
        EncoderPredictor(
            module,
            vocabulary,
            lesson.labels,
            batch_size=lesson.training.eval_batch_size,
            limits=InputLimits(max_input_tokens),
        ),
        initial_params,
        TaggerSettings(format="word_tags", max_input_tokens=max_input_tokens),
        batches_of=batches,
    )


def limits_of(model: Model) -> InputLimits:
    """How much of a sentence a tagger by first subwords reads at a time: as much as in training."""
    settings = model.settings or TaggerSettings()
    positions = getattr(model.config, "max_tokens", None)
    return InputLimits(settings.max_input_tokens).within(positions)


def check_no_layers(layers: Any) -> None:
    """Raises `UserError` if layers are chosen where there is no checkpoint."""
    if layers is not None:
        raise UserError(
            "layers are chosen (ENCODER_LAYERS) but there is no checkpoint to take them from; "
            "give INITIAL_CHECKPOINT_PATH, or leave them out"
        )


def check_subwords(vocabulary: Any, rows: int, what: str, where: str) -> None:
    """Raises `UserError` if a vocabulary is not of subwords, or has more ids than the model rows."""
    remedy = "use the vocabulary the model was trained with"
    if not isinstance(vocabulary, Vocabulary):
        raise UserError(f"{where}: {what} cannot use a vocabulary of words; {remedy}")
    if vocabulary.size > rows:
        raise UserError(
            f"{where}: the vocabulary has {vocabulary.size} ids, the model only "
            f"{rows} embedding rows (vocab_size); {remedy}"
        )


def check_padding(vocabulary: Vocabulary, pad_id: int, what: str, where: str) -> None:
    """Raises `UserError` if a vocabulary pads with another id than the one that a model leaves out."""
    if vocabulary.pad_id != pad_id:
        raise UserError(
            f"{where}: padding has id {vocabulary.pad_id} in the vocabulary, and {what} needs "
            f"{pad_id}; use the vocabulary the model was trained with"
        )
