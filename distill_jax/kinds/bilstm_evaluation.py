"""Tagging the same sentences with BiLSTM students that are trained together."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from distill_jax.data.distillation import MAX_CHARS
from distill_jax.data.length_batches import batches_by_length, padded_batch_size
from distill_jax.inference import Prediction, evaluate, scalars
from distill_jax.inference.evaluation import check_labels
from distill_jax.inference.words import (
    WORD_BUCKETS,
    best_sequences,
    encode_batch,
    log_probabilities_of,
    without_words,
)
from distill_jax.integers import round_up
from distill_jax.kinds.word_vectors import NO_FROZEN_WORDS, FrozenWords
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.parallel.mesh import batch_sharding
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.train.many import map_members, members_on_mesh
from distill_jax.vocab import WordVocabulary

FROZEN_ROWS = 256
"""The frozen table of the program has a multiple of so many rows, as its embeddings have."""


class StudentEvaluation:
    """Tags the same sentences with all members of stacked parameters, in one program.

    Vocabularies are the members' own, in their order; the embeddings of the trained model hold the
    largest. Of the frozen words' vectors, which all members share, those of the sentences are on the device.
    """

    def __init__(
        self,
        trained: BiLSTMConfig,
        vocabularies: Sequence[WordVocabulary],
        frozen: FrozenWords,
        labels: LabelSet,
        sentences: Sequence[Sentence],
        mesh: Mesh,
        *,
        batch_size: int = 32,
    ) -> None:
        check_labels(labels, sentences, "the dev split")
        self._labels = labels
        self._sentences = sentences
        self._members = len(vocabularies)
        self._batches: list[tuple[np.ndarray, jax.Array, jax.Array]] = []
        frozen = frozen.of(
            {vocabularies[0].normalised(word) for sentence in sentences for word in sentence.words}
        )
        config = trained.replace(num_frozen_words=round_up(len(frozen.rows), FROZEN_ROWS))
        members = members_on_mesh(len(vocabularies), mesh)
        self._frozen: FrozenWords = NO_FROZEN_WORDS
        if frozen.rows:
            table = np.zeros((members, config.num_frozen_words, config.word_dim), np.float32)
            table[:, : len(frozen.rows)] = frozen.vectors
            placed = jax.device_put(table, batch_sharding(mesh))
            self._frozen = dataclasses.replace(frozen, vectors=placed)
        vocabularies = [vocabulary.with_frozen(frozen.rows) for vocabulary in vocabularies]
        surplus = members - len(vocabularies)
        lengths = [len(sentence.words) for sentence in sentences]
        for length, indices in batches_by_length(lengths, batch_size, WORD_BUCKETS):
            words = [sentences[index].words for index in indices]
            shape = (padded_batch_size(len(indices), batch_size), length, MAX_CHARS)
            encoded = [_encoded(each, words, shape, config.num_words) for each in vocabularies]
            nothing = encode_batch(vocabularies[0], [], shape)
            word_ids, char_ids = zip(*encoded, *[nothing] * surplus, strict=True)
            both = jax.device_put((np.stack(word_ids), np.stack(char_ids)), batch_sharding(mesh))
            self._batches.append((indices, *both))
        model = BiLSTMTagger(config)
        self._log_probabilities = jax.jit(map_members(log_probabilities_of(model), mesh))

    def predict(self, params: Any) -> list[list[Prediction]]:
        """Each member's predictions for the sentences, as `WordPredictor` makes them of one."""
        params = self._frozen.added(params)
        nothing = without_words(self._labels)
        predictions = [[nothing] * len(self._sentences) for _ in range(self._members)]
        for indices, word_ids, char_ids in self._batches:
            scores_MxBxLxK = np.asarray(self._log_probabilities(params, word_ids, char_ids))
            scores_MxBxLxK = scores_MxBxLxK[: self._members, : len(indices)]
            lengths = [len(self._sentences[index].words) for index in indices]
            # All members' sentences as one batch: a loop over the words of each would take longer.
            flat = scores_MxBxLxK.reshape(-1, *scores_MxBxLxK.shape[2:])
            best = iter(best_sequences(flat, lengths * self._members))
            for of_member in predictions:
                for index in indices:
                    of_member[index] = next(best)
        return predictions

    def score(self, params: Any) -> list[dict[str, float]]:
        """Each member's metrics; selection is by micro-F1."""
        results = (
            scalars(evaluate(self._labels, self._sentences, predictions))
            for predictions in self.predict(params)
        )
        return [{"selection": result["f1"], **result} for result in results]


def _encoded(
    vocabulary: WordVocabulary,
    sentences: Sequence[Sequence[str]],
    shape: tuple[int, int, int],
    num_words: int,
) -> tuple[np.ndarray, np.ndarray]:
    """As `encode_batch`, where the trained embedding has `num_words` rows before the frozen ones."""
    word_ids, char_ids = encode_batch(vocabulary, sentences, shape)
    word_ids[word_ids >= vocabulary.num_words] += num_words - vocabulary.num_words
    return word_ids, char_ids
