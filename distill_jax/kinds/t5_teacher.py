"""A T5 that learns from text: SenT′ examples of labelled sentences, and span corruption of plain ones."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from distill_jax.configuration import setting
from distill_jax.data.augmentation import swap_mentions
from distill_jax.data.seq2seq import (
    Pair,
    Seq2SeqPart,
    fixed_part,
    packed_rows,
    span_corruption_part,
    tagging_part,
)
from distill_jax.distill.language_model import LanguageModel, LanguageModelLoss
from distill_jax.errors import UserError
from distill_jax.inference import SentPredictor
from distill_jax.inference.settings import TaggerSettings
from distill_jax.kinds.base import Learner, Resources
from distill_jax.kinds.t5_start import T5Start, TrainingLayout
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config, T5Execution
from distill_jax.sent.format import SenTFormat, check_vocabulary_fits
from distill_jax.sentscore import DecoderSettings, Normaliser
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.train.feed import RowBatches
from distill_jax.train.selection import Evaluate
from distill_jax.train.training import Training
from distill_jax.vocab import Vocabulary


@dataclasses.dataclass(frozen=True)
class T5Teacher:
    """A T5 to be trained on text.

    Attributes:
        start: where it starts.
        execution: how it is computed while it is trained.
        dropout_rate: in this training; the model that leaves it keeps that of its configuration.
        normaliser: of the model that leaves the run.
        single_token_tags: write each tag as one token of its own instead of its label's text
            (see `SenTFormat`), for a model that is to be small and fast; all tasks need the
            same labels.
    """

    start: T5Start = setting(T5Start())
    execution: T5Execution = setting(T5Execution())
    dropout_rate: float | None = setting(None, macro="DROPOUT")
    normaliser: Normaliser = setting("vocab", macro="NORMALISER")
    single_token_tags: bool = setting(False, macro="SINGLE_TOKEN_TAGS")

    def learner(self, lesson: "TextLesson") -> Learner:
        """The T5 at its start.

        Without labels there is no predictor: the loss on held-out rows selects.
        """
        training, lengths = lesson.training, dict(lesson.lengths)
        config, initial_params, vocabulary = self.start.begin(lesson.resources, training.seed)
        check_vocabulary_fits(vocabulary, config.vocab_size)
        # The model that leaves the run keeps its own: pre-training without dropout says nothing of tuning.
        dropout = config.dropout_rate if self.dropout_rate is None else self.dropout_rate
        layout = TrainingLayout(config.replace(dropout_rate=dropout), self.execution)
        if self.single_token_tags:
            _check_one_label_set(lesson)

        def format_of(tags: LabelSet) -> SenTFormat:
            return SenTFormat(
                vocabulary,
                tags,
                single_token_tags=self.single_token_tags,
                rows=config.vocab_size,
            )

        def part_of(text: TextPart) -> Seq2SeqPart:
            if text.examples is not None:
                return fixed_part(text.examples(text.sentences, vocabulary), text.rate)
            if text.labels is None:
                return span_corruption_part(text.sentences, vocabulary, lengths, rate=text.rate)
            return tagging_part(text.sentences, format_of(text.labels), lengths, rate=text.rate)

        rows = packed_rows(
            [
                part_of(text.with_mention_copies(lesson.mention_copies, training.seed))
                for text in lesson.parts
            ],
            lengths,
            seed=training.seed,
            start_id=config.decoder_start_id,
            packing=lesson.packing,
        )
        objective = LanguageModel(T5(layout.config), lesson.loss)
        predictor = None
        if lesson.labels is not None:
            predictor = SentPredictor(
                T5(layout.unstacked),
                format_of(lesson.labels),
                decoder=DecoderSettings(normaliser=self.normaliser),
                batch_size=training.eval_batch_size,
            )
        return Learner(
            config,
            vocabulary,
            objective,
            RowBatches(rows, training.batch_size),
            predictor,
            layout.initial(initial_params),
            TaggerSettings(normaliser=self.normaliser, single_token_tags=self.single_token_tags),
            layout.evaluation,
            layout.final,
            plain_objective(objective),
            execution_of(layout.config, lesson.loss),
            lambda: held_out_loss(
                objective, [part_of(text) for text in lesson.held_out], lesson, config
            ),
        )


def plain_objective(objective: LanguageModel) -> LanguageModel | None:
    """The same without rematerialisation; None where there is none."""
    config = objective.model.config
    if config.remat == "none":
        return None
    return dataclasses.replace(objective, model=T5(config.replace(remat="none")))


def execution_of(config: T5Config, loss: LanguageModelLoss) -> dict[str, Any]:
    """The options of memory and time that are on."""
    return {
        "remat": config.remat,
        "scan_layers": config.scan_layers,
        "logit_chunks": loss.logit_chunks,
    }


@dataclasses.dataclass(frozen=True)
class TextPart:
    """Sentences of one task, with tags of `labels` or plain (None), and the share of rows they get.

    `examples` makes of them what is learnt, where that is neither SenT′ nor span corruption.
    """

    sentences: Sequence[Sentence]
    labels: LabelSet | None
    rate: float = 1.0
    examples: Callable[[Sequence[Sentence], Vocabulary], Sequence[Pair]] | None = None

    def with_mention_copies(self, copies: int, seed: int) -> "TextPart":
        """With so many variants of each labelled sentence, mentions swapped."""
        if self.labels is None or copies == 0:
            return self
        return dataclasses.replace(self, sentences=swap_mentions(self.sentences, copies, seed=seed))


@dataclasses.dataclass(frozen=True)
class TextLesson:
    """What a T5 learns from.

    Attributes:
        parts: of the mixture.
        held_out: dev sentences whose loss selects the model where there are no labels.
        labels: of the model that leaves the run; None: it is no tagger.
        lengths: tokens of a packed row, `inputs` and `targets`.
        packing: whether a row holds several examples.
        mention_copies: variants of each labelled training sentence.
        loss: options of the language-model loss.
        training: batch size, seed and the like.
        resources: what its start is made of.
    """

    parts: Sequence[TextPart]
    held_out: Sequence[TextPart]
    labels: LabelSet | None
    lengths: Mapping[str, int]
    packing: bool
    mention_copies: int
    loss: LanguageModelLoss
    training: Training
    resources: Resources


def _check_one_label_set(lesson: TextLesson) -> None:
    """Tags of a single token mean what they mean for one label set only."""
    for part in lesson.parts:
        if part.labels is not None and part.labels != lesson.labels:
            raise UserError(
                "single_token_tags needs one label set, and the tasks of the mixture have several; "
                "train on one task, or on tasks with the same labels and EVAL_TASK"
            )


def held_out_loss(
    objective: LanguageModel, parts: Sequence[Seq2SeqPart], lesson: TextLesson, config: T5Config
) -> Evaluate:
    """The loss on held-out rows; span corruption is drawn once, the same for every evaluation."""
    size = lesson.training.batch_size
    rows = packed_rows(
        list(parts), lesson.lengths, seed=0, start_id=config.decoder_start_id, repeat=False
    )
    loss = jax.jit(lambda params, batch: objective.loss(params, None, batch, None))

    def score(params: Any) -> dict[str, float]:
        params = jax.device_put(params)
        totals: dict[str, np.ndarray] = {}
        for start in range(0, len(rows), size):
            chosen = [rows[i] for i in range(start, min(start + size, len(rows)))]
            empty = {name: np.zeros_like(array) for name, array in chosen[0].items()}
            chosen += [empty] * (size - len(chosen))
            batch = {name: np.stack([row[name] for row in chosen]) for name in empty}
            for name, pair in jax.device_get(loss(params, batch)).items():
                totals[name] = totals.get(name, np.zeros(2)) + np.array(pair, np.float64)
        means = {name: float(s / max(w, 1.0)) for name, (s, w) in totals.items()}
        return {"selection": -means["loss"], **means}

    return score
