"""Files of word vectors made elsewhere, block by block: GloVe, word2vec and fastText.

* Text: a word and its numbers on each line, split at single blanks, the numbers from the right, for
  words of GloVe's 840B hold blanks. GloVe's files are no more than that; word2vec's and fastText's
  (`.vec`) have a header before it, the number of words and that of numbers. UTF-8.
* Binary, in files named `*.bin`: word2vec's. The same header, then each word with a blank and its numbers
  as float32, little-endian; a newline may follow.

Either may be compressed (`*.gz`). What is malformed is an error that names the line (of a binary file
the word), wherever it stands: no file is half read in silence.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn, cast

import numpy as np

from distill_jax.errors import UserError
from distill_jax.vocab.decimals import parse_decimals

_CHUNK = 1 << 22
_LONGEST_WORD = 1 << 12
_LONGEST_NUMBER = _LONGEST_HEADER = 1 << 6
_FASTTEXT_MAGIC = (793712314).to_bytes(4, "little")
_CORRECT = "correct or delete the line"


def vector_width(path: str | os.PathLike[str]) -> int:
    """Numbers a word, as the first line of a file of any of the formats has it.

    Raises `UserError` if the file cannot be read, or its first line is none of vectors.
    """
    most = _LONGEST_WORD + (1 << 16)
    try:
        with cast(
            BinaryIO, gzip.open(path) if os.fspath(path).endswith(".gz") else open(path, "rb")
        ) as file:
            fields = file.readline(most).split()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read ({reason}); give a file of word vectors") from None
    if len(fields) == 2 and all(field.isdigit() for field in fields):
        return int(fields[1])
    if len(fields) < 3 or not _is_number(fields[-1]):
        raise UserError(
            f"{path}: its first line is neither a word with its numbers nor a header; give vectors of "
            "GloVe, word2vec or fastText"
        )
    return len(fields) - 1


class VectorBlock(NamedTuple):
    """Successive words of a file, `words[N]` and `vectors` float32[N, dim], all finite."""

    words: list[str]
    vectors: np.ndarray


class VectorFile:
    """A file of word vectors, opened by iterating over its blocks.

    Args:
        path: the file.
        dim: numbers a word.

    Attributes:
        content_hash: SHA-256 (hex) of what was read, once all of it is.
    """

    def __init__(self, path: str | os.PathLike[str], dim: int) -> None:
        if dim < 1:
            raise UserError(f"the dimension of word embeddings is {dim}; it must be at least 1")
        self._path = Path(path)
        self._dim = dim
        self._sha = hashlib.sha256()

    @property
    def content_hash(self) -> str:
        return self._sha.hexdigest()

    def __iter__(self) -> Iterator[VectorBlock]:
        """The blocks, in the order of the file.

        Raises `UserError`, naming file and line, if the file cannot be read, is empty or malformed, or its
        vectors are not finite or of another dimension.
        """
        name = self._path.name.removesuffix(".gz")
        try:
            with cast(
                BinaryIO, gzip.open(self._path) if self._compressed else open(self._path, "rb")
            ) as file:
                yield from self._binary(file) if name.endswith(".bin") else self._text(file)
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(f"{self._path}: cannot be read ({reason})") from error

    @property
    def _compressed(self) -> bool:
        return self._path.name.endswith(".gz")

    def _chunks(self, file: BinaryIO) -> Iterator[bytes]:
        while chunk := file.read(_CHUNK):
            self._sha.update(chunk)
            yield chunk

    def _text(self, file: BinaryIO) -> Iterator[VectorBlock]:
        longest = _LONGEST_WORD + self._dim * _LONGEST_NUMBER
        rest, number, announced = b"", 0, None
        for chunk in self._chunks(file):
            # Only \n ends a line: words may hold other characters that end lines.
            *lines, rest = (rest + chunk).split(b"\n")
            if lines and not number:
                announced, lines, number = self._without_header(lines)
            if len(rest) > longest:
                self._refuse(
                    number + len(lines) + 1,
                    f"no line of a word and {self._dim} numbers is so long; give a text file, or "
                    "name a binary one of word2vec `.bin`",
                )
            yield self._block(lines, number)
            number += len(lines)
        if rest:
            lines = [rest]
            if not number:
                announced, lines, number = self._without_header(lines)
            yield self._block(lines, number)
            number += len(lines)
        if announced is not None and number - 1 != announced:
            raise UserError(
                f"{self._path}: its header announces {announced:,} words, and there are {number - 1:,}; copy "
                "or download the file again, or correct its first line"
            )
        if number == (announced is not None):
            raise UserError(f"{self._path}: holds no word vectors; give another file")

    def _without_header(self, lines: list[bytes]) -> tuple[int | None, list[bytes], int]:
        """The number of words that a header announces, the lines after it, and how many those before are."""
        fields = lines[0].split()
        if self._dim == 1 or len(fields) != 2 or not all(field.isdigit() for field in fields):
            return None, lines, 0
        self._check_dim(int(fields[1]))
        return int(fields[0]), lines[1:], 1

    def _check_dim(self, found: int) -> None:
        if found != self._dim:
            self._refuse(
                1,
                f"the file's vectors have {found} numbers, the model's {self._dim}; give another file, or "
                "the model this dimension",
            )

    def _block(self, lines: list[bytes], before: int) -> VectorBlock:
        """Parses lines, of which there are `before` before them in the file."""
        split = [self._fields(line, before + place) for place, line in enumerate(lines, start=1)]
        try:
            words = b"\n".join([word for word, _ in split]).decode().split("\n")[: len(split)]
        except UnicodeDecodeError:
            self._decode_each([word for word, _ in split], before)
        vectors = parse_decimals(
            b" ".join([numbers for _, numbers in split]), len(split) * self._dim
        )
        if vectors is None or not np.isfinite(vectors).all():
            vectors = np.array(
                [self._vector(each, before + i) for i, (_, each) in enumerate(split, 1)]
            )
        return VectorBlock(
            words, vectors.reshape(len(split), self._dim).astype(np.float32, copy=False)
        )

    def _fields(self, line: bytes, number: int) -> tuple[bytes, bytes]:
        """A line's word, and its numbers, between which there are single blanks."""
        line = line.rstrip(b"\r ")
        word, _, numbers = line.partition(b" ")
        if numbers.count(b" ") != self._dim - 1 or not numbers or not word:
            word, *fields = line.rsplit(b" ", self._dim)
            # A number left over in front means that the file has more dimensions than asked for.
            extra = word.rpartition(b" ")[2] if b" " in word else b""
            if len(fields) != self._dim or not all(fields) or (extra and _is_number(extra)):
                found = max(len(line.split()) - 1, 0)
                self._refuse(
                    number,
                    f"expected a word and {self._dim} numbers, found {found} fields after the word; correct "
                    "the line, or give the model the dimension that the file has",
                )
            if not word:
                self._refuse(number, f"there is no word before the numbers; {_CORRECT}")
            numbers = b" ".join(fields)
        return word, numbers

    def _vector(self, numbers: bytes, line: int) -> list[float]:
        fields = numbers.split(b" ")
        for field in fields:
            if not _is_number(field):
                self._refuse(
                    line, f"{field.decode(errors='replace')!r} is not a number; {_CORRECT}"
                )
        values = np.array([float(field) for field in fields])
        with np.errstate(over="ignore"):
            if not np.isfinite(values.astype(np.float32)).all():
                self._refuse(line, f"holds a number that is not finite in float32; {_CORRECT}")
        return cast("list[float]", values.tolist())

    def _decode_each(self, words: list[bytes], before: int) -> NoReturn:
        for line, word in enumerate(words, start=before + 1):
            try:
                word.decode()
            except UnicodeDecodeError as error:
                self._refuse(line, f"not UTF-8 ({error.reason}); convert the file to UTF-8")
        raise AssertionError("one of the words is not UTF-8")

    def _refuse(self, line: int, why: str) -> NoReturn:
        raise UserError(f"{self._path}:{line}: {why}")

    def _binary(self, file: BinaryIO) -> Iterator[VectorBlock]:
        chunks = self._chunks(file)
        data = b""
        while len(data) < _LONGEST_HEADER and (more := next(chunks, b"")):
            data += more
        if data.startswith(_FASTTEXT_MAGIC):
            raise UserError(
                f"{self._path}: a model of fastText, not word vectors; give the `.vec` file beside it"
            )
        header, newline, data = data.partition(b"\n")
        fields = header.split()
        if not newline or len(fields) != 2 or not all(field.isdigit() for field in fields):
            raise UserError(
                f"{self._path}: does not begin with a number of words and one of dimensions, as word2vec's "
                "binary files do; a text file must not be named `.bin`"
            )
        announced = int(fields[0])
        self._check_dim(int(fields[1]))
        size, number = 4 * self._dim, 0
        while number < announced:
            words, vectors, start = [], [], 0
            while number < announced:
                blank = data.find(b" ", start, start + _LONGEST_WORD)
                if blank < 0 and len(data) - start >= _LONGEST_WORD:
                    self._refuse_word(
                        number, "is longer than any; the file is damaged or of another format"
                    )
                if blank < 0 or len(data) < blank + 1 + size:
                    break
                words.append(self._word(data[start:blank].lstrip(b"\n"), number))
                vectors.append(data[blank + 1 : blank + 1 + size])
                start = blank + 1 + size
                number += 1
            block = np.frombuffer(b"".join(vectors), "<f4").reshape(-1, self._dim)
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                bad = number - len(words) + int(np.argmin(finite))
                self._refuse_word(bad, "has a number that is not finite; make the file again")
            yield VectorBlock(words, block.astype(np.float32, copy=False))
            if number < announced:
                more = next(chunks, b"")
                if not more:
                    self._refuse_word(
                        number,
                        f"is not there in full, and the header announces {announced:,}; copy or "
                        "download the file again",
                    )
                data = data[start:] + more
            else:
                data = data[start:]
        if not announced:
            raise UserError(f"{self._path}: holds no word vectors; give another file")
        if data.strip() or any(chunk.strip() for chunk in chunks):
            raise UserError(
                f"{self._path}: goes on after the {announced:,} words that its header announces; copy or "
                "download the file again"
            )

    def _word(self, word: bytes, number: int) -> str:
        if not word:
            self._refuse_word(number, "is empty; make the file again")
        try:
            return word.decode()
        except UnicodeDecodeError as error:
            self._refuse_word(number, f"is not UTF-8 ({error.reason}); convert the file to UTF-8")

    def _refuse_word(self, number: int, why: str) -> NoReturn:
        raise UserError(f"{self._path}: word {number + 1} {why}")


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return b"_" not in field  # as Python's literals have
