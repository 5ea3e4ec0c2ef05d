"""BERT and its like: a tagger that is fine-tuned on gold, distilled into, or distilled from.

Its model directory is a Hugging Face token classifier (`interop.hf.bert`).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from flax import linen as nn

from distill_jax.configuration import setting
from distill_jax.data.teacher_readers import SubwordReader, TeacherReader
from distill_jax.errors import UserError
from distill_jax.files import write_json
from distill_jax.inference import Predictor
from distill_jax.inference.encoder import EncoderPredictor
from distill_jax.interop.hf.bert import BertCheckpoint, bert_sources, write_bert_files
from distill_jax.interop.hf.bert_config import BERT_TYPES, NOT_BERT
from distill_jax.kinds.base import (
    Checkpoint,
    Learner,
    Lesson,
    Model,
    ParameterGroup,
    PredictorOptions,
)
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
from distill_jax.models.bert import BertTagger
from distill_jax.models.bert_config import BertConfig
from distill_jax.models.layer_choice import bert_from_layers, check_layers
from distill_jax.models.reduction import truncated_svd
from distill_jax.safetensors_io import TensorSource
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.vocab import HuggingFaceVocabulary, Vocabulary, load_vocabulary

NAME = "bert"
Start = tuple[BertConfig, Callable[[], Any] | None, Vocabulary]
"""What a student is made of: its configuration, parameters (None: random ones), and vocabulary."""


@dataclasses.dataclass(frozen=True)
class BertStudent:
    """A tagger with BERT's encoder, from a checkpoint or from random weights.

    From gold sentences alone it is a teacher: `distill-jax label` takes its model directory.

    Attributes:
        initial_checkpoint_path: a Hugging Face directory of a BERT, MiniLM, ELECTRA, RoBERTa or
            XLM-R, or a model directory of this kind, whose encoder and vocabulary it starts from;
            None: random weights. A tag head there may be is not taken over.
        layers: the layers it takes from there, counted from 0; None: all.
        embedding: where there is no checkpoint, the directory of a model of subwords whose vocabulary
            it takes, and whose token embedding it starts from, reduced to its own width by SVD.
        model: without a checkpoint, without the sizes that the data decide; with one, its `dtype`
            and `attention_implementation` alone count.
        dropout: in place of that of checkpoint or `model`, of attention weights as well.
        vocabulary: the subwords where nothing else has them (a file or a directory).
        max_input_tokens: longer sentences are split into windows, in training as in prediction; at
            most as many as the model has positions.
    """

    kind: ClassVar[str] = NAME
    initial_checkpoint_path: str | None = setting(None, macro="INITIAL_CHECKPOINT_PATH")
    layers: Sequence[int] | None = setting(None, macro="ENCODER_LAYERS")
    embedding: str | None = setting(None, macro="TEACHER_EMBEDDING")
    model: BertConfig | None = setting(None)
    dropout: float | None = setting(None, macro="DROPOUT")
    vocabulary: str | None = setting(None, macro="VOCABULARY")
    max_input_tokens: int = setting(512)

    def learner(self, lesson: Lesson) -> Learner:
        """See `kinds.base.Student`."""
        config, initial_params, vocabulary = self._start(lesson)
        if self.dropout is not None:
            config = config.replace(dropout_rate=self.dropout, attention_dropout_rate=self.dropout)
        limit = min(self.max_input_tokens, config.max_tokens)
        return subword_learner(BertTagger(config), vocabulary, lesson, limit, initial_params)

    def _start(self, lesson: Lesson) -> Start:
        given = {
            "INITIAL_CHECKPOINT_PATH": self.initial_checkpoint_path,
            "TEACHER_EMBEDDING": self.embedding,
            "VOCABULARY": self.vocabulary,
        }
        if sum(path is not None for path in given.values()) > 1:
            raise UserError(
                f"a BERT takes its subwords from one of {', '.join(given)} only; leave the others out"
            )
        if self.initial_checkpoint_path is not None:
            return self._from_checkpoint(lesson, self.initial_checkpoint_path)
        check_no_layers(self.layers)
        if self.embedding is not None and self.model is not None:
            return self._from_embedding(lesson, self.model, self.embedding)
        rows = 0 if self.model is None else self.model.vocab_size
        vocabulary = lesson.resources.vocabulary(self.vocabulary, rows)
        if self.model is None or vocabulary is None:
            raise UserError(
                "a BERT needs INITIAL_CHECKPOINT_PATH (a Hugging Face directory), or VOCABULARY (a "
                "tokenizer's directory) to start from random weights"
            )
        config = self.model.replace(
            vocab_size=rows or rows_for(vocabulary),
            num_tags=lesson.labels.num_tags,
            pad_id=vocabulary.pad_id,
        )
        return config, None, vocabulary

    def _from_embedding(self, lesson: Lesson, model: BertConfig, path: str) -> Start:
        checkpoint = lesson.resources.checkpoint(path)
        vocabulary = checkpoint.vocabulary()
        if not isinstance(vocabulary, Vocabulary):
            raise UserError(
                f"{path}: has a vocabulary of words; TEACHER_EMBEDDING of a BERT needs one of subwords"
            )
        config = model.replace(
            vocab_size=checkpoint.config.vocab_size,
            num_tags=lesson.labels.num_tags,
            pad_id=vocabulary.pad_id,
        )
        seed = lesson.training.seed

        def reduced() -> Any:
            params = _random(config, seed)
            embedding_VxD = checkpoint.embedding()
            width = config.embedding_width
            if width > min(embedding_VxD.shape):
                raise UserError(
                    f"{path}: its embedding is {embedding_VxD.shape[1]} wide, and cannot be reduced to "
                    f"{width}; give the student a smaller d_embedding or d_model"
                )
            coordinates, _ = truncated_svd(embedding_VxD, width)
            params["bert"]["embeddings"]["tokens"]["embedding"] = coordinates.astype(np.float32)
            return params

        return config, reduced, vocabulary

    def _from_checkpoint(self, lesson: Lesson, path: str) -> Start:
        checkpoint = lesson.resources.checkpoint(path)
        source = checkpoint.config
        if not isinstance(source, BertConfig):
            raise UserError(
                f"{path}: a BERT starts from a BERT, ELECTRA or RoBERTa, and this is none; give the "
                "directory of one"
            )
        layers = range(source.num_layers) if self.layers is None else self.layers
        check_layers(layers, source.num_layers, "encoder")
        vocabulary = checkpoint.vocabulary()
        config = source.padded_with(vocabulary.pad_id).replace(
            num_layers=len(layers), num_tags=lesson.labels.num_tags
        )
        if self.model is not None:
            config = config.replace(
                dtype=self.model.dtype,
                attention_implementation=self.model.attention_implementation,
            )
        seed = lesson.training.seed

        def from_layers() -> Any:
            return bert_from_layers(_random(config, seed), checkpoint.read(), layers)

        return config, from_layers, vocabulary


def _random(config: BertConfig, seed: int) -> Any:
    """Random parameters on the host."""
    params = jax.jit(BertTagger(config).initial)(jax.random.key(seed))
    return jax.tree.map(np.asarray, nn.unbox(params))


class BertKind(WordTaggerKind):
    """Encoders of BERT's architecture over subwords, each word read at its first."""

    name = NAME
    model_types = BERT_TYPES
    similar_types = NOT_BERT
    config_type = BertConfig
    settings = (BertStudent, BertConfig)
    embedding_path = ("bert", "embeddings", "tokens", "embedding")

    def describe(self, config: BertConfig) -> str:
        """See `Kind.describe`."""
        return f"{config.architecture} ({config.num_layers} layers, {config.d_model} wide)"

    def groups(self, config: BertConfig) -> tuple[ParameterGroup, ...]:
        """See `Kind.groups`."""
        layers = range(config.num_layers - 1, -1, -1)
        return (
            ParameterGroup("output", ("output",)),
            *(ParameterGroup(f"layer_{n + 1}", (f"bert/layers_{n}",)) for n in layers),
            ParameterGroup("embeddings", ("bert/embeddings",)),
        )

    def module(self, config: BertConfig) -> BertTagger:
        """See `WordTaggerKind.module`."""
        return BertTagger(config)

    def load_vocabulary(self, directory: Path) -> Vocabulary:
        """See `Kind.load_vocabulary`."""
        return load_vocabulary(directory)

    def check_vocabulary(self, config: BertConfig, vocabulary: Any, where: str) -> None:
        """See `WordTaggerKind.check_vocabulary`."""
        check_subwords(vocabulary, config.vocab_size, "a BERT", where)
        check_padding(vocabulary, config.pad_id, "the model", where)

    def sources(self, config: BertConfig, params: Mapping[str, Any]) -> list[TensorSource]:
        """See `Kind.sources`."""
        return bert_sources(config, params)

    def write_files(self, directory: Path, model: Model, sources: list[TensorSource]) -> None:
        """See `Kind.write_files`."""
        config, vocabulary = model.config, model.vocabulary
        write_bert_files(directory, config, sources, model.labels.tags)
        if isinstance(vocabulary, HuggingFaceVocabulary):
            fields = vocabulary.transformers_config(config.max_tokens)
            write_json(directory / "tokenizer_config.json", fields)

    def open(self, directory: Path) -> Checkpoint:
        """See `Kind.open`."""
        checkpoint = BertCheckpoint(directory)
        return Checkpoint(
            checkpoint.config,
            checkpoint.read,
            checkpoint.embedding,
            lambda: load_vocabulary(directory),
        )

    def predictor(self, model: Model, options: PredictorOptions) -> Predictor:
        """See `Kind.predictor`."""
        refuse_decoder(options)
        return EncoderPredictor(
            BertTagger(model.config),
            model.vocabulary,
            model.labels,
            batch_size=options.batch_size,
            limits=limits_of(model),
        )

    def step_reader(self, model: Model) -> TeacherReader:
        """See `WordTaggerKind.step_reader`."""
        return SubwordReader(SubwordFormat(model.vocabulary), limits_of(model).tokens)


register(BertKind())
