"""The public Python API: load a model directory and tag sentences.

tagger = Tagger.load("runs/demo/bilstm-kd/model")
[tagged] = tagger.predict(["play wow by jon theodore"])
tagged.tags, tagged.spans
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NoReturn

import jax
import numpy as np

from distill_jax.errors import UserError
from distill_jax.inference import Prediction
from distill_jax.inference.base import Progress
from distill_jax.inference.settings import TaggerSettings
from distill_jax.inference.tagged import (
    TaggedSentence,
    TaggedSpan,
    tagged,
    without_improbable_spans,
)
from distill_jax.kinds.base import Model, PredictorOptions
from distill_jax.kinds.registry import kind_of
from distill_jax.model_dir.directory import load_model, model_hash
from distill_jax.parallel.mesh import local_place
from distill_jax.sent.pieces import TruncatedWord
from distill_jax.sentscore import DecoderSettings, Normaliser
from distill_jax.tagging import LabelSet, Sentence
from distill_jax_runtime.inputs import Input, as_sentence, batch_by_batch, check_many, checked_size

__all__ = ["TaggedSentence", "TaggedSpan", "Tagger", "model_hash"]

Dtype = Literal["float32", "bfloat16"]


_first_load: int | None = None
"""The process in which this module first put a model on a device, which its children must not."""


def _check_process(loaded_in: int | None) -> None:
    """Refuses JAX in a child that `os.fork()` made of a process that has used it: it would hang.

    The child has none of the threads that run JAX's programs.
    """
    if loaded_in not in (None, os.getpid()):
        raise UserError(
            f"a Tagger was loaded in process {loaded_in} and this is a fork of it ({os.getpid()}), where "
            "JAX would hang; start processes by spawn (multiprocessing.get_context('spawn')), or fork "
            "before anything is loaded, and call Tagger.load in the child"
        )


class Tagger:
    """A trained tagger of any kind: a T5 under one of the decoders, or a student.

    Threads may share one and predict at once. Processes may not: one that was forked must load its own
    before its parent has loaded any, and a tagger is not pickled.
    """

    def __init__(
        self,
        model: Model,
        *,
        decoder: DecoderSettings | None = None,
        normaliser: Normaliser | None = None,
        batch_size: int = 32,
        dtype: Dtype | None = None,
        model_parallel: int = 1,
    ) -> None:
        """Use `load`."""
        global _first_load
        _check_process(_first_load)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(f"batch_size is {batch_size!r}; give a number from 1")
        kind = kind_of(model.config)
        if dtype is not None:
            model = dataclasses.replace(model, config=kind.with_dtype(model.config, dtype))
        self._dtype = getattr(model.config, "dtype", "float32")
        self.labels: LabelSet = model.labels
        self.settings = model.settings or TaggerSettings(format=kind.format)
        self.metadata = model.metadata
        self.frozen_parameters = kind.frozen_parameters(model.config)
        """Vectors of words that were not in training, which `parameters` does not count."""
        self.parameters = (
            sum(array.size for array in jax.tree.leaves(model.params)) - self.frozen_parameters
        )
        place = local_place(model_parallel)
        shardings = (
            None
            if place.mesh is None
            else jax.tree.map(lambda leaf: leaf.sharding, kind.abstract_params(model.config, place))
        )
        self._predictor = kind.predictor(
            dataclasses.replace(model, settings=self.settings),
            PredictorOptions(decoder, normaliser, batch_size, place),
        )
        self._params = jax.device_put(jax.tree.map(np.asarray, model.params), shardings)
        self._batch_size = batch_size
        self._process = _first_load = os.getpid()

    def __reduce__(self) -> NoReturn:
        raise UserError(
            "a Tagger is not pickled or copied, for it lies on a device; send the path of its model "
            "directory and call Tagger.load there"
        )

    @property
    def decoder(self) -> dict[str, Any]:
        """How tags are found, as reports and label stores record it; `dtype` where not float32."""
        record = dict(self._predictor.algorithm)
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
        self, sentences: Sequence[Input], progress: Progress | None = None
    ) -> list[TaggedSentence]:
        """Tags sentences: texts, or lists of words. Order is kept.

        A text becomes words by the model's rule (`settings.text_words`, `distill_jax_runtime.text`), and its
        spans say at which characters they are; several lines in one string are one document. Of what
        is too long for the model nothing is left out: it is read in overlapping `windows`, and only of a
        single word that is too long the beginning is read, which `truncated_words` names.

        Raises `UserError` for a word that is no string or empty, or for a text where the model takes
        words alone.
        """
        check_many(sentences, "predict takes a list of sentences")
        rule = self.settings.text_words
        read = [as_sentence(sentence, number, rule) for number, sentence in enumerate(sentences)]
        predictions = self.predict_ids([sentence.words for sentence in read], progress)
        return [
            tagged(sentence.words, prediction, self.labels, sentence.origin)._replace(
                truncated_words=tuple(
                    word.position for word in self.truncated_words(sentence.words)
                )
            )
            for sentence, prediction in zip(read, predictions, strict=True)
        ]

    def pipe(
        self, sentences: Iterable[Input], batch_size: int | None = None
    ) -> Iterator[TaggedSentence]:
        """As `predict`, for any number of sentences: they are read and tagged `batch_size` at a time.

        No more than those are held, each answer comes before the next batch is read, and order is kept. A
        large `batch_size` is faster where lengths differ, since sentences of a batch that are alike go
        through the model together; None: that of the tagger.

        Raises:
            TypeError: on the call: `sentences` is one string.
            UserError: on the call for a `batch_size` that is none; while iterating as `predict` does, with
                the sentence's number from 0, after the answers for all sentences before it.
        """
        check_many(sentences, "pipe takes many sentences")
        size = checked_size(batch_size, self._batch_size)
        return batch_by_batch(sentences, size, self.settings.text_words, self.predict)

    def predict_ids(
        self, sentences: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[Prediction]:
        """As `predict`, with tags as ids and without spans: what evaluation and labelling use."""
        return [self.calibrated(prediction) for prediction in self.decode(sentences, progress)]

    def decode(
        self, sentences: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[Prediction]:
        """As `predict_ids`, before the model's temperature and thresholds: see `calibrated`."""
        _check_process(self._process)
        return self._predictor.predict(self._params, sentences, progress)

    def calibrated(self, prediction: Prediction) -> Prediction:
        """The settings of the model applied: its temperature, and its thresholds for spans."""
        prediction = prediction._replace(temperature=self.settings.temperature)
        return without_improbable_spans(prediction, self.labels, self.settings.thresholds)

    def label(self, sentences: Sequence[Sentence]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Tag ids and scores u of each sentence: what `labels.store.write_store` keeps.

        The scores are raw, for a student is trained at a temperature of its own; tags that `pruned`
        did not look at share what they may add up to, and of a word tagger they are the logarithms
        of the marginals. Raises `UserError` if the decoder computes none.
        """
        predictions = self.predict_ids([sentence.words for sentence in sentences])
        return [(prediction.tag_ids, prediction.completed) for prediction in predictions]

    def needs_windows(self, words: Sequence[str]) -> bool:
        """Whether the sentence is too long to be tagged in one piece."""
        return self._predictor.needs_windows(words)

    def truncated_words(self, words: Sequence[str]) -> tuple[TruncatedWord, ...]:
        """The words of a sentence that are too long for the model, which reads their beginning alone."""
        return self._predictor.truncated_words(words)

    def warm_up(self, sentences: Sequence[Sequence[str]]) -> int:
        """Compiles what `predict` needs for these sentences, unless it is; returns how many programs.

        Sentences given to one call of `predict` are put into batches together, so give `warm_up`
        the same.
        """
        _check_process(self._process)
        return self._predictor.warm_up(self._params, sentences)

    def set_temperature(self, temperature: float) -> None:
        """Replaces the temperature of the model in memory (`evaluate --fit_temperature` stores one)."""
        self.settings = dataclasses.replace(self.settings, temperature=temperature)
