"""What kinds that give each word its tag scores share: a Flax module, and its tensors by their paths."""

import abc
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from flax.core import meta

from distill_jax.data.teacher_readers import TeacherReader, WordReader
from distill_jax.errors import UserError
from distill_jax.files import read_json_object, write_json
from distill_jax.inference import Predictor
from distill_jax.inference.settings import TaggerSettings
from distill_jax.inference.words import WordPredictor
from distill_jax.interop.hf.checkpoint import CONFIG, WEIGHTS, flatten
from distill_jax.kinds.base import Checkpoint, Kind, Model, Params, PredictorOptions
from distill_jax.kinds.step_teacher import WordStepTeacher, executed
from distill_jax.models.json_config import JsonConfig
from distill_jax.safetensors_io import (
    TensorSource,
    check_entries,
    read_entries,
    read_tensor,
    write_safetensors,
)
from distill_jax.tagging import LabelSet
from distill_jax.vocab import WordVocabulary

NO_DECODER = (
    "decoder, beam, normaliser and epsilon are settings of SenTScore and its like, for a T5; this "
    "model is a word tagger, so leave them out"
)


class WordTaggerKind(Kind):
    """A kind whose model is a Flax module (`initial`, and `word_states` if it is to teach by them), and
    whose configuration is a `JsonConfig`.

    Tensors are named by their paths in the parameters, joined by `/`. The configuration has
    `num_tags`. Unless a kind says otherwise its model reads words and their characters, as a BiLSTM
    does.
    """

    config_type: ClassVar[type[JsonConfig]]
    embedding_path: ClassVar[tuple[str, ...]]
    """Where the token embedding is among the parameters."""
    may_be_half: ClassVar[tuple[str, ...]] = ()
    """The tensors that stay float16 if they are, in memory as in files."""

    @property
    def model_types(self) -> tuple[str, ...]:  # type: ignore[override]
        """That of the configuration."""
        return (self.config_type.model_type,)

    @abc.abstractmethod
    def module(self, config: Any) -> Any:
        """The Flax module of a configuration."""

    def describe(self, config: Any) -> str:
        """See `Kind.describe`."""
        return self.name

    def load_vocabulary(self, directory: Path) -> Any:
        """See `Kind.load_vocabulary`."""
        return WordVocabulary.load(directory)

    def check_vocabulary(self, config: Any, vocabulary: Any, where: str) -> None:
        """Raises `UserError` if a vocabulary does not fit the model."""
        remedy = "use the vocabulary the model was trained with"
        if not isinstance(vocabulary, WordVocabulary):
            raise UserError(f"{where}: a {type(self).name} needs a vocabulary of words; {remedy}")
        for things, size, rows in (
            ("words", vocabulary.num_words, config.num_words),
            ("characters", vocabulary.num_chars, config.num_chars),
        ):
            if size > rows:
                raise UserError(
                    f"{where}: the vocabulary has {size} {things}, the model only {rows} "
                    f"embedding rows for them; {remedy}"
                )
        frozen = getattr(config, "num_frozen_words", 0)
        if vocabulary.num_frozen_words != frozen:
            raise UserError(
                f"{where}: the vocabulary has {vocabulary.num_frozen_words} frozen words, the model's "
                f"frozen table {frozen}; {remedy}"
            )
        if frozen and vocabulary.num_words != config.num_words:
            raise UserError(
                f"{where}: the ids of frozen words begin at {vocabulary.num_words} in the vocabulary and at "
                f"{config.num_words} in the model; {remedy}"
            )

    def predictor(self, model: Model, options: PredictorOptions) -> Predictor:
        """See `Kind.predictor`."""
        refuse_decoder(options)
        settings = model.settings or TaggerSettings(format=self.format)
        return WordPredictor(
            self.module(model.config),
            model.vocabulary,
            model.labels,
            batch_size=options.batch_size,
            max_chars=settings.max_chars,
        )

    def step_reader(self, model: Model) -> TeacherReader:
        """How the model reads as a teacher within the step: as its predictor does."""
        settings = model.settings or TaggerSettings(format=self.format)
        return WordReader(model.vocabulary, settings.max_chars)

    def step_teacher(self, model: Model, execution: Any, where: str) -> WordStepTeacher:
        """See `Kind.step_teacher`."""
        config = executed(self, model.config, execution, where)
        return WordStepTeacher(self.module(config), self.step_reader(model), lambda: model.params)

    def check_fit(self, config: Any, vocabulary: Any, labels: LabelSet, where: str) -> None:
        """See `Kind.check_fit`."""
        self.check_vocabulary(config, vocabulary, where)
        if config.num_tags != labels.num_tags:
            raise UserError(
                f"{where}: the model predicts {config.num_tags} tags, the label set has "
                f"{labels.num_tags} with O and I; use the labels the model was trained with"
            )

    def sources(self, config: Any, params: Mapping[str, Any]) -> list[TensorSource]:
        """See `Kind.sources`."""
        flat = {"/".join(path): leaf for path, leaf in flatten(meta.unbox(params))}
        shapes = self._shapes(config)
        if different := sorted(set(flat) ^ set(shapes)):
            raise ValueError(
                f"parameters of the model and those given differ: {', '.join(different)}"
            )

        def source(name: str, shape: tuple[int, ...]) -> TensorSource:
            half = name in self.may_be_half and flat[name].dtype == np.float16
            dtype = np.float16 if half else np.float32
            load = functools.partial(np.asarray, flat[name], dtype)
            return TensorSource(name, shape, load, "F16" if half else "F32")

        return [source(name, shape) for name, shape in shapes.items()]

    def write_files(self, directory: Path, model: Model, sources: list[TensorSource]) -> None:
        """See `Kind.write_files`."""
        write_json(directory / CONFIG, model.config.to_dict())
        write_safetensors(directory / WEIGHTS, sources)

    def open(self, directory: Path) -> Checkpoint:
        """See `Kind.open`."""
        path = directory / CONFIG
        try:
            config = self.config_type.from_dict(
                read_json_object(path, absent="give a complete directory")
            )
        except UserError as error:
            message = str(error)
            raise UserError(
                message if message.startswith(str(path)) else f"{path}: {error}"
            ) from error
        entries = read_entries(directory / WEIGHTS)
        shapes = self._shapes(config)
        check_entries(entries, shapes, str(directory / WEIGHTS))

        def read() -> Params:
            params: Params = {}
            for name in shapes:
                *parents, last = name.split("/")
                level = params
                for parent in parents:
                    level = level.setdefault(parent, {})
                level[last] = read_tensor(entries[name], keep_half=name in self.may_be_half)
            return params

        return Checkpoint(
            config,
            read,
            lambda: read_tensor(entries["/".join(self.embedding_path)]),
            lambda: self.load_vocabulary(directory),
        )

    def _shapes(self, config: Any) -> dict[str, tuple[int, ...]]:
        boxed = jax.eval_shape(self.module(config).initial, jax.random.key(0))
        return {"/".join(path): leaf.shape for path, leaf in flatten(meta.unbox(boxed))}


def refuse_decoder(options: PredictorOptions) -> None:
    """Raises `UserError` if a decoder or a normaliser is asked of a word tagger."""
    if options.decoder is not None or options.normaliser is not None:
        raise UserError(NO_DECODER)
