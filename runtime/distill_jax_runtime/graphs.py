"""ONNX graphs under onnxruntime, and what a tagger of words and characters asks of them."""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from distill_jax_runtime.directory import tables_file
from distill_jax_runtime.errors import UserError
from distill_jax_runtime.word_ids import WordLookup

_KEPT_WORDS = 1 << 16
"""Spellings that are kept: with vectors of 50 numbers 13 MB, if a text has so many different words."""
_KEPT_CHARACTERS = 1 << 22
"""Of all words that are kept: a server is sent what it is sent."""


def open_graph(
    path: Path, threads: int = 1, *, mapped: bool = False
) -> onnxruntime.InferenceSession:
    """A graph, ready to run.

    Args:
        path: of the graph; its large tables, if it has such, are in a file beside it.
        threads: of one call.
        mapped: leave the tables in their file, of which those parts are read that are needed.
            Without, they are in memory, and a file may change or go while the graph is used.

    Raises `UserError` in one line if onnxruntime refuses the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # errors, which are raised anyway
    # Between two sentences threads would wait in a loop, at the cost of whatever else runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    tables = tables_file(path)
    if not mapped and tables.is_file() and tables.stat().st_size:
        # Copied by onnxruntime while the session is made; an array of bytes in memory would be one copy more.
        content = np.memmap(tables, np.uint8, "r")
        options.add_external_initializers_from_files_in_memory(
            [tables.name], [content], [content.size]
        )
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no class in common
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path}: onnxruntime {onnxruntime.__version__} cannot load it ({reason}); export the "
            "model anew, or install a newer onnxruntime"
        ) from error


class Words:
    """Words as the graph of words reads them: their ids, and the vectors of their spellings.

    A word's vector is computed when it is first met. Threads may share one.
    """

    def __init__(
        self,
        vocabulary: WordLookup,
        spelling: onnxruntime.InferenceSession,
        max_chars: int,
        kept: int = _KEPT_WORDS,
    ) -> None:
        self._vocabulary = vocabulary
        self._spelling = spelling
        self._max_chars = max_chars
        self._kept = kept
        self._lock = threading.Lock()
        self.size = int(spelling.get_outputs()[0].shape[1])
        self._rows: dict[str, int] = {}
        self._characters = 0
        self._ids = np.zeros(256, np.int32)
        self._vectors = np.zeros((256, self.size), np.float32)

    def read(self, words: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """int32[N] and float32[N, size] of N words."""
        with self._lock:
            try:
                rows = [self._rows[word] for word in words]
            except KeyError:
                self._learn(words)
                rows = [self._rows[word] for word in words]
            return self._ids.take(rows), self._vectors.take(rows, axis=0)

    def _learn(self, words: Iterable[str]) -> None:
        new = [word for word in dict.fromkeys(words) if word not in self._rows]
        self._characters += sum(map(len, new))
        if len(self._rows) + len(new) > self._kept or self._characters > _KEPT_CHARACTERS:
            # Rare, and simpler and faster than tracking what was used last.
            self._rows.clear()
            new = list(dict.fromkeys(words))
            self._characters = sum(map(len, new))
        longest = min(max(map(len, new)), self._max_chars)
        ids, char_ids = self._vocabulary.encode(new, self._max_chars)
        (vectors,) = self._spelling.run(None, {"char_ids": char_ids[:, :longest]})
        first = len(self._rows)
        end = first + len(new)
        if end > len(self._ids):
            more = max(len(self._ids), end - len(self._ids))
            self._ids = np.pad(self._ids, (0, more))
            self._vectors = np.pad(self._vectors, ((0, more), (0, 0)))
        self._ids[first:end], self._vectors[first:end] = ids, vectors
        self._rows.update(zip(new, range(first, end), strict=True))


class WordScores:
    """The scores of sentences' tags by a BiLSTM; a `scores.Scores`."""

    def __init__(self, words: Words, graph: onnxruntime.InferenceSession) -> None:
        self._words = words
        self._graph = graph
        self.num_tags = int(graph.get_outputs()[0].shape[2])

    def of(self, sentences: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """See `scores.Scores`."""
        lengths = list(map(len, sentences))
        batch, longest = len(sentences), max(lengths)
        if batch * longest == sum(lengths):
            ids, vectors = self._words.read([word for words in sentences for word in words])
            return self._run(ids, vectors, batch).reshape(-1, self.num_tags)
        places = np.flatnonzero(np.arange(longest) < np.array(lengths)[:, None])
        ids = np.zeros(batch * longest, np.int32)
        vectors = np.zeros((batch * longest, self._words.size), np.float32)
        ids[places], vectors[places] = self._words.read(
            [word for words in sentences for word in words]
        )
        return self._run(ids, vectors, batch).reshape(-1, self.num_tags)[places]

    def windows(self, words: Sequence[str]) -> int:
        """1: a BiLSTM reads any length."""
        return 1

    def truncated(self, words: Sequence[str]) -> tuple[()]:
        """None: of a long word its ends are read, as in training."""
        return ()

    def _run(
        self, ids: NDArray[np.int32], vectors: NDArray[np.float32], batch: int
    ) -> NDArray[np.float32]:
        inputs = {
            "word_ids": ids.reshape(batch, -1),
            "spelling": vectors.reshape(batch, -1, self._words.size),
        }
        scores: NDArray[np.float32] = self._graph.run(["log_probabilities"], inputs)[0]
        return scores
