"""Tagging with a word tagger: one forward pass, then the best legal sBIO sequence."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from distill_jax.errors import UserError
from distill_jax.inference.base import Progress, check_numbers
from distill_jax.inference.batches import batches_by_length, padded_batch_size
from distill_jax.inference.prediction import Prediction
from distill_jax.models.bilstm import BiLSTMTagger
from distill_jax.tagging import LabelSet
from distill_jax.tagging.legal import constrained_tags_batch
from distill_jax.vocab import WordVocabulary

WORD_BUCKETS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128)


class WordPredictor:
    """A word tagger over a word vocabulary and a label set; words have at most `max_chars` characters."""

    def __init__(
        self,
        model: BiLSTMTagger,
        vocabulary: WordVocabulary,
        labels: LabelSet,
        *,
        batch_size: int = 32,
        max_chars: int = 20,
    ) -> None:
        if model.config.num_tags != labels.num_tags:
            raise UserError(
                f"the model predicts {model.config.num_tags} tags but the label set has "
                f"{labels.num_tags}; they do not belong together"
            )
        self.labels = labels
        self._vocabulary = vocabulary
        self._batch_size = batch_size
        self._max_chars = max_chars
        self._warm: set[tuple[int, int]] = set()

        @jax.jit
        def log_probabilities(params: Any, word_ids: jax.Array, char_ids: jax.Array) -> jax.Array:
            return jax.nn.log_softmax(model.apply({"params": params}, word_ids, char_ids))

        self._log_probabilities = log_probabilities

    def predict(
        self, params: Any, sentences: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[Prediction]:
        """See `Predictor.predict`; u is the log-probability of each tag, words independent."""
        empty = Prediction(np.zeros(0, np.int32), np.zeros((0, self.labels.num_tags), np.float32))
        results = [empty] * len(sentences)
        lengths = [len(words) for words in sentences]
        if progress is not None:
            progress(lengths.count(0))
        for bucket, members in batches_by_length(lengths, self._batch_size, WORD_BUCKETS):
            rows = padded_batch_size(len(members), self._batch_size)
            word_ids = np.zeros((rows, bucket), np.int32)
            char_ids = np.zeros((rows, bucket, self._max_chars), np.int32)
            for row, index in enumerate(members):
                length = lengths[index]
                word_ids[row, :length], char_ids[row, :length] = self._vocabulary.encode(
                    sentences[index], max_chars=self._max_chars
                )
            self._warm.add((rows, bucket))
            scores = np.asarray(self._log_probabilities(params, word_ids, char_ids))
            check_numbers(scores[: len(members)])
            row_lengths = np.zeros(rows, np.int32)
            row_lengths[: len(members)] = [lengths[index] for index in members]
            tags = constrained_tags_batch(scores, row_lengths)
            for row, index in enumerate(members):
                results[index] = Prediction(
                    tags[row, : lengths[index]], scores[row, : lengths[index]]
                )
            if progress is not None:
                progress(len(members))
        return results

    def warm_up(self, params: Any, sentences: Sequence[Sequence[str]]) -> int:
        """See `Predictor.warm_up`."""
        lengths = [len(words) for words in sentences]
        groups = batches_by_length(lengths, self._batch_size, WORD_BUCKETS)
        shapes = {
            (padded_batch_size(len(members), self._batch_size), bucket)
            for bucket, members in groups
        } - self._warm
        for shape in sorted(shapes):
            word_ids = np.zeros(shape, np.int32)
            char_ids = np.zeros((*shape, self._max_chars), np.int32)
            jax.block_until_ready(self._log_probabilities(params, word_ids, char_ids))
        self._warm |= shapes
        return len(shapes)
