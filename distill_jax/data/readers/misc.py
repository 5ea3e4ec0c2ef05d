"""The column MISC of CoNLL-U: `SpaceAfter=No|name=B-PER`."""

import re

from distill_jax.data.readers.tags import is_tag_shaped

ENTITY_KEYS = ("NER=", "NE=", "name=")
"""Under which tags are read, whatever their case."""

_KEYS = ("ner", "ne", "name")
_NO_SPACE = ("SpaceAfter=No", "NoSpaceAfter")  # the second in HIPE
_ANNOTATION = re.compile(r"(?i)(?:named?_?entity|entity|entities|mention|ne_?type|ner_?tag)")


def has_no_space_after(misc: str) -> bool:
    """Whether no blank follows the word."""
    return any(entry in _NO_SPACE for entry in misc.split("|"))


def entity_tag(misc: str) -> tuple[str | None, str | None]:
    """The tag of a word, and, without one, an entry that may annotate entities in another way."""
    other = None
    for entry in misc.split("|"):
        key, equals, value = entry.partition("=")
        if equals and key.strip().lower() in _KEYS:
            return value, None
        is_tag = len(value) > 1 and is_tag_shaped(value)
        if equals and (is_tag or _ANNOTATION.fullmatch(key.strip())):
            other = other or entry
    return None, other
