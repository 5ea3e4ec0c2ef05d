"""Sentences written together with their tags: SenT′ turned round, words and tags interleaved.

DAGA (Ding et al. 2020, arXiv 2011.01549) puts each tag before its word as a token of its own and trains a
language model on that. Here, as SenT′ does, sentinels stand between, and labels are written as their texts:

    s_0 play s_1 track s_2 wow s_3 by s_4 artist s_5 jon theodore s_6 </s>

context, label, mention, context, … where only a context may be empty. Why so and not as DAGA: no token is
added, so any T5's vocabulary does, and what a label's text means is known to one that was pre-trained;
sentinels come in their order, as in span corruption, so the sampler need only allow the next one, and the
end after a context; a label stands once a mention, so targets are short. And why not the tags first, for the
encoder to read: then no new combination of labels would ever be written. What may go wrong is a text that is
no label's, or a mention without words: such a sample is malformed. Tags are legal by construction.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from distill_jax.configuration import setting
from distill_jax.data.seq2seq import Pair
from distill_jax.errors import UserError
from distill_jax.generate.prompt import Prompt, Reader, Reading, as_words
from distill_jax.generate.sampler import PERIOD, TAGGED
from distill_jax.tagging import Sentence
from distill_jax.tagging.labels import default_text
from distill_jax.vocab import Vocabulary
from distill_jax_runtime.spans import Span, iob2_from_spans, spans_from_iob2


@dataclasses.dataclass(frozen=True)
class LabelledWriter:
    """Sentences with tags, from a prompt that is the same for all.

    Attributes:
        prompt_text: what the encoder reads.

    Raises:
        UserError: the prompt is empty.
    """

    kind: ClassVar[str] = "labelled"
    prompt_text: str = setting("write a tagged sentence", macro="PROMPT")

    def __post_init__(self) -> None:
        if not self.prompt_text.strip():
            raise UserError("PROMPT is empty; give the encoder something to read")

    def examples(self, sentences: Sequence[Sentence], vocabulary: Vocabulary) -> list[Pair]:
        """See `Writer.examples`.

        Raises `UserError` if a sentence has no tags or more mentions than there are sentinels for, or two
        labels read alike.
        """
        _labels(sentences, vocabulary)
        return [
            (self._inputs(vocabulary), _target(sentence, vocabulary))
            for sentence in sentences
            if sentence.words
        ]

    def prompt(
        self, gold: Sequence[Sentence], vocabulary: Vocabulary, number: int, seed: int
    ) -> Prompt:
        """See `Writer.prompt`."""
        return Prompt(self._inputs(vocabulary), TAGGED)

    def reader(self, gold: Sequence[Sentence], vocabulary: Vocabulary) -> Reader:
        """See `Writer.reader`; labels are those of the gold sentences. Raises `UserError` as `examples`."""
        labels = _labels(gold, vocabulary)
        return lambda prompt, tokens: read_tagged(tokens, vocabulary, labels)

    def _inputs(self, vocabulary: Vocabulary) -> np.ndarray:
        return np.array([*vocabulary.encode(self.prompt_text), vocabulary.eos_id], np.int32)


def usable_sentinels(vocabulary: Vocabulary) -> int:
    """How many sentinels a target may have: behind the last of them a context begins.

    Raises `UserError` if the vocabulary has too few for a mention.
    """
    most = (vocabulary.num_sentinels - 1) // PERIOD * PERIOD + 1
    if most <= PERIOD:
        raise UserError(
            f"the vocabulary has {vocabulary.num_sentinels} sentinels <extra_id_n>, and writing tags needs "
            f"at least {PERIOD + 1}; use a T5 that was pre-trained with them"
        )
    return most


def read_tagged(
    tokens: Sequence[int], vocabulary: Vocabulary, labels: Mapping[str, str]
) -> Reading:
    """Words and tags of a target; `labels` are label names by their texts.

    Of a malformed one the words of contexts and mentions, without tags.
    """
    parts: list[list[int]] = []
    for token in map(int, tokens):
        if vocabulary.is_sentinel(token):
            parts.append([])
        elif parts:
            parts[-1].append(token)
    words: list[str] = []
    spans: list[Span] = []
    well_formed = len(parts) % PERIOD == 1
    label: str | None = None
    for place, part in enumerate(parts):
        written = as_words(vocabulary.decode(part))
        if place % PERIOD == 1:
            label = labels.get(" ".join(written))
            continue
        if place % PERIOD == 2:
            if label is None or not written:
                well_formed = False
            else:
                spans.append(Span(len(words), len(words) + len(written), label))
        words += written
    tags = tuple(iob2_from_spans(spans, len(words))) if well_formed else None
    return Reading(tuple(words), tags, well_formed)


def _target(sentence: Sentence, vocabulary: Vocabulary) -> np.ndarray:
    parts: list[str] = []
    end = 0
    for span in sorted(spans_from_iob2(sentence.tags or ()), key=lambda span: span.start):
        context, mention = sentence.words[end : span.start], sentence.words[span.start : span.end]
        parts += [" ".join(context), default_text(span.label), " ".join(mention)]
        end = span.end
    parts.append(" ".join(sentence.words[end:]))
    if len(parts) > usable_sentinels(vocabulary):
        raise UserError(
            f"the sentence '{' '.join(sentence.words[:8])}…' has {len(parts) // PERIOD} mentions, and the "
            f"vocabulary's {vocabulary.num_sentinels} sentinels are enough for "
            f"{usable_sentinels(vocabulary) // PERIOD}; leave it out"
        )
    ids: list[int] = []
    for sentinel, part in zip(vocabulary.sentinel_ids, parts, strict=False):
        ids += [int(sentinel), *vocabulary.encode(part)]
    return np.array([*ids, vocabulary.eos_id], np.int32)


def _labels(sentences: Sequence[Sentence], vocabulary: Vocabulary) -> dict[str, str]:
    """Names of labels by their texts, as these are read where they were written."""
    labels: dict[str, str] = {}
    for number, sentence in enumerate(sentences, 1):
        if sentence.tags is None:
            raise UserError(
                f"gold sentence {number} ({' '.join(sentence.words[:8])}…) has no tags; to write tags is "
                "learnt from sentences that have some"
            )
        for span in spans_from_iob2(sentence.tags):
            text = " ".join(
                as_words(vocabulary.decode(vocabulary.encode(default_text(span.label))))
            )
            other = labels.setdefault(text, span.label)
            if other != span.label:
                raise UserError(
                    f"the labels {other!r} and {span.label!r} both read {text!r} in this vocabulary; rename "
                    "one of them"
                )
    if not labels:
        raise UserError("the gold sentences have no mentions, so no tags to write; give some")
    return labels
