"""The BiLSTM student: words and characters in, tags out."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import grain
import jax
import numpy as np
from flax import linen as nn

from distill_jax.configuration import setting
from distill_jax.data.distillation import word_batches
from distill_jax.distill.reweighting import Reweighted
from distill_jax.distill.tags import TaggerDistillation, TagLoss
from distill_jax.errors import UserError
from distill_jax.inference.words import WordPredictor
from distill_jax.kinds.base import Learner, Lesson, ParameterGroup, Resources
from distill_jax.kinds.bilstm_start import SourceBiLSTM
from distill_jax.kinds.registry import register
from distill_jax.kinds.word_tagger import WordTaggerKind
from distill_jax.kinds.word_vectors import FrozenWords, WordVectors
from distill_jax.models.bilstm import (
    FROZEN_EMBEDDING,
    BiLSTMConfig,
    BiLSTMTagger,
    with_word_embeddings,
)
from distill_jax.tagging import Sentence
from distill_jax.train.feed import Batches
from distill_jax.train.selection import Evaluate
from distill_jax.vocab import WordTable, WordVocabulary, coverage

NAME = "bilstm"


@dataclasses.dataclass(frozen=True)
class BiLSTMStudent:
    """A BiLSTM, by default that of Farina et al. 2023, with a vocabulary of the words it is trained on.

    Attributes:
        model: without the sizes that the data decide (words, characters, tags).
        vectors: where its word embeddings start.
        min_word_count: rarer words that no gold sentence has are not trained: their vectors are those of the
            frozen words, and else that of the unknown one.
        initial_checkpoint_path: a BiLSTM's model directory, of any task, that it starts from: all but its
            tag head, with its words and characters beside those of training; of `model` dropout, word
            dropout and dtype alone count. None: random weights.
    """

    kind: ClassVar[str] = NAME
    model: BiLSTMConfig = setting(BiLSTMConfig())
    vectors: WordVectors = setting(WordVectors())
    min_word_count: int = setting(1, macro="MIN_WORD_COUNT")
    initial_checkpoint_path: str | None = setting(None, macro="INITIAL_CHECKPOINT_PATH")

    def __post_init__(self) -> None:
        vectors = self.vectors
        if self.initial_checkpoint_path and (vectors.teacher or vectors.text):
            name = "TEACHER_EMBEDDING" if vectors.teacher else "EMBEDDING_TEXT"
            raise UserError(
                f"{name} is for a start from random weights, and INITIAL_CHECKPOINT_PATH has word vectors "
                "already; leave one of them out"
            )

    def learner(self, lesson: Lesson) -> Learner:
        """See `kinds.base.Student`."""
        own, model = self.vocabulary(lesson), self.model
        source = self._source(lesson.resources)
        if source is not None:
            own, model = source.extended(own), source.sized(model)
        labels, training = lesson.labels, lesson.training
        table = self.vectors.table([own], model.word_dim, lesson.resources)
        frozen = self.vectors.frozen(table)
        if source is not None and table is None:
            frozen = source.frozen
        vocabulary = own.with_frozen(frozen.rows)
        has_frozen = table is not None or (
            source is not None and source.config.num_frozen_words > 0
        )
        given = self.given(frozen) if has_frozen else None
        trained = model.replace(
            num_words=own.num_words, num_chars=own.num_chars, num_tags=labels.num_tags
        )
        config = trained.replace(num_frozen_words=vocabulary.num_frozen_words)
        module = BiLSTMTagger(trained)
        student = objective_of(module, lesson.loss, lesson, given)
        start = self.vectors.start(own, config.word_dim, lesson.resources, training.seed, table)

        def initial_params() -> Any:
            params = nn.unbox(module.initial(jax.random.key(training.seed)))
            if start is not None:
                params = with_word_embeddings(params, start())
            return params if source is None else source.started(params, own)

        def evaluation(evaluate: Evaluate) -> Evaluate:
            placed = frozen.on_device()
            return lambda params: evaluate(placed.added(params))

        def batches(lesson: Lesson) -> Batches:
            return batches_of(lesson, vocabulary, given)

        return Learner(
            config,
            vocabulary,
            student if lesson.teacher is None else lesson.teacher.online(student),
            batches(lesson),
            WordPredictor(
                BiLSTMTagger(config), vocabulary, labels, batch_size=training.eval_batch_size
            ),
            None if start is None and source is None else initial_params,
            evaluation=evaluation,
            final=frozen.added,
            inputs={} if table is None else {"word vectors": table.content_hash},
            coverage=None if table is None else functools.partial(said_coverage, table, vocabulary),
            batches_of=batches,
        )

    def _source(self, resources: Resources) -> SourceBiLSTM | None:
        path = self.initial_checkpoint_path
        return None if path is None else SourceBiLSTM.read(resources.checkpoint(path), path)

    def given(self, frozen: FrozenWords) -> np.ndarray | None:
        """The vectors that frozen words have in training; None where every word of training has a row."""
        return np.asarray(frozen.vectors) if self.min_word_count > 1 else None

    def vocabulary(self, lesson: Lesson) -> WordVocabulary:
        """The words and characters of the sentences that it learns from."""
        return WordVocabulary.build(
            (target.words for target in lesson.targets),
            min_count=self.min_word_count,
            kept=(target.words for target in lesson.targets if target.gold),
        )


def objective_of(
    module: BiLSTMTagger, loss: TagLoss, lesson: Lesson, given: np.ndarray | None
) -> TaggerDistillation | Reweighted:
    """What a BiLSTM minimises, without a teacher in the step, over `batches_of` the lesson."""
    inputs = ("word_ids", "char_ids", *(() if given is None else ("given_vectors",)))
    student = TaggerDistillation(module, loss, inputs)
    return Reweighted(student) if lesson.trusted else student


def batches_of(
    lesson: Lesson, vocabulary: WordVocabulary, given: np.ndarray | None
) -> grain.MapDataset[dict[str, np.ndarray]]:
    """A lesson's batches; `given` are the vectors of the vocabulary's frozen words (`BiLSTMStudent.given`).

    None: these words are trained as unknown.
    """
    return word_batches(
        lesson.targets,
        vocabulary.with_frozen({}) if given is None else vocabulary,
        lesson.labels.num_tags,
        batch_size=lesson.training.batch_size,
        seed=lesson.training.seed,
        teacher=lesson.reader,
        trusted=lesson.trusted,
        frozen_vectors=given,
    )


def said_coverage(table: WordTable, vocabulary: WordVocabulary, dev: Sequence[Sentence]) -> str:
    """How many words the model knows."""
    return str(coverage(table, vocabulary, (sentence.words for sentence in dev)))


class BiLSTMKind(WordTaggerKind):
    """BiLSTMs over words and characters."""

    name = NAME
    config_type = BiLSTMConfig
    settings = (BiLSTMStudent, BiLSTMConfig, WordVectors)
    embedding_path = ("word_embedding", "embedding")
    may_be_half = (f"{FROZEN_EMBEDDING}/embedding",)

    def describe(self, config: BiLSTMConfig) -> str:
        """See `Kind.describe`."""
        return f"BiLSTM ({config.num_layers} x {config.hidden} units each way, with characters)"

    def frozen_parameters(self, config: BiLSTMConfig) -> int:
        """See `Kind.frozen_parameters`."""
        return config.num_frozen_words * config.word_dim

    def groups(self, config: BiLSTMConfig) -> tuple[ParameterGroup, ...]:
        """See `Kind.groups`; `embeddings` are words, characters and the characters' BiLSTM."""
        layers = range(config.num_layers - 1, -1, -1)
        return (
            ParameterGroup("output", ("output",)),
            *(ParameterGroup(f"layer_{n + 1}", (f"word_lstm_{n}",)) for n in layers),
            ParameterGroup("embeddings", ("word_embedding", "char_embedding", "char_lstm")),
        )

    def module(self, config: BiLSTMConfig) -> BiLSTMTagger:
        """See `WordTaggerKind.module`."""
        return BiLSTMTagger(config)

    def with_dtype(self, config: BiLSTMConfig, dtype: str) -> BiLSTMConfig:
        """See `Kind.with_dtype`."""
        raise UserError(
            "dtype is that of a transformer's activations; this model is a BiLSTM, which computes in "
            "float32, so leave it out"
        )


register(BiLSTMKind())
