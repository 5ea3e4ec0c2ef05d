"""Sentences as an encoder tagger reads them: the subwords of all words, one word behind the other."""

import copy
from collections.abc import Sequence
from typing import Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

from distill_jax_runtime.errors import UserError
from distill_jax_runtime.pieces import Subwords, TruncatedWord, WordPieces
from distill_jax_runtime.windows import SEQUENCE_OVERHEAD, WORD_OVERHEAD, Window, windows

_Vocabulary = TypeVar("_Vocabulary", bound=Subwords)


class SubwordFormat(Generic[_Vocabulary]):
    """Encodes words one by one, as SenT′ does, without sentinels between them.

    Around them stands what stood around all that the encoder of this vocabulary has read: `</s>`
    behind for a T5's, `[CLS]` and `[SEP]` for a BERT's.

    Attributes:
        vocabulary: of the subwords.
        pad_id: of padding behind the tokens.

    Raises:
        UserError: more stands around a sequence than windows leave room for.
    """

    def __init__(self, vocabulary: _Vocabulary) -> None:
        around = len(vocabulary.prefix_ids) + len(vocabulary.suffix_ids)
        if around > SEQUENCE_OVERHEAD:
            raise UserError(
                f"the tokenizer puts {around} special tokens around a sequence, and at most "
                f"{SEQUENCE_OVERHEAD} are supported; use the tokenizer of a T5, BERT or RoBERTa"
            )
        self.vocabulary = vocabulary
        self.pad_id = vocabulary.pad_id
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

    def windows(self, words: Sequence[str], max_tokens: int, overlap_words: int) -> list[Window]:
        """The pieces in which a sentence is read, of `max_tokens` each at most: one, where it fits."""
        return windows(
            words,
            max_words=max(len(words), 1),  # only tokens are limited
            max_tokens=max_tokens,
            token_length=self.window_length,
            overlap_words=min(overlap_words, max(len(words) - 1, 0)),
        )

    def encode(self, words: Sequence[str]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Tokens int32[S], special ones around them, and where each word's first stands, int32[L]."""
        pieces = [self.word_token_ids(word) for word in words]
        lengths = [len(piece) for piece in pieces]
        before, behind = self.vocabulary.prefix_ids, self.vocabulary.suffix_ids
        first = np.cumsum([len(before), *lengths], dtype=np.int32)[:-1]
        tokens = [token for piece in pieces for token in piece]
        return np.array([*before, *tokens, *behind], np.int32), first
