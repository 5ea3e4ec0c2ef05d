"""The one record that readers produce and everything else consumes."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from distill_jax_runtime.errors import UserError
from distill_jax_runtime.text import TextWords, words_with_offsets


class TextOrigin(NamedTuple):
    """The text that a sentence's words stand in, and where."""

    text: str
    offsets: tuple[tuple[int, int], ...]
    """Of each word its first character and the one after its last, in Unicode code points."""
    rule: TextWords | None = None
    """How the words were found in the text; None: they were given beside it."""


@dataclass(frozen=True)
class Sentence:
    """A sentence split into words, with one IOB2 tag a word if it is labelled.

    `origin`, where there is a text that the words come from, has no part in which sentence it is.

    Raises `UserError` if there are tags but not exactly one for every word.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    origin: TextOrigin | None = field(default=None, compare=False, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.tags is not None and len(self.tags) != len(self.words):
            raise UserError(
                f"a sentence has {len(self.words)} words but {len(self.tags)} tags; "
                "give every word exactly one tag"
            )

    @classmethod
    def of_text(cls, text: str, rule: TextWords) -> "Sentence":
        """The words of a text, which may be several lines. Raises `UserError` for the rule `given`."""
        try:
            words, offsets = words_with_offsets(text, rule)
        except ValueError as error:
            raise UserError(str(error)) from None
        return cls(tuple(words), origin=TextOrigin(text, tuple(offsets), rule))

    @cached_property
    def example_id(self) -> str:
        """SHA-256 (hex) of the words joined by U+001F: the key under which posteriors are stored.

        It leaves the tags out, so that labels do not change which sentence this is.
        """
        joined = "\x1f".join(self.words)
        return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()
