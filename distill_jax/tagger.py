"""The public Python API: load a model directory and tag sentences.

tagger = Tagger.load("runs/demo/bilstm-kd/model")
[found] = tagger.predict(["play wow by jon theodore"])
found.tags, found.spans
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from distill_jax.errors import UserError
from distill_jax.files import sha256_file, sha256_json
from distill_jax.inference import Prediction, Predictor, SentPredictor, WordPredictor
from distill_jax.inference.base import Progress
from distill_jax.interop.model_dir import LoadedModel, load_model
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.models.t5 import T5
from distill_jax.sent.format import SenTFormat
from distill_jax.sentscore import Normaliser
from distill_jax.tagging import LabelSet, Sentence, spans_from_iob2
from distill_jax.vocab import Vocabulary
from distill_jax.word_vocab import WordVocabulary


class TaggedSpan(NamedTuple):
    """A span: words `start` to `end` (exclusive), its label, its text and how probable it is."""

    start: int
    end: int
    label: str
    text: str
    score: float
    """The posterior of each of its words' tags and of the span ending where it does, multiplied."""


class TaggedSentence(NamedTuple):
    """A sentence as the tagger read it."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    """IOB2."""
    spans: tuple[TaggedSpan, ...]
    labels: tuple[str, ...]
    """The sBIO tag set, in the order of the columns below."""
    posteriors: np.ndarray
    """float32[words, tags]: each word's distribution over tags, given the tags before it."""
    log_likelihoods: np.ndarray
    """float32[words, tags]: the raw scores u; -inf for tags that were illegal."""

    def to_json(self, *, posteriors: bool = False) -> dict[str, Any]:
        """The object that `distill-jax predict` writes; `null` stands for -inf."""
        result: dict[str, Any] = {
            "words": list(self.words),
            "tags": list(self.tags),
            "spans": [span._asdict() for span in self.spans],
        }
        if posteriors:
            result["labels"] = list(self.labels)
            result["posteriors"] = self.posteriors.tolist()
            result["log_likelihoods"] = [
                [value if np.isfinite(value) else None for value in row]
                for row in self.log_likelihoods.tolist()
            ]
        return result


class Tagger:
    """A trained tagger of any kind: a T5 under SenTScore, or a student."""

    def __init__(
        self, model: LoadedModel, *, normaliser: Normaliser | None = None, batch_size: int = 32
    ) -> None:
        """Use `load`."""
        self.labels: LabelSet = model.labels
        self.settings = model.settings
        self.metadata = model.metadata
        self.parameters = sum(array.size for array in jax.tree.leaves(model.params))
        self._predictor = _predictor(model, normaliser, batch_size)
        self._params = jax.device_put(jax.tree.map(np.asarray, model.params))

    @property
    def decoder(self) -> dict[str, Any]:
        """How tags are found, as reports and label stores record it."""
        if isinstance(self._predictor, SentPredictor):
            return {"algorithm": "sentscore", "beam": 1, "normaliser": self._predictor.normaliser}
        return {"algorithm": "viterbi"}

    @classmethod
    def load(
        cls,
        directory: str | os.PathLike[str],
        *,
        normaliser: Normaliser | None = None,
        batch_size: int = 32,
    ) -> "Tagger":
        """Loads a model directory.

        Args:
            directory: as a run, `distill-jax import` or `distill-jax demo` leaves it.
            normaliser: of SenTScore, `vocab` or `trie` (None: what the model was saved with).
            batch_size: the most sentences that go through the model together.

        Raises:
            UserError: the directory is not a model, or is damaged.
        """
        return cls(load_model(directory), normaliser=normaliser, batch_size=batch_size)

    def predict(
        self, sentences: Sequence[str | Sequence[str]], progress: Progress | None = None
    ) -> list[TaggedSentence]:
        """Tags sentences: lists of words, or strings that are split at blanks. Order is kept."""
        if isinstance(sentences, str):
            raise TypeError(
                "predict takes a list of sentences; a single one is predict([sentence])"
            )
        words = [
            tuple(sentence.split()) if isinstance(sentence, str) else tuple(sentence)
            for sentence in sentences
        ]
        found = self.predict_ids(words, progress)
        return [self._tagged(*pair) for pair in zip(words, found, strict=True)]

    def predict_ids(
        self, sentences: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[Prediction]:
        """As `predict`, with tags as ids and without spans: what evaluation and labelling use."""
        return [
            self._calibrated(found)
            for found in self._predictor.predict(self._params, sentences, progress)
        ]

    def label(self, sentences: Sequence[Sentence]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Tag ids and scores u of each sentence: what `distill.store.write_store` keeps."""
        found = self.predict_ids([sentence.words for sentence in sentences])
        return [(prediction.tag_ids, prediction.log_likelihoods) for prediction in found]

    def _calibrated(self, found: Prediction) -> Prediction:
        """The settings of the model applied: its temperature, and its thresholds for spans."""
        found = found._replace(temperature=self.settings.temperature)
        if not self.settings.thresholds:
            return found
        tag_ids, posteriors = found.tag_ids.copy(), found.posteriors
        for start, end, label in spans_from_iob2(self.labels.decode_iob2(found.tag_ids)):
            threshold = self.settings.thresholds.get(label)
            score = _span_score(posteriors, found.tag_ids, start, end)
            if threshold is not None and score < threshold:
                tag_ids[start:end] = 0  # O
        return found._replace(tag_ids=tag_ids)

    def _tagged(self, words: tuple[str, ...], found: Prediction) -> TaggedSentence:
        tags = tuple(self.labels.decode_iob2(found.tag_ids))
        posteriors = found.posteriors
        spans = tuple(
            TaggedSpan(
                span.start,
                span.end,
                span.label,
                " ".join(words[span.start : span.end]),
                _span_score(posteriors, found.tag_ids, span.start, span.end),
            )
            for span in spans_from_iob2(tags)
        )
        return TaggedSentence(
            words, tags, spans, self.labels.tags, posteriors, found.log_likelihoods
        )


def _span_score(posteriors: np.ndarray, tag_ids: np.ndarray, start: int, end: int) -> float:
    inside = 1  # the index of I in every sBIO tag set
    score = float(np.prod([posteriors[i, tag_ids[i]] for i in range(start, end)]))
    if end < len(tag_ids):
        score *= 1.0 - float(posteriors[end, inside])
    return score


def _predictor(model: LoadedModel, normaliser: Normaliser | None, batch_size: int) -> Predictor:
    if isinstance(model.config, BiLSTMConfig):
        if normaliser is not None:
            raise UserError("a normaliser is a setting of SenTScore; this model is a word tagger")
        assert isinstance(model.vocabulary, WordVocabulary), "load_model sees to that"
        return WordPredictor(
            BiLSTMTagger(model.config),
            model.vocabulary,
            model.labels,
            batch_size=batch_size,
            max_chars=model.settings.max_chars,
        )
    assert isinstance(model.vocabulary, Vocabulary), "load_model sees to that"
    return SentPredictor(
        T5(model.config),
        SenTFormat(model.vocabulary, model.labels),
        normaliser=normaliser or model.settings.normaliser,
        batch_size=batch_size,
    )


def model_hash(directory: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) over everything in a model directory that predictions depend on."""
    return sha256_json(
        {
            path.name: sha256_file(path)
            for path in sorted(Path(directory).iterdir())
            if path.is_file() and path.name != "README.md"
        }
    )
