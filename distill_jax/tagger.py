"""The public Python API: load a model directory and tag sentences.

tagger = Tagger.load("runs/demo/bilstm-kd/model")
[found] = tagger.predict(["play wow by jon theodore"])
found.tags, found.spans
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh

from distill_jax.distill.objectives import LanguageModel
from distill_jax.errors import UserError
from distill_jax.files import read_json_object, sha256_file, sha256_json
from distill_jax.inference import (
    EncoderPredictor,
    Prediction,
    Predictor,
    SentPredictor,
    WordPredictor,
)
from distill_jax.inference.base import Progress
from distill_jax.inference.tagged import (
    TaggedSentence,
    TaggedSpan,
    tagged,
    without_improbable_spans,
)
from distill_jax.model_dir.directory import LoadedModel, ModelConfig, load_model
from distill_jax.model_dir.settings import METADATA, TAGGER
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.models.encoder_tagger import EncoderTagger, EncoderTaggerConfig
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.parallel.mesh import LOGICAL_AXIS_RULES, make_mesh, state_shardings
from distill_jax.sent.format import SenTFormat
from distill_jax.sentscore import DecoderSettings, Normaliser
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.vocab import Vocabulary, WordVocabulary

__all__ = ["TaggedSentence", "TaggedSpan", "Tagger", "model_hash"]

WORD_TAGGER = (
    "decoder, beam, normaliser and epsilon are settings of SenTScore and its like, for a T5; this "
    "model is a word tagger, so leave them out"
)
"""Why a word tagger takes no decoder."""

FLOAT32_ONLY = (
    "dtype is that of a transformer's activations; this model is a BiLSTM, which computes in float32, "
    "so leave it out"
)
"""Why a BiLSTM takes no dtype."""

Dtype = Literal["float32", "bfloat16"]


class Tagger:
    """A trained tagger of any kind: a T5 under one of the decoders, or a student."""

    def __init__(
        self,
        model: LoadedModel,
        *,
        decoder: DecoderSettings | None = None,
        normaliser: Normaliser | None = None,
        batch_size: int = 32,
        dtype: Dtype | None = None,
        model_parallel: int = 1,
    ) -> None:
        """Use `load`."""
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(f"batch_size is {batch_size!r}; give a number from 1")
        if dtype is not None:
            if isinstance(model.config, BiLSTMConfig):
                raise UserError(FLOAT32_ONLY)
            model = dataclasses.replace(model, config=model.config.replace(dtype=dtype))
        self._dtype = getattr(model.config, "dtype", "float32")
        self.labels: LabelSet = model.labels
        self.settings = model.settings
        self.metadata = model.metadata
        self.parameters = sum(array.size for array in jax.tree.leaves(model.params))
        mesh = _mesh(model, model_parallel)
        self._predictor = _predictor(model, decoder, normaliser, batch_size, mesh)
        self._params = jax.device_put(
            jax.tree.map(np.asarray, model.params),
            None if mesh is None else _shardings(model.config, mesh),
        )

    @property
    def decoder(self) -> dict[str, Any]:
        """How tags are found, as reports and label stores record it; `dtype` where not float32."""
        record: dict[str, Any] = {"algorithm": "viterbi"}
        if isinstance(self._predictor, SentPredictor):
            record = decoder_record(self._predictor.decoder)
        return record if self._dtype == "float32" else {**record, "dtype": self._dtype}

    @classmethod
    def load(
        cls,
        directory: str | os.PathLike[str],
        *,
        decoder: DecoderSettings | None = None,
        normaliser: Normaliser | None = None,
        batch_size: int = 32,
        dtype: Dtype | None = None,
        model_parallel: int = 1,
    ) -> "Tagger":
        """Loads a model directory.

        Args:
            directory: as a run, `distill-jax import` or `distill-jax demo` leaves it.
            decoder: how tags are found (None: SenTScore, greedily, as the model was saved). The
                model's thresholds apply with `sentscore` and `pruned` alone: the others compute
                nothing to compare with them.
            normaliser: `vocab` or `trie`: replaces that of `decoder`.
            batch_size: the most sentences that go through the model together.
            dtype: of activations, `float32` or `bfloat16` (None: as the model was saved);
                parameters, softmax and scores stay float32.
            model_parallel: the number of this process's devices that a T5 too large for one is split
                over (heads, feed-forward and vocabulary).

        Raises:
            UserError: `batch_size` is not a number from 1, the directory is not a model, or is
                damaged, or is a word tagger, which none of SenTScore's settings fits, or a BiLSTM,
                which has no `dtype`, or there are not so many devices, or the model to be split is no
                T5. (Predicting raises one too, before it compiles anything, where the device has too
                little memory.)
        """
        model = load_model(directory)
        return cls(
            model,
            decoder=decoder,
            normaliser=normaliser,
            batch_size=batch_size,
            dtype=dtype,
            model_parallel=model_parallel,
        )

    def predict(
        self, sentences: Sequence[str | Sequence[str]], progress: Progress | None = None
    ) -> list[TaggedSentence]:
        """Tags sentences: lists of words, or strings that are split at blanks. Order is kept.

        Raises `UserError` for a word that is no string or empty.
        """
        if isinstance(sentences, str):
            raise TypeError(
                "predict takes a list of sentences; a single one is predict([sentence])"
            )
        words = [
            tuple(sentence.split()) if isinstance(sentence, str) else tuple(sentence)
            for sentence in sentences
        ]
        for number, sentence in enumerate(words):
            for word in sentence:
                if not isinstance(word, str) or not word:
                    raise UserError(
                        f"sentence {number} has the word {word!r}; words are strings, and not empty"
                    )
        found = self.predict_ids(words, progress)
        return [tagged(*pair, self.labels) for pair in zip(words, found, strict=True)]

    def predict_ids(
        self, sentences: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[Prediction]:
        """As `predict`, with tags as ids and without spans: what evaluation and labelling use."""
        return [self.calibrated(found) for found in self.decode(sentences, progress)]

    def decode(
        self, sentences: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[Prediction]:
        """As `predict_ids`, before the model's temperature and thresholds: see `calibrated`."""
        return self._predictor.predict(self._params, sentences, progress)

    def calibrated(self, found: Prediction) -> Prediction:
        """The settings of the model applied: its temperature, and its thresholds for spans."""
        found = found._replace(temperature=self.settings.temperature)
        return without_improbable_spans(found, self.labels, self.settings.thresholds)

    def label(self, sentences: Sequence[Sentence]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Tag ids and scores u of each sentence: what `distill.store.write_store` keeps.

        The scores are raw, for a student is trained at a temperature of its own; tags that `pruned`
        did not look at share what they may add up to. Raises `UserError` if the decoder computes
        none.
        """
        found = self.predict_ids([sentence.words for sentence in sentences])
        return [(prediction.tag_ids, prediction.completed) for prediction in found]

    def needs_windows(self, words: Sequence[str]) -> bool:
        """Whether the sentence is too long to be tagged in one piece."""
        predictor = self._predictor
        if isinstance(predictor, SentPredictor | EncoderPredictor):
            return len(predictor.windows(words)) > 1
        return False

    def warm_up(self, sentences: Sequence[Sequence[str]]) -> int:
        """Compiles what `predict` needs for these sentences, unless it is; returns how many programs.

        Sentences given to one call of `predict` are put into batches together, so give `warm_up`
        the same.
        """
        return self._predictor.warm_up(self._params, sentences)

    def set_temperature(self, temperature: float) -> None:
        """Replaces the temperature of the model in memory (`evaluate --fit_temperature` stores one)."""
        self.settings = dataclasses.replace(self.settings, temperature=temperature)


def decoder_record(settings: DecoderSettings) -> dict[str, Any]:
    """The settings that matter to an algorithm, as JSON."""
    record: dict[str, Any] = {"algorithm": settings.name}
    if settings.name == "sentscore":
        record["beam"] = settings.beam
    if settings.has_posteriors:
        record["normaliser"] = settings.normaliser
    if settings.name == "pruned":
        record["epsilon"] = settings.epsilon
    return record


def _mesh(model: LoadedModel, model_parallel: int) -> Mesh | None:
    """The devices a model is split over; None: it lies on one."""
    if model_parallel == 1:
        return None
    devices = jax.local_devices()
    if not 1 <= model_parallel <= len(devices):
        raise UserError(
            f"the model is to be split over {model_parallel} devices and there are {len(devices)} here; "
            "choose a number from 1 to that"
        )
    if not isinstance(model.config, T5Config):
        raise UserError(
            "only a T5 can be split over devices, and this model is none; use one device"
        )
    return make_mesh(1, 1, model_parallel, devices[:model_parallel], 1)  # whatever Gin binds


def _shardings(config: ModelConfig, mesh: Mesh) -> Any:
    assert isinstance(config, T5Config)
    boxed = jax.eval_shape(LanguageModel(T5(config)).init, jax.random.key(0))
    return state_shardings(boxed, mesh, LOGICAL_AXIS_RULES)


def _predictor(
    model: LoadedModel,
    decoder: DecoderSettings | None,
    normaliser: Normaliser | None,
    batch_size: int,
    mesh: Mesh | None,
) -> Predictor:
    word_tagger = isinstance(model.config, BiLSTMConfig | EncoderTaggerConfig)
    if word_tagger and (decoder is not None or normaliser is not None):
        raise UserError(WORD_TAGGER)
    if isinstance(model.config, BiLSTMConfig):
        assert isinstance(model.vocabulary, WordVocabulary), "load_model sees to that"
        return WordPredictor(
            BiLSTMTagger(model.config),
            model.vocabulary,
            model.labels,
            batch_size=batch_size,
            max_chars=model.settings.max_chars,
        )
    assert isinstance(model.vocabulary, Vocabulary), "load_model sees to that"
    if isinstance(model.config, EncoderTaggerConfig):
        return EncoderPredictor(
            EncoderTagger(model.config), model.vocabulary, model.labels, batch_size=batch_size
        )
    if decoder is None:
        decoder = DecoderSettings(normaliser=model.settings.normaliser)
    if normaliser is not None:
        decoder = dataclasses.replace(decoder, normaliser=normaliser)
    return SentPredictor(
        T5(model.config),
        SenTFormat(
            model.vocabulary,
            model.labels,
            single_token_tags=model.settings.single_token_tags,
            rows=model.config.vocab_size,
        ),
        decoder=decoder,
        batch_size=batch_size,
        limit_memory=mesh is None,  # the formula is of a model on one device
        mesh=mesh,
        rules=LOGICAL_AXIS_RULES,
        temperature=model.settings.temperature,
    )


def model_hash(directory: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) over everything in a model directory that predictions depend on."""
    hashes = {
        path.name: sha256_file(path)
        for path in sorted(Path(directory).iterdir())
        if path.is_file() and path.name != "README.md"
    }
    if TAGGER in hashes:
        # A run that goes on after its end writes the same model with other seconds of training.
        fields = read_json_object(Path(directory) / TAGGER)
        hashes[TAGGER] = sha256_json({k: v for k, v in fields.items() if k not in METADATA})
    return sha256_json(hashes)
