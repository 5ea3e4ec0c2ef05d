"""Tagging with a word tagger: one forward pass, then the best legal sBIO sequence."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from distill_jax.data.length_batches import Shape, shaped_batches
from distill_jax.errors import UserError
from distill_jax.inference.base import VITERBI, Progress, check_numbers
from distill_jax.inference.prediction import Prediction
from distill_jax.models.bilstm import BiLSTMTagger
from distill_jax.sent.pieces import TruncatedWord
from distill_jax.signals import check_stopped
from distill_jax.tagging import LabelSet
from distill_jax.vocab import WordVocabulary
from distill_jax_runtime.legal import constrained_tags_batch

WORD_BUCKETS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128)


def log_probabilities_of(
    model: BiLSTMTagger,
) -> Callable[[Any, jax.Array, jax.Array], jax.Array]:
    """(parameters, word ids int32[B, L], character ids int32[B, L, C]) → log-probabilities
    float32[B, L, K] of a model's tags."""

    def log_probabilities(params: Any, word_ids: jax.Array, char_ids: jax.Array) -> jax.Array:
        return jax.nn.log_softmax(model.apply({"params": params}, word_ids, char_ids))

    return log_probabilities


def encode_batch(
    vocabulary: WordVocabulary,
    sentences: Sequence[Sequence[str]],
    shape: tuple[int, int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Word ids int32[B, L] and character ids int32[B, L, C] of sentences, padded to the shape (B, L, C)."""
    word_ids, char_ids = np.zeros(shape[:2], np.int32), np.zeros(shape, np.int32)
    for row, words in enumerate(sentences):
        word_ids[row, : len(words)], char_ids[row, : len(words)] = vocabulary.encode(
            words, max_chars=shape[2]
        )
    return word_ids, char_ids


def best_sequences(scores_BxLxK: np.ndarray, lengths: Sequence[int]) -> list[Prediction]:
    """The best legal tags of each sentence of a padded batch, which has `lengths` words.

    Raises `UserError` if there is a NaN among the scores.
    """
    check_numbers(scores_BxLxK)
    tags_BxL = constrained_tags_batch(scores_BxLxK, np.asarray(lengths))
    return [
        Prediction(tags_L[:length], scores_LxK[:length], words_alone=True)
        for tags_L, scores_LxK, length in zip(tags_BxL, scores_BxLxK, lengths, strict=True)
    ]


def without_words(labels: LabelSet) -> Prediction:
    """What is predicted for a sentence of no words."""
    return Prediction(
        np.zeros(0, np.int32), np.zeros((0, labels.num_tags), np.float32), words_alone=True
    )


class WordPredictor:
    """A word tagger over a word vocabulary and a label set; words have at most `max_chars` characters."""

    algorithm = VITERBI

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
        self._warm: set[Shape] = set()

        self._log_probabilities = jax.jit(log_probabilities_of(model))

    def predict(
        self, params: Any, sentences: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[Prediction]:
        """See `Predictor.predict`; u is the log-probability of each tag, words independent."""
        results = [without_words(self.labels)] * len(sentences)
        lengths = [len(words) for words in sentences]
        if progress is not None:
            progress(lengths.count(0))
        for shape, members in shaped_batches(lengths, self._batch_size, WORD_BUCKETS):
            check_stopped()
            word_ids, char_ids = encode_batch(
                self._vocabulary,
                [sentences[index] for index in members],
                (shape.rows, shape.words, self._max_chars),
            )
            self._warm.add(shape)
            scores = np.asarray(self._log_probabilities(params, word_ids, char_ids))
            best = best_sequences(scores[: len(members)], [lengths[index] for index in members])
            for index, prediction in zip(members, best, strict=True):
                results[index] = prediction
            if progress is not None:
                progress(len(members))
        return results

    def needs_windows(self, words: Sequence[str]) -> bool:
        """A BiLSTM reads any length."""
        return False

    def truncated_words(self, words: Sequence[str]) -> tuple[TruncatedWord, ...]:
        """None: of a long word its ends are read, as in training."""
        return ()

    def warm_up(self, params: Any, sentences: Sequence[Sequence[str]]) -> int:
        """See `Predictor.warm_up`."""
        lengths = [len(words) for words in sentences]
        plan = shaped_batches(lengths, self._batch_size, WORD_BUCKETS)
        shapes = {shape for shape, _ in plan} - self._warm
        for shape in sorted(shapes):
            word_ids = np.zeros((shape.rows, shape.words), np.int32)
            char_ids = np.zeros((*word_ids.shape, self._max_chars), np.int32)
            jax.block_until_ready(self._log_probabilities(params, word_ids, char_ids))
        self._warm |= shapes
        return len(shapes)
