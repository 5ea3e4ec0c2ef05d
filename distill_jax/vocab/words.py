"""The word and character vocabulary of a tagger that embeds whole words (the BiLSTM student).

Word id 0 and character id 0 are padding, id 1 is the unknown word or character; words and characters
seen in training follow, the most frequent first. Words are looked up in lower case by default, since
that is what uncased GloVe files hold; characters always keep their case, so capitalisation is not
lost on the tagger.
"""

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill_jax.errors import UserError
from distill_jax.files import atomic_write, sha256_json

FILE_NAME = "word_vocabulary.json"
PAD_ID = 0
UNK_ID = 1
NUM_SPECIAL = 2


class WordVocabulary:
    """Words and characters in a fixed order; immutable once made.

    Args:
        words: the known words, ids 2, 3, … in this order; without duplicates.
        characters: the known characters, ids 2, 3, … in this order; without duplicates.
        lowercase: whether a word is put in lower case before it is looked up.

    Raises:
        UserError: on duplicates, on a word that is empty or not in lower case although `lowercase`
            holds, or on a character that is not one code point.
    """

    pad_id = PAD_ID
    unk_id = UNK_ID

    def __init__(
        self, words: Sequence[str], characters: Sequence[str], *, lowercase: bool = True
    ) -> None:
        self.words = tuple(words)
        self.characters = tuple(characters)
        self.lowercase = lowercase
        self._word_ids = {word: NUM_SPECIAL + i for i, word in enumerate(self.words)}
        self._character_ids = {char: NUM_SPECIAL + i for i, char in enumerate(self.characters)}
        if len(self._word_ids) != len(self.words):
            raise UserError(f"word vocabulary: {_first_duplicate(self.words)!r} is there twice")
        if len(self._character_ids) != len(self.characters):
            raise UserError(
                f"word vocabulary: character {_first_duplicate(self.characters)!r} is there twice"
            )
        for word in self.words:
            if not word or word != self._normalise(word):
                raise UserError(f"word vocabulary: {word!r} could never be looked up")
        for char in self.characters:
            if len(char) != 1:
                raise UserError(f"word vocabulary: {char!r} is not a single character")

    @classmethod
    def build(
        cls,
        sentences_words: Iterable[Sequence[str]],
        *,
        min_count: int = 1,
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
        kept = [word for word in _by_count(word_counts) if word_counts[word] >= min_count]
        return cls(kept[:max_words], _by_count(character_counts), lowercase=lowercase)

    @property
    def num_words(self) -> int:
        """The number of word ids in use, padding and unknown included: rows of an embedding."""
        return NUM_SPECIAL + len(self.words)

    @property
    def num_chars(self) -> int:
        """The number of character ids in use, padding and unknown included."""
        return NUM_SPECIAL + len(self.characters)

    def word_id(self, word: str) -> int:
        """The id of a word; 1 if it is unknown or empty, never 0."""
        return self._word_ids.get(self._normalise(word), UNK_ID)

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

    def content_hash(self) -> str:
        """A hash (hexadecimal SHA-256) equal for equal vocabularies, on every machine."""
        return sha256_json(self._to_json())

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes `word_vocabulary.json` into a directory (made if absent)."""
        with atomic_write(Path(directory) / FILE_NAME) as path:
            path.write_text(json.dumps(self._to_json(), ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "WordVocabulary":
        """Reads what `save` wrote.

        Raises:
            UserError: naming the file, if it is absent or not what `save` writes.
        """
        path = Path(directory) / FILE_NAME
        try:
            content = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise UserError(f"{path}: not valid JSON ({error}); save the model again") from error
        if not (
            isinstance(content, dict)
            and set(content) == {"lowercase", "words", "characters"}
            and isinstance(content["lowercase"], bool)
            and _is_list_of_strings(content["words"])
            and _is_list_of_strings(content["characters"])
        ):
            raise UserError(
                f"{path}: expected an object with `lowercase` (true or false), `words` and"
                " `characters` (lists of strings); save the model again"
            )
        try:
            return cls(content["words"], content["characters"], lowercase=content["lowercase"])
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    def _normalise(self, word: str) -> str:
        return word.lower() if self.lowercase else word

    def _to_json(self) -> dict[str, Any]:
        return {
            "lowercase": self.lowercase,
            "words": list(self.words),
            "characters": list(self.characters),
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordVocabulary) and self._to_json() == other._to_json()

    def __hash__(self) -> int:
        return hash((self.words, self.characters, self.lowercase))


def load_glove(
    path: str | os.PathLike[str],
    vocabulary: WordVocabulary,
    dim: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Word embeddings from a text file in GloVe's format: a word and `dim` numbers on each line.

    A word2vec header (two integers on the first line) is skipped. Words of the file may hold spaces,
    as some of GloVe 840B's do. A word of the vocabulary that the file lacks takes the vector of its
    lower-case form; if that is missing too, it is drawn from U(-√(3/dim), √(3/dim)), as is the
    unknown word. If the file holds a word twice, the first vector counts. Padding is zero.

    Args:
        path: the file, in UTF-8.
        vocabulary: whose words get a row each.
        dim: numbers a line.
        rng: for the rows the file does not fill. The draw does not depend on the file.

    Returns:
        float32[vocabulary.num_words, dim].

    Raises:
        UserError: naming file and line, if a line is not a word and `dim` finite numbers.
    """
    if dim < 1:
        raise UserError(f"the dimension of word embeddings is {dim}; it must be at least 1")
    path = Path(path)
    bound = math.sqrt(3 / dim)
    embeddings = rng.uniform(-bound, bound, (vocabulary.num_words, dim)).astype(np.float32)
    embeddings[PAD_ID] = 0
    exact = {word: NUM_SPECIAL + i for i, word in enumerate(vocabulary.words)}
    by_lower: dict[str, list[int]] = {}
    for word, word_id in exact.items():
        if word.lower() != word:
            by_lower.setdefault(word.lower(), []).append(word_id)
    filled: set[int] = set()
    fallback: dict[int, np.ndarray] = {}
    try:
        # In binary, because only \n ends a line: words may hold other characters that end lines.
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and dim != 1 and _is_word2vec_header(line):
                    continue
                word, vector = _parse_glove_line(line, dim, f"{path}:{number}")
                row = exact.get(word)
                if row is not None and row not in filled:
                    embeddings[row] = vector
                    filled.add(row)
                for row in by_lower.get(word, ()):
                    fallback.setdefault(row, vector)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    for row, vector in fallback.items():
        if row not in filled:
            embeddings[row] = vector
    return embeddings


def _parse_glove_line(content: bytes, dim: int, place: str) -> tuple[str, np.ndarray]:
    try:
        line = content.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{place}: not UTF-8 ({error.reason}); convert it to UTF-8") from error
    word, *fields = line.rstrip("\r\n ").rsplit(" ", dim)
    # A number left over in front means that the file has more dimensions than asked for.
    extra = word.rpartition(" ")[2] if " " in word else ""
    if len(fields) != dim or (extra and _is_number(extra)):
        found = len(line.split()) - 1
        raise UserError(
            f"{place}: expected a word and {dim} numbers, found {max(found, 0)} fields after the"
            " word; correct the line, or set the dimension that the file has"
        )
    try:
        # Python's float is correctly rounded and, for a hundred short numbers, faster than NumPy.
        vector = np.array([float(field) for field in fields], np.float32)
    except ValueError as error:
        raise UserError(f"{place}: {error}; correct or delete the line") from error
    if not np.isfinite(vector).all():
        raise UserError(f"{place}: holds a number that is not finite; correct or delete the line")
    return word, vector


def _is_word2vec_header(line: bytes) -> bool:
    fields = line.split()
    return len(fields) == 2 and all(field.isdigit() for field in fields)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _by_count(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda text: (-counts[text], text))


def _first_duplicate(items: Sequence[str]) -> str:
    counts = Counter(items)
    return next(item for item in items if counts[item] > 1)
