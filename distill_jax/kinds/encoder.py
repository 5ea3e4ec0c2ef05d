"""The encoder tagger: a T5's encoder, or some of its layers, with a linear layer to the tags."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from distill_jax.configuration import setting
from distill_jax.data.teacher_readers import SubwordReader, TeacherReader
from distill_jax.errors import UserError
from distill_jax.inference import Predictor
from distill_jax.inference.encoder import EncoderPredictor
from distill_jax.kinds.base import Learner, Lesson, Model, ParameterGroup, PredictorOptions
from distill_jax.kinds.registry import register
from distill_jax.kinds.subwords import (
    check_no_layers,
    check_padding,
    check_subwords,
    limits_of,
    rows_for,
    subword_learner,
)
from distill_jax.kinds.word_tagger import WordTaggerKind, refuse_decoder
from distill_jax.models.encoder_tagger import EncoderTagger, EncoderTaggerConfig
from distill_jax.models.layer_choice import (
    check_layers,
    encoder_tagger_config,
    encoder_tagger_from_layers,
    encoder_tagger_from_tagger,
)
from distill_jax.models.t5_config import T5Config
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.vocab import Vocabulary, load_vocabulary

NAME = "encoder"


@dataclasses.dataclass(frozen=True)
class EncoderStudent:
    """An encoder tagger, from a T5's encoder or from random weights.

    Attributes:
        initial_checkpoint_path: the directory of a T5 (a teacher's, say) or of an encoder tagger of
            any task, whose embedding, encoder and vocabulary the student starts from; None: random weights.
        layers: the layers it takes from there, counted from 0; None: all.
        model: without a checkpoint, without the sizes that the data decide; with one, its `dtype`
            alone counts.
        vocabulary: the student's subwords (a file, a directory or `byte`); None: the checkpoint's.
        max_input_tokens: longer sentences are split into windows, in training as in prediction.
    """

    kind: ClassVar[str] = NAME
    initial_checkpoint_path: str | None = setting(None, macro="INITIAL_CHECKPOINT_PATH")
    layers: Sequence[int] | None = setting(None, macro="ENCODER_LAYERS")
    model: EncoderTaggerConfig | None = setting(None)
    vocabulary: str | None = setting(None, macro="VOCABULARY")
    max_input_tokens: int = setting(512)

    def learner(self, lesson: Lesson) -> Learner:
        """See `kinds.base.Student`."""
        config, initial_params, vocabulary = self._start(lesson)
        return subword_learner(
            EncoderTagger(config), vocabulary, lesson, self.max_input_tokens, initial_params
        )

    def _start(
        self, lesson: Lesson
    ) -> tuple[EncoderTaggerConfig, Callable[[], Any] | None, Vocabulary]:
        num_tags, seed = lesson.labels.num_tags, lesson.training.seed
        if self.initial_checkpoint_path is not None:
            checkpoint = lesson.resources.checkpoint(self.initial_checkpoint_path)
            source = checkpoint.config
            if not isinstance(source, (T5Config, EncoderTaggerConfig)):
                raise UserError(
                    f"{self.initial_checkpoint_path}: an encoder tagger starts from a T5 or an encoder "
                    "tagger, and this is none; give the directory of one"
                )
            available = (
                source.num_encoder_layers if isinstance(source, T5Config) else source.num_layers
            )
            layers = range(available) if self.layers is None else self.layers
            check_layers(layers, available, "encoder")
            config: EncoderTaggerConfig
            if isinstance(source, T5Config):
                config = encoder_tagger_config(source, len(layers), num_tags)
            else:
                config = source.replace(num_layers=len(layers), num_tags=num_tags)
            if self.model is not None:
                config = config.replace(dtype=self.model.dtype)

            def from_layers() -> Any:
                ids = jnp.zeros((1, 1), jnp.int32)
                own = jax.jit(EncoderTagger(config).init)(jax.random.key(seed), ids, ids)
                params = jax.tree.map(np.asarray, nn.unbox(own["params"]))
                theirs = checkpoint.read()
                if isinstance(source, T5Config):
                    return encoder_tagger_from_layers(
                        params, theirs, source, config, encoder_layers=layers
                    )
                return encoder_tagger_from_tagger(params, theirs, source, encoder_layers=layers)

            own_vocabulary = lesson.resources.vocabulary(self.vocabulary, config.vocab_size)
            return config, from_layers, own_vocabulary or checkpoint.vocabulary()
        check_no_layers(self.layers)
        rows = 0 if self.model is None else self.model.vocab_size
        vocabulary = lesson.resources.vocabulary(self.vocabulary, rows)
        if self.model is None or vocabulary is None:
            raise UserError(
                "an encoder tagger needs INITIAL_CHECKPOINT_PATH, or VOCABULARY (a SentencePiece "
                "file, a tokenizer directory or 'byte') to start from random weights"
            )
        config = self.model.replace(vocab_size=rows or rows_for(vocabulary), num_tags=num_tags)
        return config, None, vocabulary


class EncoderKind(WordTaggerKind):
    """Encoders of T5's architecture over subwords, each word read at its first."""

    name = NAME
    config_type = EncoderTaggerConfig
    settings = (EncoderStudent, EncoderTaggerConfig)
    embedding_path = ("token_embedder", "embedding")

    def describe(self, config: EncoderTaggerConfig) -> str:
        """See `Kind.describe`."""
        return f"encoder tagger ({config.num_layers} layers, {config.d_model} wide)"

    def groups(self, config: EncoderTaggerConfig) -> tuple[ParameterGroup, ...]:
        """See `Kind.groups`; the last norm is with the last layer, whose state it makes, and biases of
        positions that all layers share are with the `embeddings`."""
        last, *others = range(config.num_layers - 1, -1, -1)
        shared = () if config.relative_bias_per_layer else ("encoder/relpos_bias",)
        return (
            ParameterGroup("output", ("output",)),
            ParameterGroup(f"layer_{last + 1}", (f"encoder/layers_{last}", "encoder/encoder_norm")),
            *(ParameterGroup(f"layer_{n + 1}", (f"encoder/layers_{n}",)) for n in others),
            ParameterGroup("embeddings", ("token_embedder", *shared)),
        )

    def module(self, config: EncoderTaggerConfig) -> EncoderTagger:
        """See `WordTaggerKind.module`."""
        return EncoderTagger(config)

    def load_vocabulary(self, directory: Path) -> Vocabulary:
        """See `Kind.load_vocabulary`."""
        return load_vocabulary(directory)

    def check_vocabulary(self, config: EncoderTaggerConfig, vocabulary: Any, where: str) -> None:
        """See `WordTaggerKind.check_vocabulary`."""
        check_subwords(vocabulary, config.vocab_size, "an encoder tagger", where)
        check_padding(vocabulary, config.pad_id, "an encoder tagger", where)

    def predictor(self, model: Model, options: PredictorOptions) -> Predictor:
        """See `Kind.predictor`."""
        refuse_decoder(options)
        return EncoderPredictor(
            EncoderTagger(model.config),
            model.vocabulary,
            model.labels,
            batch_size=options.batch_size,
            limits=limits_of(model),
        )

    def step_reader(self, model: Model) -> TeacherReader:
        """See `WordTaggerKind.step_reader`."""
        return SubwordReader(SubwordFormat(model.vocabulary), limits_of(model).tokens)


register(EncoderKind())
