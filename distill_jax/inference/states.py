"""A model's hidden states of words, for sentences of any number and length."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from distill_jax.data.distillation import bucket_of
from distill_jax.data.teacher_readers import TeacherReader
from distill_jax.integers import round_up

_TOKENS = 16
"""Tokens are padded to a multiple of this, so that there are few shapes, and few compiles."""

Shape = tuple[int, ...]


class WordStates:
    """Computes the states of chosen layers, batch by batch.

    Args:
        states: (parameters, batch) → float[B, L, D] of each layer, as `distill.online.Teacher.states`.
        params: of the model.
        reader: how it reads sentences; those that it cannot read at once are read in parts.
        layers: which of the states.
        batch_size: sentences.
    """

    def __init__(
        self,
        states: Callable[[Any, Any], Sequence[jax.Array]],
        params: Any,
        reader: TeacherReader,
        layers: Sequence[int],
        batch_size: int = 32,
    ) -> None:
        self._reader, self._batch_size = reader, batch_size
        self._params = jax.device_put(params)
        self._program = jax.jit(
            lambda params, batch: [states(params, batch)[layer] for layer in layers]
        )

    def __call__(self, sentences: Sequence[Sequence[str]]) -> list[list[np.ndarray]]:
        """For each sentence, which has words, the states of each layer, float32[L, D]."""
        parts = [
            (number, words[start:end])
            for number, words in enumerate(sentences)
            for start, end in self._reader.windows(words)
        ]
        by_shape: dict[Shape, list[int]] = {}
        for place, (_, words) in enumerate(parts):
            shape = _shape(self._reader, words, self._reader.encode(words))
            by_shape.setdefault(shape, []).append(place)
        done: dict[int, list[np.ndarray]] = {}
        for _, places in sorted(by_shape.items()):
            for start in range(0, len(places), self._batch_size):
                chosen = places[start : start + self._batch_size]
                batch = batch_of(self._reader, [parts[p][1] for p in chosen], self._batch_size)
                layers = jax.device_get(self._program(self._params, batch))
                for row, place in enumerate(chosen):
                    count = len(parts[place][1])
                    done[place] = [layer[row, :count] for layer in layers]
        found: list[list[list[np.ndarray]]] = [[] for _ in sentences]
        for place, (number, _) in enumerate(parts):
            found[number].append(done[place])
        return [
            [np.concatenate(layer) for layer in zip(*windows, strict=True)] for windows in found
        ]


def batch_of(
    reader: TeacherReader, sentences: Sequence[Sequence[str]], batch_size: int
) -> dict[str, np.ndarray]:
    """The batch that a teacher reads, of sentences of one shape; rows behind them are empty."""
    encoded = [reader.encode(words) for words in sentences]
    length, *widths = _shape(reader, sentences[0], encoded[0])
    batch = {
        "tags": np.zeros((batch_size, length), np.int32),
        "num_words": np.zeros(batch_size, np.int32),
    }
    batch["num_words"][: len(sentences)] = [len(words) for words in sentences]
    for width, (name, feature) in zip(widths, reader.features.items(), strict=True):
        inner = encoded[0][name].shape[1:]
        batch[name] = np.full((batch_size, width, *inner), feature.padding, np.int32)
        for row, arrays in zip(batch[name], encoded, strict=False):
            row[: len(arrays[name])] = arrays[name]
    return batch


def _shape(reader: TeacherReader, words: Sequence[str], arrays: dict[str, np.ndarray]) -> Shape:
    length = bucket_of(len(words))
    widths = (
        length if feature.of_words else round_up(len(arrays[name]), _TOKENS)
        for name, feature in reader.features.items()
    )
    return (length, *widths)
