"""Word embeddings made elsewhere: text files in GloVe's format."""

import math
import os
from pathlib import Path

import numpy as np

from distill_jax.errors import UserError
from distill_jax.vocab.words import NUM_SPECIAL_IDS, PAD_ID, WordVocabulary


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
    exact = {word: NUM_SPECIAL_IDS + i for i, word in enumerate(vocabulary.words)}
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
        num_fields = max(len(line.split()) - 1, 0)
        raise UserError(
            f"{place}: expected a word and {dim} numbers, found {num_fields} fields after the"
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
