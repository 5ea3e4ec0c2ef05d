"""The BiLSTM student: words and characters in, tags out."""

import dataclasses
from typing import Any, ClassVar

import jax
from flax import linen as nn

from distill_jax.configuration import setting
from distill_jax.data.distillation import word_batches
from distill_jax.distill.tags import TaggerDistillation
from distill_jax.errors import UserError
from distill_jax.inference.words import WordPredictor
from distill_jax.kinds.base import Learner, Lesson
from distill_jax.kinds.registry import register
from distill_jax.kinds.word_tagger import WordTaggerKind
from distill_jax.kinds.word_vectors import WordVectors
from distill_jax.models.bilstm import (
    BiLSTMConfig,
    BiLSTMTagger,
    with_word_embeddings,
)
from distill_jax.vocab import WordVocabulary

NAME = "bilstm"


@dataclasses.dataclass(frozen=True)
class BiLSTMStudent:
    """A BiLSTM, by default that of Farina et al. 2023, with a vocabulary of the words it is trained on.

    Attributes:
        model: without the sizes that the data decide (words, characters, tags).
        vectors: where its word embeddings start.
        min_word_count: rarer words share the unknown word's vector.
    """

    kind: ClassVar[str] = NAME
    model: BiLSTMConfig = setting(BiLSTMConfig())
    vectors: WordVectors = setting(WordVectors())
    min_word_count: int = setting(1, macro="MIN_WORD_COUNT")

    def learner(self, lesson: Lesson) -> Learner:
        """See `kinds.base.Student`."""
        vocabulary = self.vocabulary(lesson)
        labels, training = lesson.labels, lesson.training
        config = self.model.replace(
            num_words=vocabulary.num_words,
            num_chars=vocabulary.num_chars,
            num_tags=labels.num_tags,
        )
        module = BiLSTMTagger(config)
        student = TaggerDistillation(module, lesson.loss)
        start = self.vectors.start(vocabulary, config.word_dim, lesson.resources, training.seed)

        def initial_params() -> Any:
            assert start is not None
            return with_word_embeddings(
                nn.unbox(module.initial(jax.random.key(training.seed))), start()
            )

        return Learner(
            config,
            vocabulary,
            student if lesson.teacher is None else lesson.teacher.online(student),
            word_batches(
                lesson.targets,
                vocabulary,
                labels.num_tags,
                batch_size=training.batch_size,
                seed=training.seed,
                teacher=lesson.reader,
            ),
            WordPredictor(module, vocabulary, labels, batch_size=training.eval_batch_size),
            None if start is None else initial_params,
        )

    def vocabulary(self, lesson: Lesson) -> WordVocabulary:
        """The words and characters of the sentences that it learns from."""
        return WordVocabulary.build(
            (target.words for target in lesson.targets), min_count=self.min_word_count
        )


class BiLSTMKind(WordTaggerKind):
    """BiLSTMs over words and characters."""

    name = NAME
    config_type = BiLSTMConfig
    settings = (BiLSTMStudent, BiLSTMConfig, WordVectors)
    embedding_path = ("word_embedding", "embedding")

    def describe(self, config: BiLSTMConfig) -> str:
        """See `Kind.describe`."""
        return f"BiLSTM ({config.num_layers} x {config.hidden} units each way, with characters)"

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
