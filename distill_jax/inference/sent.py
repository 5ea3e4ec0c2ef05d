"""Tagging with a T5 by SenTScore: windows for long sentences, batches of similar length."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from distill_jax.inference.base import (
    Prediction,
    Progress,
    batches_by_length,
    check_numbers,
    padded_batch_size,
    round_up,
)
from distill_jax.models.t5 import T5
from distill_jax.sent.format import SenTFormat, check_vocabulary_fits
from distill_jax.sent.windows import Window, merge_tags, merge_windows, windows
from distill_jax.sentscore import (
    DecoderSettings,
    LabelTrie,
    Normaliser,
    make_batch,
    make_decoder,
)
from distill_jax.tagging import LabelSet

WORD_BUCKETS = (4, 8, 12, 16, 24, 32, 48, 64, 80, 100)
TOKEN_BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class SentPredictor:
    """SenTScore with K = 1 over a vocabulary and a label set.

    `max_input_tokens` bounds the encoder's input; sentences beyond it, or beyond the sentinels, are
    split into windows that share `overlap_words` words (fewer where they do not fit).
    """

    def __init__(
        self,
        model: T5,
        sent_format: SenTFormat,
        *,
        normaliser: Normaliser = "vocab",
        batch_size: int = 32,
        max_input_tokens: int = 512,
        overlap_words: int = 16,
    ) -> None:
        check_vocabulary_fits(sent_format.vocabulary, model.config.vocab_size)
        self.labels: LabelSet = sent_format.labels
        self.normaliser: Normaliser = normaliser
        self._format = sent_format
        self._batch_size = batch_size
        self._max_input_tokens = max_input_tokens
        self._overlap_words = overlap_words
        self._trie = LabelTrie.compile(sent_format.tag_token_ids)
        self._sentscore = make_decoder(model, self._trie, DecoderSettings(normaliser=normaliser))

    def predict(
        self, params: Any, sentences: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[Prediction]:
        """See `Predictor.predict`."""
        split = [self._windows(words) for words in sentences]
        pieces = [
            sentences[number][window.start : window.end]
            for number, parts in enumerate(split)
            for window in parts
        ]
        # A sentence is reported with its first window, one without words at once.
        first = [window.start == 0 for parts in split for window in parts]
        if progress is not None:
            progress(sum(not words for words in sentences))
        found = iter(self._predict_pieces(params, pieces, first, progress))
        return [self._merge(parts, [next(found) for _ in parts]) for parts in split]

    def _windows(self, words: Sequence[str]) -> list[Window]:
        return windows(
            words,
            max_words=self._format.max_words,
            max_tokens=self._max_input_tokens,
            token_length=self._format.word_length,
            overlap_words=min(self._overlap_words, self._format.max_words // 2),
        )

    def _predict_pieces(
        self,
        params: Any,
        pieces: Sequence[Sequence[str]],
        first: Sequence[bool],
        progress: Progress | None,
    ) -> list[Prediction]:
        empty = Prediction(np.zeros(0, np.int32), np.zeros((0, self.labels.num_tags), np.float32))
        results = [empty] * len(pieces)
        inputs = [self._format.encode_input(words) for words in pieces]
        groups = batches_by_length([len(words) for words in pieces], self._batch_size, WORD_BUCKETS)
        pending: tuple[np.ndarray, Any] | None = None
        for max_words, members in groups:
            # Dispatched before the batch before it is read: the device works while the host copies.
            result = self._sentscore(
                params,
                self._batch([inputs[index] for index in members], members, pieces, max_words),
            )
            if pending is not None:
                self._collect(pending, pieces, results)
                _report(progress, pending[0], first)
            pending = (members, result)
        if pending is not None:
            self._collect(pending, pieces, results)
            _report(progress, pending[0], first)
        return results

    def _batch(
        self,
        inputs: Sequence[np.ndarray],
        members: np.ndarray,
        pieces: Sequence[Sequence[str]],
        max_words: int,
    ) -> Any:
        max_words = min(max_words, self._format.max_words)
        rows = padded_batch_size(len(members), self._batch_size)
        tokens = np.full(
            (rows, round_up(max(map(len, inputs)), TOKEN_BUCKETS)),
            self._format.vocabulary.pad_id,
            np.int32,
        )
        num_words = np.zeros(rows, np.int32)
        for row, (index, ids) in enumerate(zip(members, inputs, strict=True)):
            tokens[row, : len(ids)] = ids
            num_words[row] = len(pieces[index])
        return make_batch(
            tokens,
            num_words,
            self._format.vocabulary.sentinel_ids,
            max_words=max_words,
            pad_id=self._format.vocabulary.pad_id,
        )

    @staticmethod
    def _collect(
        pending: tuple[np.ndarray, Any],
        pieces: Sequence[Sequence[str]],
        results: list[Prediction],
    ) -> None:
        members, result = pending
        tags, scores = jax.device_get((result.tags, result.log_likelihoods))
        check_numbers(scores[: len(members)])
        for row, index in enumerate(members):
            length = len(pieces[index])
            results[index] = Prediction(tags[row, :length], scores[row, :length])

    @staticmethod
    def _merge(parts: Sequence[Window], found: Sequence[Prediction]) -> Prediction:
        if len(parts) == 1:
            return found[0]
        scores = merge_windows(parts, [piece.log_likelihoods for piece in found])
        return Prediction(merge_tags(parts, [piece.tag_ids for piece in found]), scores)


def _report(progress: Progress | None, members: np.ndarray, first: Sequence[bool]) -> None:
    if progress is not None:
        progress(sum(first[index] for index in members))
