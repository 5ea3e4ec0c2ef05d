"""The one record that readers produce and everything else consumes."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from distill_jax.errors import UserError


@dataclass(frozen=True)
class Sentence:
    """A sentence split into words, with one IOB2 tag a word if it is labelled.

    Raises `UserError` if there are tags but not exactly one for every word.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.tags is not None and len(self.tags) != len(self.words):
            raise UserError(
                f"a sentence has {len(self.words)} words but {len(self.tags)} tags; "
                "give every word exactly one tag"
            )

    @cached_property
    def example_id(self) -> str:
        """SHA-256 (hex) of the words joined by U+001F: the key under which posteriors are stored.

        It leaves the tags out, so that labels do not change which sentence this is.
        """
        joined = "\x1f".join(self.words)
        return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()
