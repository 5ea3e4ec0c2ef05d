"""A model directory, read while somebody may be replacing it; and its programs, compiled beforehand."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from distill_jax.errors import UserError
from distill_jax.files import sha256_file, sha256_json
from distill_jax_runtime.text import TextWords

_ATTEMPTS, _PAUSE = 3, 0.1


class Tagged(Protocol):
    """A sentence as `TaggedSentence` has it."""

    @property
    def tags(self) -> Sequence[str]:
        """IOB2."""

    @property
    def spans(self) -> Sequence[Any]:
        """Each with `start` and `end` in words, `label` and `score`."""

    @property
    def labels(self) -> Sequence[str]:
        """The sBIO tags, in the order of the posteriors' columns."""

    @property
    def posteriors(self) -> np.ndarray | None:
        """float32[words, tags]."""


class ServedTagger(Protocol):
    """What can be served: `distill_jax.Tagger`, an exported one, and whatever else tags lists of words.

    If it has `warm_up` as a `Tagger` does, its programs are compiled before it answers.
    """

    @property
    def labels(self) -> Any:
        """A `LabelSet`, or the sBIO tags."""

    def predict(self, sentences: Sequence[Sequence[str]]) -> Sequence[Tagged]:
        """One answer a sentence, in order; called by one thread at a time."""


Loader = Callable[[Path], ServedTagger]
Fingerprint = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class LoadedModel:
    """A tagger, and which files it was made of."""

    tagger: ServedTagger
    version: str
    """The first characters of the SHA-256 over its files, the card left out."""
    fingerprint: Fingerprint
    text_words: TextWords
    """How it splits a text into words."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of their ids."""
        labels = self.tagger.labels
        return tuple(getattr(labels, "names", None) or labels[2:])  # O and I come first


def fingerprint(directory: Path) -> Fingerprint:
    """The files of a directory with what changes when one is replaced; raises `UserError` without one."""
    try:
        found = []
        for path in sorted(directory.iterdir()):
            if path.is_file():
                facts = path.stat()
                found.append((path.name, facts.st_ino, facts.st_size, facts.st_mtime_ns))
    except OSError as error:
        raise UserError(
            f"{directory}: cannot be read ({error.strerror}); give a model directory"
        ) from None
    return tuple(found)


def _version(directory: Path) -> str:
    files = [path for path in sorted(directory.iterdir()) if path.is_file()]
    return sha256_json(
        {path.name: sha256_file(path) for path in files if path.name != "README.md"}
    )[:12]


def load(directory: Path, loader: Loader) -> LoadedModel:
    """Loads a model, whose files stayed the same meanwhile; tried again where they did not.

    Raises `UserError` if it is no model, is damaged, or is still being replaced.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE)
        last = attempt == _ATTEMPTS - 1
        before: Fingerprint = ()
        try:
            before = fingerprint(directory)
            tagger = loader(directory)
            version = _version(directory)
            if fingerprint(directory) == before:
                words: TextWords = getattr(
                    getattr(tagger, "settings", None), "text_words", "blanks"
                )
                return LoadedModel(tagger, version, before, words)
        except (UserError, OSError):
            # Between two renames the directory is not there, and halves of two models do not fit.
            if last or (os.path.isdir(directory) and fingerprint(directory) == before):
                raise
    raise UserError(f"{directory}: changes while it is read; put a new model there by one rename")


def warm_up(
    tagger: ServedTagger, size: int, most_words: int, stopped: Callable[[], bool]
) -> int | None:
    """Compiles the programs of every batch of up to `size` sentences of up to `most_words` words.

    Shapes also go by subwords where a model has them: those of words of one subword each, of every
    length, are compiled.

    Args:
        tagger: nothing is compiled if it has no `warm_up`.
        size: the most sentences of a batch.
        most_words: the most words of a sentence.
        stopped: asked between two programs; if it says so, the rest is left out.

    Returns the number of programs; None if it was stopped.
    """
    compiler: Callable[[Sequence[Sequence[str]]], int] | None = getattr(tagger, "warm_up", None)
    if compiler is None:
        return 0
    rows = [1 << power for power in range(size.bit_length()) if 1 << power < size] + [size]
    lengths = [*range(4, min(most_words, 128), 4), *range(128, most_words, 16), most_words]
    programs = 0
    for length in lengths:
        for row in rows:
            if stopped():
                return None
            programs += compiler([("a",) * length] * row)
    return programs
