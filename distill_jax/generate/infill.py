"""Spans of gold sentences masked by sentinels and written anew, as T5's pre-training taught it.

MELM (Zhou et al. 2022, arXiv 2108.13655) masks the words of mentions and lets a masked language model
fill them in. Here spans of mentions, of what stands around them, or of both are masked, and a T5 writes
as many words as it likes: span corruption (Raffel et al. 2020, section 3.1.4) whose spans are whole words.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import numpy as np

from distill_jax.configuration import setting
from distill_jax.data.seq2seq import Pair
from distill_jax.errors import UserError
from distill_jax.generate.prompt import Prompt, Reader, read_words
from distill_jax.tagging import Sentence
from distill_jax.vocab import Vocabulary
from distill_jax_runtime.spans import spans_from_iob2

Masked = Literal["mentions", "context", "both"]
Masks = list[tuple[int, int]]
"""Spans of words, from the first to the one after the last, in order and apart from each other."""


@dataclasses.dataclass(frozen=True)
class InfillWriter:
    """Gold sentences with spans written anew.

    Attributes:
        masked: what spans are of.
        share: the probability with which each candidate is masked: a mention, or a run of context words.
        longest: words of a run of context.
        copies: examples that training makes of each sentence, with masks of their own.

    Raises:
        UserError: a value outside its range.
    """

    kind: ClassVar[str] = "infill"
    masked: Masked = setting("both", macro="MASKED")
    share: float = setting(0.5, macro="MASK_SHARE")
    longest: int = setting(3, macro="LONGEST_MASK")
    copies: int = setting(20, macro="MASK_COPIES")

    def __post_init__(self) -> None:
        if self.masked not in get_args(Masked):
            raise UserError(f"masked is {self.masked!r}; use one of {', '.join(get_args(Masked))}")
        if not 0 < self.share <= 1:
            raise UserError(f"the share of masks is {self.share}; use a probability above 0")
        for name in ("longest", "copies"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} (of masks) is {getattr(self, name)}; use at least 1")

    def examples(self, sentences: Sequence[Sentence], vocabulary: Vocabulary) -> list[Pair]:
        """See `Writer.examples`; sentences in which nothing can be masked give none."""
        return [
            pair
            for number, sentence in enumerate(sentences)
            for copy in range(self.copies)
            if (
                pair := self._example(
                    sentence, vocabulary, np.random.default_rng([0, number, copy])
                )
            )
        ]

    def can_mask(self, sentence: Sentence) -> bool:
        """Whether there is something to mask in a sentence: a mention, where these are masked alone."""
        if self.masked == "mentions":
            return any(tag != "O" for tag in sentence.tags or ())
        return bool(self._candidates(sentence, np.random.default_rng(0)))

    def prompt(
        self, gold: Sequence[Sentence], vocabulary: Vocabulary, number: int, seed: int
    ) -> Prompt:
        """See `Writer.prompt`: of gold sentence `number`, counted round and round.

        `can_mask` holds for all of them.
        """
        sentence = gold[number % len(gold)]
        masks = self.masks(sentence, np.random.default_rng([seed, number]), vocabulary)
        ends = [0, *(end for _, end in masks)]
        starts = [*(start for start, _ in masks), len(sentence.words)]
        kept = tuple(sentence.words[end:start] for end, start in zip(ends, starts, strict=True))
        return Prompt(_inputs(kept, vocabulary), len(masks), kept)

    def reader(self, gold: Sequence[Sentence], vocabulary: Vocabulary) -> Reader:
        """See `Writer.reader`."""
        return read_words(gold, vocabulary)

    def masks(self, sentence: Sentence, rng: np.random.Generator, vocabulary: Vocabulary) -> Masks:
        """Spans to mask, at least one where there is a candidate; those that touch are one."""
        candidates = self._candidates(sentence, rng)
        if not candidates:
            return []
        chosen = rng.random(len(candidates)) < self.share
        if not chosen.any():
            chosen[rng.integers(len(candidates))] = True
        masks: Masks = []
        for start, end in (span for span, is_in in zip(candidates, chosen, strict=True) if is_in):
            if masks and masks[-1][1] == start:
                masks[-1] = masks[-1][0], end
            else:
                masks.append((start, end))
        return masks[: vocabulary.num_sentinels - 1]

    def _candidates(self, sentence: Sentence, rng: np.random.Generator) -> Masks:
        mentions = sorted(
            (span.start, span.end)
            for span in spans_from_iob2(sentence.tags or ("O",) * len(sentence.words))
        )
        found = list(mentions) if self.masked != "context" else []
        if self.masked != "mentions":
            last = len(sentence.words)
            edges = [0, *(edge for mention in mentions for edge in mention), last]
            for start, end in zip(edges[::2], edges[1::2], strict=True):
                while start < end:
                    stop = min(end, start + int(rng.integers(1, self.longest + 1)))
                    found.append((start, stop))
                    start = stop
        return sorted(found)

    def _example(
        self, sentence: Sentence, vocabulary: Vocabulary, rng: np.random.Generator
    ) -> Pair | None:
        masks = self.masks(sentence, rng, vocabulary)
        if not masks:
            return None
        ends = [0, *(end for _, end in masks)]
        starts = [*(start for start, _ in masks), len(sentence.words)]
        kept = [sentence.words[end:start] for end, start in zip(ends, starts, strict=True)]
        target: list[int] = []
        for sentinel, (start, end) in zip(vocabulary.sentinel_ids, masks, strict=False):
            target += [int(sentinel), *vocabulary.encode(" ".join(sentence.words[start:end]))]
        target += [int(vocabulary.sentinel_ids[len(masks)]), vocabulary.eos_id]
        return _inputs(kept, vocabulary), np.array(target, np.int32)


def _inputs(kept: Sequence[Sequence[str]], vocabulary: Vocabulary) -> np.ndarray:
    """What is kept, sentinels between, and the end of sequence."""
    ids: list[int] = []
    for number, words in enumerate(kept):
        if number:
            ids.append(int(vocabulary.sentinel_ids[number - 1]))
        ids += vocabulary.encode(" ".join(words)) if words else []
    return np.array([*ids, vocabulary.eos_id], np.int32)
