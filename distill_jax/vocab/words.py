"""The word and character vocabulary of a tagger that embeds whole words (the BiLSTM student).

Words and characters seen in training, the most frequent first. How they are looked up is
`distill_jax_runtime.word_ids`, for exported models look up the same words where there is no JAX.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.files import atomic_write, sha256_json, write_text
from distill_jax_runtime.sorted_words import SortedWords
from distill_jax_runtime.word_ids import (
    FROZEN_WORDS_FILE,
    NUM_SPECIAL_IDS,
    PAD_ID,
    UNK_ID,
    WORD_VOCABULARY_FILE,
    WordLookup,
)

__all__ = ["NUM_SPECIAL_IDS", "PAD_ID", "UNK_ID", "WORD_VOCABULARY_FILE", "WordVocabulary"]


class WordVocabulary(WordLookup):
    """A `WordLookup` that can be built from sentences, and saved."""

    @classmethod
    def build(
        cls,
        sentences_words: Iterable[Sequence[str]],
        *,
        min_count: int = 1,
        kept: Iterable[Sequence[str]] = (),
        max_words: int | None = None,
        lowercase: bool = True,
    ) -> "WordVocabulary":
        """Collects a vocabulary from training sentences.

        The order is by count, descending, then by code points, so it depends on what the sentences
        hold and not on their order.

        Args:
            sentences_words: the words of each sentence.
            min_count: words seen less often than this are left out (they become unknown words).
                Characters are kept whatever their count.
            kept: those of the sentences whose words are kept whatever their count.
            max_words: at most this many words, the most frequent; None for no limit.
            lowercase: put words (not characters) in lower case.

        Raises:
            UserError: if `min_count` is below 1 or `max_words` is negative.
        """
        if min_count < 1:
            raise UserError(f"min_count is {min_count}; it must be at least 1")
        if max_words is not None and max_words < 0:
            raise UserError(f"max_words is {max_words}; it must not be negative")
        word_counts: Counter[str] = Counter()
        character_counts: Counter[str] = Counter()
        for words in sentences_words:
            for word in words:
                word_counts[word.lower() if lowercase else word] += 1
                character_counts.update(word)
        del word_counts[""]
        always = {word.lower() if lowercase else word for words in kept for word in words}
        found = [
            word
            for word in _by_count(word_counts)
            if word_counts[word] >= min_count or word in always
        ]
        return cls(found[:max_words], _by_count(character_counts), lowercase=lowercase)

    def with_frozen(self, rows: Mapping[str, int]) -> "WordVocabulary":
        """The same words and characters, with those of another frozen table."""
        return WordVocabulary(
            self.words, self.characters, lowercase=self.lowercase, frozen_rows=rows
        )

    def content_hash(self) -> str:
        """A hash (hexadecimal SHA-256) equal for equal vocabularies, on every machine."""
        return sha256_json(self._to_json())

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes `word_vocabulary.json` into a directory (made if absent); sorted frozen words, if it has
        such, into `frozen_words.txt` beside it."""
        own = self
        if isinstance(self.frozen_rows, SortedWords):
            own = self.with_frozen({})
            with atomic_write(Path(directory) / FROZEN_WORDS_FILE) as temporary:
                temporary.write_bytes(self.frozen_rows.text)
        text = json.dumps(own._to_json(), ensure_ascii=False)
        write_text(Path(directory) / WORD_VOCABULARY_FILE, f"{text}\n")

    def _to_json(self) -> dict[str, Any]:
        return {
            "lowercase": self.lowercase,
            "words": list(self.words),
            "characters": list(self.characters),
            # Not where there are none: vocabularies of before keep their hash.
            **({"frozen_words": list(self.frozen_rows)} if self.frozen_rows else {}),
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordVocabulary) and self._to_json() == other._to_json()

    def __hash__(self) -> int:
        return hash((self.words, self.characters, self.lowercase))


def _by_count(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda text: (-counts[text], text))
