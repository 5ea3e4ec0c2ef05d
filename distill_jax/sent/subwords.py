"""Sentences as an encoder tagger reads them: the subwords of all words, one word behind the other."""

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from distill_jax.errors import UserError
from distill_jax.sent.format import SEQUENCE_OVERHEAD, WORD_OVERHEAD
from distill_jax.sent.pieces import TruncatedWord, WordPieces
from distill_jax.vocab import Vocabulary


class SubwordFormat:
    """Encodes words one by one, as SenT′ does, without sentinels between them.

    `</s>` stands at the end, as it did in all that a pre-trained T5 encoder has read.

    Raises:
        UserError: the vocabulary's padding is not 0, which the model takes for padding.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        if vocabulary.pad_id != 0:
            raise UserError(
                f"the vocabulary's padding has id {vocabulary.pad_id}, an encoder tagger needs 0; "
                "use a T5 vocabulary"
            )
        self.vocabulary = vocabulary
        self._pieces = WordPieces(vocabulary)

    def limited(self, max_tokens: int) -> Self:
        """See `SenTFormat.limited`."""
        limited = copy.copy(self)
        limited._pieces = WordPieces(self.vocabulary, max_tokens - SEQUENCE_OVERHEAD)
        return limited

    def truncated_words(self, words: Sequence[str]) -> tuple[TruncatedWord, ...]:
        """See `SenTFormat.truncated_words`."""
        return self._pieces.truncated(words)

    def word_token_ids(self, word: str) -> tuple[int, ...]:
        """The ids of one word; `(unk_id,)` for one that the vocabulary reduces to nothing."""
        return self._pieces.of(word)

    def window_length(self, word: str) -> int:
        """The `token_length` that `windows` wants, which adds a sentinel of its own to each word."""
        return len(self.word_token_ids(word)) - WORD_OVERHEAD

    def encode(self, words: Sequence[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Tokens int32[S], `</s>` last, and where each word's first token stands, int32[L]."""
        pieces = [self.word_token_ids(word) for word in words]
        lengths = [len(piece) for piece in pieces]
        first = np.cumsum([0, *lengths], dtype=np.int32)[:-1]
        tokens = [token for piece in pieces for token in piece]
        return np.array([*tokens, self.vocabulary.eos_id], np.int32), first
