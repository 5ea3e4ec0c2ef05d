"""An exported model with what `evaluate` and `label` ask of a tagger: ids and scores in place of spans."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distill_jax.errors import UserError
from distill_jax.files import read_json_object
from distill_jax.inference.base import VITERBI, Progress
from distill_jax.inference.prediction import Prediction
from distill_jax.inference.tagged import without_improbable_spans
from distill_jax.model_dir.settings import TAGGER, read_tagger_file
from distill_jax.sent.pieces import TruncatedWord
from distill_jax.tagging import LabelSet, Sentence
from distill_jax_runtime.directory import EXPORT_FIELD
from distill_jax_runtime.legal import constrained_tags

if TYPE_CHECKING:  # imports onnxruntime, which who labels with a model need not have
    from distill_jax_runtime.tagger import Tagger


class ExportedTagger:
    """What `distill-jax export --to onnx` wrote, under onnxruntime; see `distill_jax.tagger.Tagger`.

    Args:
        directory: of the export.
        tagger: the runtime's, of the same directory.

    Raises:
        UserError: in one line, if `tagger.json` is of an older export, which does not count parameters.
    """

    def __init__(self, directory: str | os.PathLike[str], tagger: "Tagger") -> None:
        path = Path(directory) / TAGGER
        about = read_json_object(path)[EXPORT_FIELD]
        self._tagger = tagger
        try:
            self.parameters: int = about["parameters"]
            self.frozen_parameters: int = about["frozen_parameters"]
        except KeyError:
            raise UserError(
                f"{path}: of an older export, which does not count parameters; export the model anew"
            ) from None
        saved = read_tagger_file(Path(directory))
        self.labels: LabelSet = saved.labels
        self.settings = saved.settings
        self.decoder: dict[str, Any] = {**VITERBI, "runtime": "onnxruntime"}

    def decode(
        self, sentences: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[Prediction]:
        """See `Tagger.decode`."""
        tagged = self._tagger.predict(sentences, progress)
        predictions = []
        for one in tagged:
            scores = np.asarray(one.log_likelihoods)
            tag_ids = constrained_tags(scores)
            predictions.append(Prediction(tag_ids, scores, words_alone=True, windows=one.windows))
        return predictions

    def calibrated(self, prediction: Prediction) -> Prediction:
        """See `Tagger.calibrated`."""
        prediction = prediction._replace(temperature=self.settings.temperature)
        return without_improbable_spans(prediction, self.labels, self.settings.thresholds)

    def label(self, sentences: Sequence[Sentence]) -> list[tuple[np.ndarray, np.ndarray]]:
        """See `Tagger.label`."""
        found = map(self.calibrated, self.decode([sentence.words for sentence in sentences]))
        return [(prediction.tag_ids, prediction.completed) for prediction in found]

    def needs_windows(self, words: Sequence[str]) -> bool:
        """See `Tagger.needs_windows`."""
        return self._tagger.needs_windows(words)

    def truncated_words(self, words: Sequence[str]) -> tuple[TruncatedWord, ...]:
        """See `Tagger.truncated_words`."""
        return self._tagger.truncated_words(words)

    def warm_up(self, sentences: Sequence[Sequence[str]]) -> int:
        """0, for nothing is compiled."""
        return 0

    def set_temperature(self, temperature: float) -> None:
        """See `Tagger.set_temperature`."""
        self.settings = dataclasses.replace(self.settings, temperature=temperature)
