"""From words to the ids that a tagger of words and characters reads.

Word id 0 and character id 0 are padding, id 1 is the unknown word or character; the known ones follow.
Words are looked up in lower case by default, since that is what uncased GloVe files hold; characters always
keep their case, so capitalisation is not lost on the tagger.

A vocabulary may also know words that were not in training, from a file of word vectors. Their vectors
are rows of a second, frozen table, and their ids follow those of the words that are trained.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from distill_jax_runtime.errors import UserError
from distill_jax_runtime.json_files import read_json_object
from distill_jax_runtime.sorted_words import SortedWords

WORD_VOCABULARY_FILE = "word_vocabulary.json"
FROZEN_WORDS_FILE = "frozen_words.txt"
"""Of an export: the words of its frozen table, sorted, a line each."""
PAD_ID = 0
UNK_ID = 1
NUM_SPECIAL_IDS = 2


class WordLookup:
    """Words and characters in a fixed order; immutable once made.

    Args:
        words: the known words, ids 2, 3, … in this order; without duplicates.
        characters: the known characters, ids 2, 3, … in this order; without duplicates.
        lowercase: whether a word is put in lower case before it is looked up.
        frozen_rows: the words of the frozen table with their rows, 0, 1, … in this order. A word
            that is among `words` too has its own id, and this row is not used: so students of different
            training words share one table.

    Raises:
        UserError: on duplicates, on a word that is empty or not in lower case although `lowercase`
            holds, or on a character that is not one code point.
    """

    pad_id = PAD_ID
    unk_id = UNK_ID

    def __init__(
        self,
        words: Sequence[str],
        characters: Sequence[str],
        *,
        lowercase: bool = True,
        frozen_rows: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.words = tuple(words)
        self.characters = tuple(characters)
        self.lowercase = lowercase
        self.frozen_rows = frozen_rows
        self._word_ids = {word: NUM_SPECIAL_IDS + i for i, word in enumerate(self.words)}
        self._character_ids = {char: NUM_SPECIAL_IDS + i for i, char in enumerate(self.characters)}
        if len(self._word_ids) != len(self.words):
            raise UserError(f"word vocabulary: {_first_duplicate(self.words)!r} is there twice")
        if len(self._character_ids) != len(self.characters):
            raise UserError(
                f"word vocabulary: character {_first_duplicate(self.characters)!r} is there twice"
            )
        # Sorted words are written of a vocabulary that has been checked, and too many to go through.
        frozen = () if isinstance(frozen_rows, SortedWords) else frozen_rows
        for word in (*self.words, *frozen):
            if not word or word != self.normalised(word):
                raise UserError(f"word vocabulary: {word!r} could never be looked up")
        for char in self.characters:
            if len(char) != 1:
                raise UserError(f"word vocabulary: {char!r} is not a single character")

    @property
    def num_words(self) -> int:
        """The rows of the embedding that is trained: its words, padding and unknown."""
        return NUM_SPECIAL_IDS + len(self.words)

    @property
    def num_frozen_words(self) -> int:
        """The rows of the frozen table."""
        return len(self.frozen_rows)

    @property
    def num_chars(self) -> int:
        """The number of character ids in use, padding and unknown included."""
        return NUM_SPECIAL_IDS + len(self.characters)

    def word_id(self, word: str) -> int:
        """The id of a word; 1 if it is unknown or empty, never 0.

        Row r of the frozen table has the id `num_words` + r.
        """
        word = self.normalised(word)
        word_id = self._word_ids.get(word)
        if word_id is None and (row := self.frozen_rows.get(word)) is not None:
            return self.num_words + row
        return UNK_ID if word_id is None else word_id

    def encode(self, words: Sequence[str], max_chars: int = 20) -> tuple[np.ndarray, np.ndarray]:
        """Word and character ids of one sentence.

        A word of more than `max_chars` characters is represented by its beginning and its end (the
        parts that carry affixes): its first ceil(max_chars / 2) and last floor(max_chars / 2)
        characters. Its word id is that of the whole word.

        Args:
            words: the L words.
            max_chars: C, the width of the character ids, so that shapes do not depend on the words.

        Returns:
            (word_ids int32[L], char_ids int32[L, C]); rows of char_ids end in padding (0).

        Raises:
            UserError: if `max_chars` is below 1.
        """
        if max_chars < 1:
            raise UserError(f"max_chars is {max_chars}; it must be at least 1")
        word_ids = np.array([self.word_id(word) for word in words], np.int32)
        char_ids = np.full((len(words), max_chars), PAD_ID, np.int32)
        tail = max_chars // 2
        for row, word in zip(char_ids, words, strict=True):
            if len(word) > max_chars:
                word = word[: max_chars - tail] + word[len(word) - tail :]
            row[: len(word)] = [self._character_ids.get(char, UNK_ID) for char in word]
        return word_ids, char_ids

    def normalised(self, word: str) -> str:
        """The word as it is looked up."""
        return word.lower() if self.lowercase else word

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Self:
        """Reads what `save` wrote.

        Raises:
            UserError: naming the file, if it is absent or not what `save` writes.
        """
        path = Path(directory) / WORD_VOCABULARY_FILE
        content = read_json_object(path, "save the model again")
        if not (
            set(content) - {"frozen_words"} == {"lowercase", "words", "characters"}
            and isinstance(content["lowercase"], bool)
            and all(_is_list_of_strings(content[name]) for name in set(content) - {"lowercase"})
        ):
            raise UserError(
                f"{path}: expected an object with `lowercase` (true or false), `words`,"
                " `characters` and maybe `frozen_words` (lists of strings); save the model again"
            )
        frozen = content.get("frozen_words", [])
        rows: Mapping[str, int] = {word: row for row, word in enumerate(frozen)}
        if len(rows) != len(frozen):
            raise UserError(f"{path}: frozen word {_first_duplicate(frozen)!r} is there twice")
        sorted_words = Path(directory) / FROZEN_WORDS_FILE
        if not frozen and sorted_words.is_file():
            rows = SortedWords(sorted_words.read_bytes())
        try:
            return cls(
                content["words"],
                content["characters"],
                lowercase=content["lowercase"],
                frozen_rows=rows,
            )
        except UserError as error:
            raise UserError(f"{path}: {error}") from error


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _first_duplicate(items: Sequence[str]) -> str:
    counts = Counter(items)
    return next(item for item in items if counts[item] > 1)
