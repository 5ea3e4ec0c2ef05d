"""Sentences as an encoder tagger reads them: the subwords of all words, one word behind the other."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distill_jax.errors import UserError
from distill_jax.sent.format import WORD_OVERHEAD
from distill_jax.vocab import Vocabulary

_CACHED_WORDS = 100_000


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
        self._words: dict[str, tuple[int, ...]] = {}

    def word_token_ids(self, word: str) -> tuple[int, ...]:
        """The ids of one word; `(unk_id,)` for one that the vocabulary reduces to nothing."""
        ids = self._words.get(word)
        if ids is None:
            ids = tuple(self.vocabulary.encode(word)) or (self.vocabulary.unk_id,)
            if len(self._words) >= _CACHED_WORDS:
                self._words.clear()
            self._words[word] = ids
        return ids

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
