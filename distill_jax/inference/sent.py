"""Tagging with a T5 by any decoder: windows for long sentences, batches of similar length."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from distill_jax.data.length_batches import Shape, round_up, shaped_batches
from distill_jax.inference.base import InputLimits, Progress, check_parameters
from distill_jax.inference.decoded import merge, no_words, read_batch
from distill_jax.inference.prediction import Prediction, epsilon_at_temperature
from distill_jax.models.partitioning import ANYWHERE, Place
from distill_jax.models.t5 import T5
from distill_jax.sent.format import SenTFormat, check_vocabulary_fits
from distill_jax.sent.pieces import TruncatedWord
from distill_jax.sent.windows import Window, windows
from distill_jax.sentscore import (
    Decoded,
    DecoderSettings,
    LabelTrie,
    SentScoreBatch,
    make_batch,
    make_decoder,
)
from distill_jax.sentscore.memory import check_memory, memory_needed
from distill_jax.signals import check_stopped
from distill_jax.tagging import LabelSet

WORD_BUCKETS = (4, 8, 12, 16, 24, 32, 48, 64, 80, 100)
TOKEN_BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class _Pieces(NamedTuple):
    """The windows of all sentences, in order."""

    words: list[Sequence[str]]
    inputs: list[np.ndarray]
    first: list[bool]
    """Whether it is its sentence's first window: with that one the sentence is reported."""


def algorithm_of(settings: DecoderSettings) -> dict[str, Any]:
    """The settings that matter to an algorithm, as JSON."""
    record: dict[str, Any] = {"algorithm": settings.name}
    if settings.name == "sentscore":
        record["beam"] = settings.beam
    if settings.has_posteriors:
        record["normaliser"] = settings.normaliser
    if settings.name == "pruned":
        record["epsilon"] = settings.epsilon
    return record


