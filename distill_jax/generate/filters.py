"""What is kept of what was drawn: each filter has a switch, and each rejected sample one reason.

Sentences are compared as their words, without case and in Unicode's form NFKC; near duplicates as the bag of
their words, punctuation left out and every digit as 0. What has been seen is kept as hashes of 128 bits
(`labels.pool.SeenHashes`), 16 bytes a sentence and comparison.
"""

import dataclasses
import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, get_args

import numpy as np

from distill_jax.errors import UserError
from distill_jax.generate.sources import Drawn
from distill_jax.labels.pool import SeenHashes

Reason = Literal[
    "unfinished", "malformed", "length", "perplexity", "gold", "duplicate", "near_duplicate"
]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""In the order in which they are asked: the first that holds is the sample's."""

_DIGIT = re.compile(r"\d")


@dataclasses.dataclass(frozen=True)
class FilterSettings:
    """Which samples are rejected.

    Attributes:
        unfinished: those that were cut off, or have no words.
        malformed: those whose own tags are none: an unknown label, or one of no words.
        length: the least and the most words (None: any).
        perplexity: the least and the largest perplexity of a token under the generator, exp(-mean
            log-probability), where a source knows it (None: any).
        gold: copies of gold sentences.
        duplicate: those that occur before among the accepted.
        near_duplicate: those that one accepted before has the same bag of words as.

    Raises:
        UserError: a band that holds nothing.
    """

    unfinished: bool = True
    malformed: bool = True
    length: tuple[int, int] | None = None
    perplexity: tuple[float, float] | None = None
    gold: bool = True
    duplicate: bool = True
    near_duplicate: bool = True

    def __post_init__(self) -> None:
        for name, band in (("length", self.length), ("perplexity", self.perplexity)):
            if band is not None and not 0 <= band[0] <= band[1]:
                raise UserError(
                    f"no {name} is between {band[0]:g} and {band[1]:g}; give the lower bound first"
                )


class Filters:
    """Judges samples in their order, and remembers those that it accepted."""

    def __init__(self, settings: FilterSettings, gold: Iterable[Sequence[str]]) -> None:
        self._settings = settings
        gold = list(gold)
        self._gold = SeenHashes()
        self._gold.add(_hashes(gold, exact))
        self._exact, self._near = SeenHashes(), SeenHashes()
        if settings.gold:
            self._near.add(_hashes(gold, near))

    def judge(self, samples: Sequence[Drawn]) -> list[Reason | None]:
        """Why each is rejected, None where it is accepted."""
        reasons: list[Reason | None] = [self._alone(sample) for sample in samples]
        left = [index for index, reason in enumerate(reasons) if reason is None]
        words = [samples[index].words for index in left]
        same, similar = _hashes(words, exact), _hashes(words, near)
        is_gold = ~self._gold.lacks(same)
        seen = {*same[~self._exact.lacks(same)].tolist()}
        seen_near = {*similar[~self._near.lacks(similar)].tolist()}
        for index, gold, one, near_one in zip(
            left, is_gold, same.tolist(), similar.tolist(), strict=True
        ):
            if self._settings.gold and gold:
                reasons[index] = "gold"
            elif self._settings.duplicate and one in seen:
                reasons[index] = "duplicate"
            elif self._settings.near_duplicate and near_one in seen_near:
                reasons[index] = "near_duplicate"
            else:
                seen.add(one)
                seen_near.add(near_one)
        # Those alone: a pool that goes on knows no others.
        accepted = [reasons[index] is None for index in left]
        self._exact.add(same[accepted])
        self._near.add(similar[accepted])
        return reasons

    def remember(self, accepted: Iterable[Sequence[str]]) -> None:
        """Takes in sentences that were accepted earlier."""
        accepted = list(accepted)
        self._exact.add(_hashes(accepted, exact))
        self._near.add(_hashes(accepted, near))

    def _alone(self, sample: Drawn) -> Reason | None:
        """A reason that needs no other sentence."""
        settings = self._settings
        if settings.unfinished and not (sample.ended and sample.words):
            return "unfinished"
        if settings.malformed and not sample.well_formed:
            return "malformed"
        if settings.length and not settings.length[0] <= len(sample.words) <= settings.length[1]:
            return "length"
        value = perplexity(sample)
        band = settings.perplexity
        if band and value is not None and not band[0] <= value <= band[1]:
            return "perplexity"
        return None


def lengths_of(sentences: Iterable[Sequence[str]]) -> tuple[int, int]:
    """The words of the shortest and of the longest sentence that has any. ValueError if there is none."""
    lengths = [len(words) for words in sentences if words]
    return min(lengths), max(lengths)


def perplexity(sample: Drawn) -> float | None:
    """Of a token under the generator; None where the source does not know."""
    if sample.log_probability is None or not sample.tokens:
        return None
    return math.exp(-sample.log_probability / sample.tokens)


def exact(words: Sequence[str]) -> str:
    """What duplicates have in common."""
    return unicodedata.normalize("NFKC", " ".join(words)).casefold()


def near(words: Sequence[str]) -> str:
    """What near duplicates have in common."""
    kept = (
        _DIGIT.sub("0", word)
        for word in exact(words).split()
        if any(character.isalnum() for character in word)
    )
    return " ".join(sorted(kept))


def _hashes(sentences: Sequence[Sequence[str]], key: Callable[[Sequence[str]], str]) -> np.ndarray:
    """S16[n]."""
    digests = [
        hashlib.blake2b(key(words).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        for words in sentences
    ]
    return np.array(digests, "S16")
