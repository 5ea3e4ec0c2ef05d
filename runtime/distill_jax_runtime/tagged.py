"""A sentence as people and programs read it: tags, spans with their scores, posteriors."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from distill_jax_runtime import views
from distill_jax_runtime.errors import UserError
from distill_jax_runtime.sentence import TextOrigin
from distill_jax_runtime.spans import Span


class TaggedSpan(NamedTuple):
    """A span: words `start` to `end` (exclusive), its label, its text and how probable it is.

    Where there is a text, `text[start_char:end_char]` is that of the span, in Unicode code points of
    the text as given; without one these are None, and the text is the words joined by blanks.
    """

    start: int
    end: int
    label: str
    text: str
    score: float | None
    """`tagging.greedy_span_score`, with a beam above 1 `tagging.beam_span_score`, of a word tagger the
    span's marginal probability; None where the decoder computes no posteriors."""
    start_char: int | None = None
    end_char: int | None = None


class TaggedSentence(NamedTuple):
    """A sentence as the tagger read it."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    """IOB2."""
    spans: tuple[TaggedSpan, ...]
    labels: tuple[str, ...]
    """The sBIO tag set, in the order of the columns below."""
    posteriors: np.ndarray | None
    """float32[words, tags]: each word's distribution over tags, given the tags before it, or (word
    taggers) given that the whole sequence is legal. None where the decoder computes none."""
    log_likelihoods: np.ndarray | None
    """float32[words, tags]: the raw scores u; -inf for tags that were illegal (or not explored)."""
    unexplored: np.ndarray | None = None
    """float32[words], of the `pruned` decoder: the most that the posteriors of the tags it did not
    look at, which stand as 0, can sum to."""
    malformed: tuple[str, ...] | None = None
    """Of the `free` decoder: what is wrong with what the model wrote; if anything, all tags are O."""
    truncated_words: tuple[int, ...] = ()
    """The words, from 0, that are too long for the model, which has read their beginning alone."""
    text: str | None = None
    """The text that was given; None where words were."""
    offsets: tuple[tuple[int, int], ...] | None = None
    """Where each word begins and ends in `text`."""
    windows: int = 1
    """In how many overlapping pieces the model read it: more than one where it is too long for one."""

    def __repr__(self) -> str:
        spans = ", ".join(
            f"{span.text!r}: {span.label}" + ("" if span.score is None else f" ({span.score:.2f})")
            for span in self.spans
        )
        return f"TaggedSentence({len(self.words)} words, [{spans}])"

    def to_hf(self) -> list[dict[str, Any]]:
        """The spans as `pipeline("token-classification", aggregation_strategy=…)` of transformers has them.

        Dictionaries of `entity_group`, `score`, `word`, `start` and `end`. Offsets count characters of the
        text, of words that were given without one those of the words joined by blanks.
        """
        return views.to_hf(*self._shown())

    def to_displacy(self) -> dict[str, Any]:
        """What `spacy.displacy.render(…, style="ent", manual=True)` takes; offsets as of `to_hf`."""
        return views.to_displacy(*self._shown())

    def to_spacy(self, doc_or_nlp: Any) -> Any:
        """A spaCy `Doc` with the spans as its entities, and with their scores.

        `doc.ents` are replaced; `doc.spans["distill_jax"]` holds the same spans, and its
        `attrs["scores"]` their scores. A span that cuts a token of spaCy is widened to whole tokens, and
        one that then shares a token with one before it is left out; a `UserWarning` says so.

        Args:
            doc_or_nlp: a `Doc` of this text, which is changed, or a `Language`, whose tokenizer makes
                one.

        Raises:
            UserError: the `Doc` is of another text.
        """
        try:
            return views.to_spacy(*self._shown(), doc_or_nlp)
        except ValueError as error:
            raise UserError(str(error)) from None

    def _repr_html_(self) -> str:
        """The text with its spans marked, for notebooks; nothing is loaded from elsewhere."""
        return views.to_html(*self._shown())

    def _shown(self) -> tuple[str, list[views.ShownSpan]]:
        """The text, or the words joined by blanks, and its spans with their places in that."""
        text, offsets = self.text, self.offsets
        if text is None or offsets is None:
            text = " ".join(self.words)
            ends = list(itertools.accumulate(len(word) + 1 for word in self.words))
            offsets = tuple(
                (end - len(word) - 1, end - 1) for word, end in zip(self.words, ends, strict=True)
            )
        return text, [
            views.ShownSpan(
                offsets[span.start][0], offsets[span.end - 1][1], span.label, span.score
            )
            for span in self.spans
        ]

    def to_json(self, *, posteriors: bool = False, top_k: int | None = None) -> dict[str, Any]:
        """The object that `distill-jax predict` writes; `null` stands for -inf.

        `start_char` and `end_char` of spans are there where there is a text, `truncated_words` where
        there are some, `windows` where the sentence was read in several.

        Args:
            posteriors: with `labels`, `posteriors`, `log_likelihoods` and, of the `pruned` decoder,
                `unexplored`.
            top_k: with `top_k`, for each word the so many most probable tags, best first, as pairs
                of tag and posterior (those of posterior 0 left out), and `tail`, the mass of all
                others.

        Raises:
            UserError: posteriors are asked for and there are none.
        """
        result: dict[str, Any] = {
            "words": list(self.words),
            "tags": list(self.tags),
            "spans": [
                {name: value for name, value in span._asdict().items() if name not in _CHARACTERS}
                if self.text is None
                else span._asdict()
                for span in self.spans
            ],
        }
        if self.malformed is not None:
            result["malformed"] = list(self.malformed)
        if self.truncated_words:
            result["truncated_words"] = list(self.truncated_words)
        if self.windows > 1:
            result["windows"] = self.windows
        if not posteriors and top_k is None:
            return result
        if self.posteriors is None or self.log_likelihoods is None:
            raise UserError("the decoder computes no posteriors; use sentscore or pruned")
        if posteriors:
            result["labels"] = list(self.labels)
            result["posteriors"] = self.posteriors.tolist()
            result["log_likelihoods"] = [
                [value if np.isfinite(value) else None for value in row]
                for row in self.log_likelihoods.tolist()
            ]
            if self.unexplored is not None:
                result["unexplored"] = self.unexplored.tolist()
        if top_k is not None:
            result |= self._top(self.posteriors, top_k)
        return result

    def _top(self, posteriors: np.ndarray, top_k: int) -> dict[str, Any]:
        order = np.argsort(-posteriors, axis=-1, kind="stable")
        best, others = order[:, :top_k], order[:, top_k:]
        tail = np.take_along_axis(posteriors, others, axis=-1).sum(axis=-1, dtype=np.float64)
        if self.unexplored is not None:
            tail = tail + self.unexplored
        return {
            "top_k": [
                [[self.labels[tag], float(row[tag])] for tag in tags if row[tag] > 0]
                for tags, row in zip(best, posteriors, strict=True)
            ],
            "tail": tail.tolist(),
        }


_CHARACTERS = ("start_char", "end_char")


def written_span(
    span: Span, score: float | None, words: Sequence[str], origin: TextOrigin | None
) -> TaggedSpan:
    """A span of words with its text: that of the words' origin, or if they have none theirs."""
    start, end, label = span
    if origin is None:
        return TaggedSpan(start, end, label, " ".join(words[start:end]), score)
    first, last = origin.offsets[start][0], origin.offsets[end - 1][1]
    return TaggedSpan(start, end, label, origin.text[first:last], score, first, last)
