"""A BiLSTM that starts from one of another task: the vocabulary is extended, the tag head new."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from distill_jax.errors import UserError
from distill_jax.kinds.base import Checkpoint
from distill_jax.kinds.word_vectors import NO_FROZEN_WORDS, FrozenWords
from distill_jax.models.bilstm import FROZEN_EMBEDDING, BiLSTMConfig
from distill_jax.vocab import WordVocabulary

_HEAD = "output"


@dataclasses.dataclass(frozen=True, eq=False)
class SourceBiLSTM:
    """A trained BiLSTM, read; `params` are NumPy arrays."""

    config: BiLSTMConfig
    vocabulary: WordVocabulary
    params: Mapping[str, Any]

    @classmethod
    def read(cls, checkpoint: Checkpoint, path: str) -> "SourceBiLSTM":
        """Raises `UserError` if it is no BiLSTM."""
        if not isinstance(checkpoint.config, BiLSTMConfig):
            raise UserError(
                f"{path}: a BiLSTM starts from a BiLSTM's model directory, and this is none; give one, or "
                "its embedding as TEACHER_EMBEDDING"
            )
        return cls(checkpoint.config, checkpoint.vocabulary(), checkpoint.read())

    def sized(self, model: BiLSTMConfig) -> BiLSTMConfig:
        """A configuration of this one's sizes; dropout, word dropout and dtype are those of `model`."""
        own = ("dropout", "word_dropout", "dtype")
        return self.config.replace(
            num_frozen_words=0, **{name: getattr(model, name) for name in own}
        )

    def extended(self, words: WordVocabulary) -> WordVocabulary:
        """Its words and characters with their ids, then those of another vocabulary that it lacks."""
        mine = self.vocabulary
        known, characters = set(mine.words), set(mine.characters)
        new = [word for word in words.words if word not in known]
        return WordVocabulary(
            (*mine.words, *new),
            (*mine.characters, *(char for char in words.characters if char not in characters)),
            lowercase=mine.lowercase,
        )

    @property
    def frozen(self) -> FrozenWords:
        """Its frozen words."""
        if not self.vocabulary.num_frozen_words:
            return NO_FROZEN_WORDS
        return FrozenWords(self.vocabulary.frozen_rows, self.params[FROZEN_EMBEDDING]["embedding"])

    def started(self, params: Mapping[str, Any], vocabulary: WordVocabulary) -> dict[str, Any]:
        """Parameters of the extended vocabulary with all of its own but the head.

        A new word starts from its frozen vector if it has one, and else, as new characters do, from what
        `params` have for it.
        """
        words, chars = (
            np.array(params[name]["embedding"]) for name in ("word_embedding", "char_embedding")
        )
        frozen = self.frozen
        for word_id, word in enumerate(vocabulary.words, start=len(words) - len(vocabulary.words)):
            if word in frozen.rows:
                words[word_id] = frozen.vectors[frozen.rows[word]]
        words[: self.vocabulary.num_words] = self.params["word_embedding"]["embedding"]
        chars[: self.vocabulary.num_chars] = self.params["char_embedding"]["embedding"]
        kept = {name: part for name, part in self.params.items() if name in params}
        return {
            **kept,
            _HEAD: params[_HEAD],
            "word_embedding": {"embedding": words},
            "char_embedding": {"embedding": chars},
        }
