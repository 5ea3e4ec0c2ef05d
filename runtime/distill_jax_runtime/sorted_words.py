"""Many words with their numbers, in the memory that their letters take.

A dictionary of the 400,000 words of a vector file takes 50 MB and a quarter of a second each time a program
starts, which may want to look up ten of them.
"""

import bisect
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

_BREAK = b"\n"


class SortedWords(Mapping[str, int]):
    """Words in the order of their code points, numbered from 0.

    Args:
        text: the words in UTF-8, sorted, a line each; what `text` gives. It is taken at its word.
    """

    def __init__(self, text: bytes) -> None:
        self.text = text
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _BREAK[0])
        self._starts = np.concatenate([[0], ends + 1])

    @classmethod
    def of(cls, words: Iterable[str]) -> "SortedWords":
        """Of different words in any order. Raises `ValueError` for one with a line break in it."""
        lines = sorted(word.encode() for word in words)
        if any(_BREAK in line for line in lines):
            raise ValueError("a word has a line break in it")
        return cls(b"".join(line + _BREAK for line in lines))

    def __getitem__(self, word: str) -> int:
        # What is asked for may be no text that UTF-8 can hold, and is then none of the words.
        line = word.encode("utf-8", "surrogatepass")
        row = bisect.bisect_left(range(len(self)), line, key=self._line)
        if row < len(self) and self._line(row) == line:
            return row
        raise KeyError(word)

    def __iter__(self) -> Iterator[str]:
        return map(bytes.decode, self.text.split(_BREAK)[:-1])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def _line(self, row: int) -> bytes:
        return self.text[self._starts[row] : self._starts[row + 1] - 1]
