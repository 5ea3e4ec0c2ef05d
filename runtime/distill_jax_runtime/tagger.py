"""Tags sentences with an exported model: `Tagger.load`, `predict`, `pipe`."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill_jax_runtime.directory import Settings, read_settings
from distill_jax_runtime.errors import UserError
from distill_jax_runtime.inputs import Input, as_sentence, batch_by_batch, check_many, checked_size
from distill_jax_runtime.legal import constrained_tags
from distill_jax_runtime.loading import open_scores
from distill_jax_runtime.marginals import LegalMarginals
from distill_jax_runtime.pieces import TruncatedWord
from distill_jax_runtime.scores import Scores
from distill_jax_runtime.sentence import Sentence
from distill_jax_runtime.spans import Span, iob2_from_spans, spans_from_sbio
from distill_jax_runtime.tagged import TaggedSentence, written_span


class Tagger:
    """A tagger under onnxruntime, with the numbers of the model that was exported.

    Threads may share one. In a child of `os.fork()` it goes on as before, if it has one thread; a
    pickled one is loaded again from its directory.
    """

    def __init__(
        self, directory: Path, settings: Settings, scores: Scores, *, batch_size: int, threads: int
    ) -> None:
        """Use `load`."""
        self.settings = settings
        self.labels: tuple[str, ...] = settings.tags
        """The sBIO tags, in the order of the columns of posteriors."""
        self._directory = directory
        self._scores = scores
        self._batch_size = batch_size
        self._threads = threads

    @classmethod
    def load(
        cls,
        directory: str | os.PathLike[str],
        *,
        batch_size: int = 32,
        threads: int = 1,
        mapped: bool = False,
    ) -> "Tagger":
        """Loads what `distill-jax export --to onnx` wrote.

        Args:
            directory: with `model.onnx`.
            batch_size: the most sentences that go through the model together.
            threads: of one call; several processes or threads with one each do more together.
            mapped: leave large tables of vectors in their file, of which those parts are read that sentences
                need: for a process that ends soon, or many that share them. The directory must
                not change meanwhile; without, it may.

        Raises:
            UserError: in one line, if the directory is not an export, is damaged, or its parts do not
                belong together.
        """
        checked_size(batch_size, batch_size)
        if not isinstance(threads, int) or threads < 1:
            raise UserError(f"threads is {threads!r}; give a number from 1")
        directory = Path(directory)
        settings = read_settings(directory)
        scores = open_scores(directory, settings, batch_size, threads, mapped)
        return cls(directory, settings, scores, batch_size=batch_size, threads=threads)

    def __reduce__(self) -> tuple[Callable[..., "Tagger"], tuple[Path, int, int]]:
        return _load, (self._directory.absolute(), self._batch_size, self._threads)

    def predict(
        self,
        sentences: Sequence[Input],
        progress: Callable[[int], None] | None = None,
    ) -> list[TaggedSentence]:
        """Tags sentences: lists of words, or texts, which become words as the model was trained.

        Args:
            sentences: of any length; order is kept.
            progress: told the number of sentences just finished.

        Raises:
            UserError: for a word that is no string or empty, or a text where the model takes words alone.
        """
        check_many(sentences, "predict takes a list of sentences")
        rule = self.settings.text_words
        read = [as_sentence(sentence, number, rule) for number, sentence in enumerate(sentences)]
        results: list[TaggedSentence | None] = [None] * len(read)
        order = sorted(range(len(read)), key=lambda n: len(read[n].words))
        for start in range(0, len(order), self._batch_size):
            members = order[start : start + self._batch_size]
            for n, tagged in zip(members, self._tag([read[n] for n in members]), strict=True):
                results[n] = tagged
            if progress is not None:
                progress(len(members))
        return [tagged for tagged in results if tagged is not None]

    def pipe(
        self, sentences: Iterable[Input], batch_size: int | None = None
    ) -> Iterator[TaggedSentence]:
        """As `predict`, for any number of sentences: they are read and tagged `batch_size` at a time.

        No more than those are held, each answer comes before the next batch is read, and order is kept. A
        large `batch_size` is faster, since sentences of like lengths go through the model together; None:
        that of the tagger.

        Raises:
            TypeError: on the call: `sentences` is one string.
            UserError: on the call for a `batch_size` that is none; while iterating as `predict` does, with
                the sentence's number from 0, after the answers for all sentences before it.
        """
        check_many(sentences, "pipe takes many sentences")
        size = checked_size(batch_size, self._batch_size)
        return batch_by_batch(sentences, size, self.settings.text_words, self.predict)

    def needs_windows(self, words: Sequence[str]) -> bool:
        """Whether a sentence is too long to be read in one piece; of a BiLSTM none is."""
        return self._scores.windows(words) > 1

    def truncated_words(self, words: Sequence[str]) -> tuple[TruncatedWord, ...]:
        """The words that are too long for the model, which reads their beginning alone.

        A BiLSTM has none: of a long word it reads the ends, as in training.
        """
        return self._scores.truncated(words)

    def warm_up(self, sentences: Sequence[Sequence[str]]) -> int:
        """0, for nothing is compiled."""
        return 0

    def _tag(self, sentences: Sequence[Sentence]) -> Iterator[TaggedSentence]:
        """One batch; sentences without words come first, if there are any."""
        there = [sentence for sentence in sentences if sentence.words]
        nothing = np.zeros((0, len(self.labels)), np.float32)
        for sentence in sentences[: len(sentences) - len(there)]:
            yield self._written(sentence, [], nothing, nothing)
        if not there:
            return
        lengths = [len(sentence.words) for sentence in there]
        scores = self._scores.of([sentence.words for sentence in there])
        try:
            tag_ids = constrained_tags(scores, lengths).tolist()
        except ValueError:
            raise UserError(
                f"{self._directory}: the model's scores are not numbers (NaN), so it is damaged; "
                "export it anew"
            ) from None
        # The quotient by a scalar of 64 bits has such.
        marginals = LegalMarginals(scores / np.float64(self.settings.temperature), lengths)
        posteriors = marginals.tags()
        end = 0
        for sentence in there:
            start, end = end, end + len(sentence.words)
            spans = self._probable(tag_ids[start:end], marginals, start)
            yield self._written(sentence, spans, posteriors[start:end], scores[start:end])

    def _probable(
        self, tag_ids: list[int], marginals: LegalMarginals, first: int
    ) -> list[tuple[Span, float]]:
        """The spans of a sentence, whose first word is the marginals' `first`, that are probable enough,
        with their scores."""
        thresholds = self.settings.thresholds
        found = [
            (span, marginals.span(first + span.start, first + span.end, tag_ids[span.start]))
            for span in spans_from_sbio([self.labels[tag] for tag in tag_ids])
        ]
        if not thresholds:
            return found
        return [(span, score) for span, score in found if score >= thresholds.get(span.label, 0.0)]

    def _written(
        self,
        sentence: Sentence,
        spans: Sequence[tuple[Span, float]],
        posteriors: NDArray[np.float32],
        scores: NDArray[np.float32],
    ) -> TaggedSentence:
        words, origin = sentence.words, sentence.origin
        return TaggedSentence(
            words,
            tuple(iob2_from_spans([span for span, _ in spans], len(words))),
            tuple([written_span(span, score, words, origin) for span, score in spans]),
            self.labels,
            posteriors,
            scores,
            truncated_words=tuple([word.position for word in self.truncated_words(words)]),
            text=None if origin is None else origin.text,
            offsets=None if origin is None else origin.offsets,
            windows=self._scores.windows(words),
        )


def _load(directory: Path, batch_size: int, threads: int) -> Tagger:
    return Tagger.load(directory, batch_size=batch_size, threads=threads)
