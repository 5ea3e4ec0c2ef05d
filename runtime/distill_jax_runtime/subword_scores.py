"""What a tagger of subwords asks of its graph."""

from collections.abc import Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from distill_jax_runtime.pieces import TruncatedWord
from distill_jax_runtime.subword_vocabulary import ExportedSubwords
from distill_jax_runtime.subwords import SubwordFormat
from distill_jax_runtime.windows import Window, merge_windows


class SubwordScores:
    """The scores of sentences' tags by an encoder tagger or a BERT, window by window; a `tagger.Scores`.

    Args:
        subwords: the vocabulary, with the limits of a window.
        graph: from `tokens` and `first` to `log_probabilities`.
        batch_size: the most windows that go through the graph together.
    """

    def __init__(
        self, subwords: ExportedSubwords, graph: onnxruntime.InferenceSession, batch_size: int
    ) -> None:
        self._max_tokens, self._overlap_words = subwords.max_tokens, subwords.overlap_words
        self._format = SubwordFormat(subwords).limited(self._max_tokens)
        self._graph = graph
        self._batch_size = batch_size
        self.num_tags = int(graph.get_outputs()[0].shape[2])

    def of(self, sentences: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """See `tagger.Scores`."""
        split = [self._windows(words) for words in sentences]
        pieces = [
            self._format.encode(words[window.start : window.end])
            for words, parts in zip(sentences, split, strict=True)
            for window in parts
        ]
        scores = [np.zeros((0, self.num_tags), np.float32)] * len(pieces)
        order = sorted(range(len(pieces)), key=lambda n: len(pieces[n][0]))
        for start in range(0, len(order), self._batch_size):
            members = order[start : start + self._batch_size]
            for n, found in zip(members, self._run([pieces[n] for n in members]), strict=True):
                scores[n] = found[: len(pieces[n][1])]
        remaining = iter(scores)
        merged = [merge_windows(parts, [next(remaining) for _ in parts]) for parts in split]
        return np.concatenate(merged)

    def windows(self, words: Sequence[str]) -> int:
        """See `tagger.Scores`."""
        return len(self._windows(words))

    def truncated(self, words: Sequence[str]) -> tuple[TruncatedWord, ...]:
        """See `tagger.Scores`."""
        return self._format.truncated_words(words)

    def _windows(self, words: Sequence[str]) -> list[Window]:
        return self._format.windows(words, self._max_tokens, self._overlap_words)

    def _run(
        self, pieces: Sequence[tuple[NDArray[np.int32], NDArray[np.int32]]]
    ) -> NDArray[np.float32]:
        rows = len(pieces)
        tokens = np.full((rows, max(len(ids) for ids, _ in pieces)), self._format.pad_id, np.int32)
        first = np.full((rows, max(len(at) for _, at in pieces)), -1, np.int32)
        for row, (ids, at) in enumerate(pieces):
            tokens[row, : len(ids)], first[row, : len(at)] = ids, at
        found: NDArray[np.float32] = self._graph.run(
            ["log_probabilities"], {"tokens": tokens, "first": first}
        )[0]
        return found