class SentPredictor:
    """A decoder over a model, a vocabulary and a label set.

    Sentences beyond `limits`, or beyond the sentinels, are split into windows; a word that alone is
    beyond `limits` is cut. With
    `limit_memory` a program that the device has too little memory for is refused before it is
    compiled; for parameters that lie on one device. `temperature` is that of the posteriors for which
    `pruned` is to keep its ε. With a mesh the model's activations are placed there; the parameters are to lie
    there already.
    """

    def __init__(
        self,
        model: T5,
        sent_format: SenTFormat,
        *,
        decoder: DecoderSettings = DecoderSettings(),  # noqa: B008 (frozen)
        batch_size: int = 32,
        limits: InputLimits = InputLimits(),  # noqa: B008 (immutable)
        limit_memory: bool = False,
        temperature: float = 1.0,
        place: Place = ANYWHERE,
    ) -> None:
        check_vocabulary_fits(sent_format.vocabulary, model.config.vocab_size)
        self.labels: LabelSet = sent_format.labels
        self.decoder = decoder
        self.algorithm: Mapping[str, Any] = algorithm_of(decoder)
        self._format = sent_format.limited(limits.tokens)
        self._batch_size = batch_size
        self._max_input_tokens = limits.tokens
        self._overlap_words = limits.overlap_words
        self._limit_memory = limit_memory
        self._config = model.config
        self._trie = LabelTrie.compile(
            sent_format.tag_token_ids, sentinel_ids=sent_format.sentinel_ids.tolist()
        )
        searched = decoder
        if decoder.name == "pruned":
            epsilon = epsilon_at_temperature(decoder.epsilon, temperature, self.labels.num_tags)
            searched = dataclasses.replace(decoder, epsilon=epsilon)
        self._decode = make_decoder(model, self._trie, searched, place.mesh, tuple(place.rules))
        self._sound: Any = None  # parameters known to be numbers
        self._warm: set[Shape] = set()

    def predict(
        self, params: Any, sentences: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[Prediction]:
        """See `Predictor.predict`."""
        if not self.decoder.has_posteriors and params is not self._sound:
            # Tags alone would not show it.
            check_parameters(params)
            self._sound = params
        split = [self.windows(words) for words in sentences]
        pieces = self._pieces(sentences, split)
        if progress is not None:
            progress(sum(not words for words in sentences))
        predictions = iter(self._predict_pieces(params, pieces, progress))
        return [merge(parts, [next(predictions) for _ in parts]) for parts in split]

    def needs_windows(self, words: Sequence[str]) -> bool:
        """See `Predictor.needs_windows`."""
        return len(self.windows(words)) > 1

    def truncated_words(self, words: Sequence[str]) -> tuple[TruncatedWord, ...]:
        """See `Predictor.truncated_words`."""
        return self._format.truncated_words(words)

    def program(self, sentences: Sequence[Sequence[str]]) -> tuple[Any, SentScoreBatch]:
        """The jitted function of (params, batch) that tags these sentences at once, and their batch."""
        pieces = self._pieces(sentences, [self.windows(words) for words in sentences])
        shape = Shape(
            len(pieces.words),
            round_up(max(map(len, pieces.inputs)), TOKEN_BUCKETS),
            round_up(max(map(len, pieces.words)), WORD_BUCKETS),
        )
        return self._decode, self._batch(shape, pieces.inputs, list(map(len, pieces.words)))

    def warm_up(self, params: Any, sentences: Sequence[Sequence[str]]) -> int:
        """See `Predictor.warm_up`. Runs each program once, on sentences without words."""
        pieces = self._pieces(sentences, [self.windows(words) for words in sentences])
        shapes = {shape for shape, _ in self._plan(pieces)} - self._warm
        self._check_memory(shapes)
        for shape in sorted(shapes):
            jax.block_until_ready(self._decode(params, self._batch(shape, [], [])))
        self._warm |= shapes
        return len(shapes)

    def windows(self, words: Sequence[str]) -> list[Window]:
        """The pieces in which a sentence is tagged: one, where it fits."""
        return windows(
            words,
            max_words=self._format.max_words,
            max_tokens=self._max_input_tokens,
            token_length=self._format.word_length,
            overlap_words=min(self._overlap_words, self._format.max_words // 2),
        )

    def _pieces(
        self, sentences: Sequence[Sequence[str]], split: Sequence[Sequence[Window]]
    ) -> _Pieces:
        words = [
            sentence[window.start : window.end]
            for sentence, parts in zip(sentences, split, strict=True)
            for window in parts
        ]
        first = [window.start == 0 for parts in split for window in parts]
        return _Pieces(words, [self._format.encode_input(piece) for piece in words], first)

    def _plan(self, pieces: _Pieces) -> list[tuple[Shape, np.ndarray]]:
        """Batches, the shortest first, each with the pieces it is made of."""
        return shaped_batches(
            list(map(len, pieces.words)),
            self._batch_size,
            [min(bucket, self._format.max_words) for bucket in WORD_BUCKETS],
            tokens=[len(ids) for ids in pieces.inputs],
            token_buckets=TOKEN_BUCKETS,
        )

    def _check_memory(self, shapes: Iterable[Shape]) -> None:
        """Raises `UserError` if a program would need more memory than there is."""
        if not self._limit_memory:
            return
        for rows, tokens, words in shapes:
            needed = memory_needed(
                self._config, self._trie, self.decoder, rows=rows, words=words, source=tokens
            )
            check_memory(
                needed,
                f"tagging {rows} sentences of {words} words at a time with {self.labels.num_tags} tags",
            )

    def _predict_pieces(
        self, params: Any, pieces: _Pieces, progress: Progress | None
    ) -> list[Prediction]:
        results = [no_words(self.decoder, self.labels.num_tags)] * len(pieces.words)

        def collect(members: np.ndarray, decoded: Decoded) -> None:
            read = read_batch(
                decoded, self._format, [len(pieces.words[index]) for index in members]
            )
            for index, prediction in zip(members, read, strict=True):
                results[index] = prediction
            if progress is not None:
                progress(sum(pieces.first[index] for index in members))

        pending: tuple[np.ndarray, Decoded] | None = None
        plan = self._plan(pieces)
        self._check_memory({shape for shape, _ in plan} - self._warm)
        for shape, members in plan:
            check_stopped()
            # Dispatched before the batch before it is read: the device works while the host copies.
            batch = self._batch(
                shape,
                [pieces.inputs[index] for index in members],
                [len(pieces.words[index]) for index in members],
            )
            decoded = self._decode(params, batch)
            self._warm.add(shape)
            if pending is not None:
                collect(*pending)
            pending = members, decoded
        if pending is not None:
            collect(*pending)
        return results

    def _batch(
        self, shape: Shape, inputs: Sequence[np.ndarray], lengths: Sequence[int]
    ) -> SentScoreBatch:
        pad_id = self._format.vocabulary.pad_id
        tokens = np.full((shape.rows, shape.tokens), pad_id, np.int32)
        num_words = np.zeros(shape.rows, np.int32)
        for row, (ids, length) in enumerate(zip(inputs, lengths, strict=True)):
            tokens[row, : len(ids)] = ids
            num_words[row] = length
        return make_batch(
            tokens,
            num_words,
            self._format.sentinel_ids,
            max_words=shape.words,
            pad_id=pad_id,
        )
