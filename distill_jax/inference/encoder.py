"""Tagging with an encoder tagger or a BERT: one forward pass a window, then the best legal sBIO sequence."""

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import numpy as np

from distill_jax.data.length_batches import Shape, shaped_batches
from distill_jax.errors import UserError
from distill_jax.inference.base import VITERBI, InputLimits, Progress, check_numbers
from distill_jax.inference.prediction import Prediction
from distill_jax.sent.format import check_vocabulary_fits
from distill_jax.sent.pieces import TruncatedWord
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.sent.windows import Window, merge_windows
from distill_jax.signals import check_stopped
from distill_jax.tagging import LabelSet
from distill_jax.vocab import Vocabulary
from distill_jax_runtime.legal import constrained_tags

WORD_BUCKETS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
TOKEN_BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class SubwordTagger(Protocol):
    """A Flax module that gives each word's tags their logits: `tokens` int32[B, S] and `first`
    int32[B, L] → float32[B, L, K].

    Its configuration has `vocab_size`, `num_tags` and `pad_id`, the token that is padding.
    """

    config: Any

    def apply(self, variables: Any, *inputs: Any, **options: Any) -> Any:
        """See `flax.linen.Module.apply`."""


class EncoderPredictor:
    """A tagger of words by their first subwords, over a subword vocabulary and a label set.

    Sentences beyond `limits` are split into windows; each word's scores are those of the window
    in which it has most context, and the tags are the best legal sequence under the merged scores.
    """

    algorithm = VITERBI

    def __init__(
        self,
        model: SubwordTagger,
        vocabulary: Vocabulary,
        labels: LabelSet,
        *,
        batch_size: int = 32,
        limits: InputLimits = InputLimits(),  # noqa: B008 (immutable)
    ) -> None:
        config = model.config
        check_vocabulary_fits(vocabulary, config.vocab_size)
        if vocabulary.pad_id != config.pad_id:
            raise UserError(
                f"the vocabulary's padding has id {vocabulary.pad_id}, the model needs "
                f"{config.pad_id}; use the vocabulary that belongs to the model"
            )
        if config.num_tags != labels.num_tags:
            raise UserError(
                f"the model predicts {config.num_tags} tags but the label set has "
                f"{labels.num_tags}; they do not belong together"
            )
        self.labels = labels
        self._format = SubwordFormat(vocabulary).limited(limits.tokens)
        self._batch_size = batch_size
        self._max_input_tokens = limits.tokens
        self._overlap_words = limits.overlap_words
        self._warm: set[Shape] = set()

        @jax.jit
        def log_probabilities(params: Any, tokens: jax.Array, first: jax.Array) -> jax.Array:
            return jax.nn.log_softmax(model.apply({"params": params}, tokens, first))

        self._log_probabilities = log_probabilities

    def predict(
        self, params: Any, sentences: Sequence[Sequence[str]], progress: Progress | None = None
    ) -> list[Prediction]:
        """See `Predictor.predict`; u is the log-probability of each tag, words independent."""
        split = [self.windows(words) for words in sentences]
        pieces = self._pieces(sentences, split)
        starts = [window.start == 0 for parts in split for window in parts]
        scores = [np.zeros((0, self.labels.num_tags), np.float32)] * len(pieces)
        if progress is not None:
            progress(sum(not words for words in sentences))
        for shape, members in self._plan(pieces):
            check_stopped()
            tokens, first = self._empty(shape)
            for row, index in enumerate(members):
                ids, at = pieces[index]
                tokens[row, : len(ids)], first[row, : len(at)] = ids, at
            self._warm.add(shape)
            of_batch = np.asarray(self._log_probabilities(params, tokens, first))
            check_numbers(of_batch[: len(members)])
            for row, index in enumerate(members):
                scores[index] = of_batch[row, : len(pieces[index][1])]
            if progress is not None:
                progress(sum(starts[index] for index in members))
        remaining = iter(scores)
        return [self._merged(parts, [next(remaining) for _ in parts]) for parts in split]

    def needs_windows(self, words: Sequence[str]) -> bool:
        """See `Predictor.needs_windows`."""
        return len(self.windows(words)) > 1

    def truncated_words(self, words: Sequence[str]) -> tuple[TruncatedWord, ...]:
        """See `Predictor.truncated_words`."""
        return self._format.truncated_words(words)

    def warm_up(self, params: Any, sentences: Sequence[Sequence[str]]) -> int:
        """See `Predictor.warm_up`."""
        pieces = self._pieces(sentences, [self.windows(words) for words in sentences])
        shapes = {shape for shape, _ in self._plan(pieces)} - self._warm
        for shape in sorted(shapes):
            jax.block_until_ready(self._log_probabilities(params, *self._empty(shape)))
        self._warm |= shapes
        return len(shapes)

    def windows(self, words: Sequence[str]) -> list[Window]:
        """The pieces in which a sentence is tagged: one, where it fits."""
        return self._format.windows(words, self._max_input_tokens, self._overlap_words)

    def _pieces(
        self, sentences: Sequence[Sequence[str]], split: Sequence[Sequence[Window]]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        return [
            self._format.encode(words[window.start : window.end])
            for words, parts in zip(sentences, split, strict=True)
            for window in parts
        ]

    def _plan(
        self, pieces: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> list[tuple[Shape, np.ndarray]]:
        """The shape of each batch, and the pieces it is made of."""
        return shaped_batches(
            [len(first) for _, first in pieces],
            self._batch_size,
            WORD_BUCKETS,
            tokens=[len(ids) for ids, _ in pieces],
            token_buckets=TOKEN_BUCKETS,
        )

    def _empty(self, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        rows, tokens, words = shape
        pad_id = self._format.pad_id
        return np.full((rows, tokens), pad_id, np.int32), np.full((rows, words), -1, np.int32)

    @staticmethod
    def _merged(parts: Sequence[Window], pieces: Sequence[np.ndarray]) -> Prediction:
        scores = pieces[0] if len(parts) == 1 else merge_windows(parts, pieces)
        return Prediction(constrained_tags(scores), scores, words_alone=True, windows=len(parts))
