"""SenT′: a sentence's words and tags as the ids an encoder–decoder reads and writes.

Farina et al. 2023 (arXiv 2302.05454), with an end-of-sequence after the last sentinel as T5 is
trained to write. Each word and each tag's text is tokenised alone and put between sentinel *ids*;
no string holding `<extra_id_n>` is ever tokenised.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from distill_jax.errors import UserError
from distill_jax.sent.pieces import TruncatedWord, WordPieces
from distill_jax.tagging.labels import LabelSet
from distill_jax.vocab import SENTINEL_PATTERN, Vocabulary
from distill_jax_runtime.windows import SEQUENCE_OVERHEAD, WORD_OVERHEAD

_O, _I = 0, 1  # the first two tags of every sBIO tag set


class Malformation(StrEnum):
    """What can be wrong with a target that a model generated freely."""

    NO_END = "no_end"  # no end-of-sequence
    MISSING_START = "missing_start"  # does not begin with the first sentinel
    WRONG_SENTINEL = "wrong_sentinel"  # a sentinel other than the next in order
    UNKNOWN_TAG = "unknown_tag"  # tokens between two sentinels that are no tag's
    EMPTY_TAG = "empty_tag"  # nothing between two sentinels
    UNCLOSED_TAG = "unclosed_tag"  # tokens after the last sentinel
    ILLEGAL_TAG = "illegal_tag"  # `I` at the start or after `O`
    WORD_COUNT = "word_count"  # not as many tags as the sentence has words


class Problem(NamedTuple):
    """One malformation; `position` is the index in the ids where it was noticed."""

    kind: Malformation
    position: int


@dataclass(frozen=True)
class ParsedTarget:
    """A generated target, read.

    Attributes:
        tags: one sBIO tag per word, or None unless the target reads `s₀ t₁ s₁ … t_L s_L`
            throughout. (They may still be illegal, or not as many as the words: see `problems`.)
        problems: everything that is wrong, in order of position; empty for a good target.
    """

    tags: list[str] | None
    problems: tuple[Problem, ...]


class SenTFormat:
    """Writes sentences in the SenT′ format for one vocabulary and one label set.

    A student may write each tag as one token instead of its text (`single_token_tags`), which makes
    its targets, and the trie, as small as can be. The tokens mean nothing to a pre-trained model;
    it has to learn them. They are, in sBIO order, the rows that the model has beyond the
    vocabulary (T5: 28), then sentinels from the last on, which no longer mark words.

    Attributes:
        vocabulary, labels, single_token_tags: as given.
        tag_token_ids: the token ids of each tag, in sBIO order (`O`, `I`, labels): those of its
            text, encoded alone, or its single token.
        sentinel_ids: int32, the ids of the sentinels between words, `s_0` first.
        max_words: the longest sentence the sentinels suffice for; longer ones need windows.

    Raises:
        UserError: there are fewer than two sentinels; or a tag's text encodes to nothing, looks
            like a sentinel, or encodes to the same ids as another tag's; or there are more tags
            than rows and sentinels for single tokens.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        labels: LabelSet,
        *,
        single_token_tags: bool = False,
        rows: int | None = None,
    ) -> None:
        """`rows` is the number of the model's embedding rows, for `single_token_tags` (None: no more
        than the vocabulary has ids).
        """
        self.vocabulary = vocabulary
        self.labels = labels
        self.single_token_tags = single_token_tags
        if vocabulary.num_sentinels < 2:
            raise UserError(
                f"the vocabulary has {vocabulary.num_sentinels} sentinels <extra_id_n>, and a "
                "sentence of L words needs L + 1; use a T5 vocabulary or give extra_ids"
            )
        self.sentinel_ids = vocabulary.sentinel_ids
        if single_token_tags:
            self.tag_token_ids, taken = _single_tokens(vocabulary, labels, rows)
            self.sentinel_ids = vocabulary.sentinel_ids[: vocabulary.num_sentinels - taken]
        else:
            self.tag_token_ids = _tag_token_ids(vocabulary, labels)
        self.max_words = len(self.sentinel_ids) - 1
        self._tag_of_ids = {
            ids: tag for ids, tag in zip(self.tag_token_ids, labels.tags, strict=True)
        }
        self._sentinels: list[int] = self.sentinel_ids.tolist()
        self._is_sentinel = frozenset(self._sentinels)
        self._pieces = WordPieces(vocabulary)

    def limited(self, max_tokens: int) -> Self:
        """The same format for inputs of at most so many tokens.

        A word that would not fit in one alone is cut to the first pieces that do: see `truncated_words`.
        """
        limited = copy.copy(self)
        room = max_tokens - SEQUENCE_OVERHEAD - WORD_OVERHEAD
        limited._pieces = WordPieces(self.vocabulary, room)
        return limited

    def truncated_words(self, words: Sequence[str]) -> tuple[TruncatedWord, ...]:
        """The words of which only the first pieces are read; none, unless the format is `limited`."""
        return self._pieces.truncated(words)

    def word_token_ids(self, word: str) -> tuple[int, ...]:
        """The ids of one word, encoded alone; never empty, and never holding pad, eos or a
        sentinel.

        A word that the vocabulary reduces to nothing (the empty string, blanks, zero-width and most
        control characters) is `(unk_id,)`. A word that looks like a control token (`<extra_id_5>`,
        `</s>`) is text: ordinary pieces, or `unk_id` where the vocabulary has none (see
        `distill_jax.vocab`). Blanks inside a word, and control characters that the normaliser
        takes for blanks, separate pieces as they do in text.
        """
        return self._pieces.of(word)

    def word_length(self, word: str) -> int:
        """The number of tokens of one word: the `token_length` that `windows` wants."""
        return len(self.word_token_ids(word))

    def input_length(self, words: Sequence[str]) -> int:
        """The length of `encode_input(words)`, which may exceed what the sentinels allow."""
        return _sequence_length(len(self.word_token_ids(word)) for word in words)

    def target_length(self, tag_ids: Iterable[int]) -> int:
        """The length of `encode_target(tag_ids)`."""
        return _sequence_length(len(self._tag(i)) for i in tag_ids)

    def encode_input(self, words: Sequence[str]) -> npt.NDArray[np.int32]:
        """The encoder's input `s₀ w₁ s₁ … w_L s_L </s>`: int32[input_length(words)].

        For no words it is `s₀ </s>`.

        Raises:
            UserError: there are more than `max_words` words.
        """
        self._check_length(len(words))
        return self._interleave([self.word_token_ids(word) for word in words])

    def encode_target(
        self, tag_ids: Sequence[int] | npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int32]:
        """The decoder's target `s₀ t₁ s₁ … t_L s_L </s>`: int32[target_length(tag_ids)].

        Args:
            tag_ids: int[L], indices into the sBIO tag set.

        Raises:
            UserError: there are more than `max_words` tags, or one is outside the tag set.
        """
        self._check_length(len(tag_ids))
        return self._interleave([self._tag(i) for i in tag_ids])

    def parse_target(self, ids: Iterable[int], num_words: int | None = None) -> ParsedTarget:
        """Reads what a model wrote freely, up to the first end-of-sequence.

        Args:
            ids: the generated ids, without the decoder's start token.
            num_words: the number of words of the sentence, if it is to be checked.
        """
        body = [int(i) for i in ids]
        problems: list[Problem] = []
        ended = self.vocabulary.eos_id in body
        if ended:
            body = body[: body.index(self.vocabulary.eos_id)]

        tags: list[str] = []
        segment: list[int] = []
        start = 0
        if body[:1] == self._sentinels[:1]:
            start = 1
        else:
            problems.append(Problem(Malformation.MISSING_START, 0))
        expected = 1
        for position, i in enumerate(body[start:], start):
            if i not in self._is_sentinel:
                segment.append(i)
                continue
            if expected >= len(self._sentinels) or i != self._sentinels[expected]:
                problems.append(Problem(Malformation.WRONG_SENTINEL, position))
            tag = self._tag_of_ids.get(tuple(segment))
            if not segment:
                problems.append(Problem(Malformation.EMPTY_TAG, position))
            elif tag is None:
                problems.append(Problem(Malformation.UNKNOWN_TAG, position - len(segment)))
            else:
                tags.append(tag)
            segment = []
            expected += 1
        if segment:
            problems.append(Problem(Malformation.UNCLOSED_TAG, len(body) - len(segment)))
        structured = not problems

        if not ended:
            problems.append(Problem(Malformation.NO_END, len(body)))
        if structured:
            problems += self._illegal_tags(tags)
        if structured and num_words is not None and len(tags) != num_words:
            problems.append(Problem(Malformation.WORD_COUNT, len(body)))
        problems.sort(key=lambda problem: problem.position)
        return ParsedTarget(tags if structured else None, tuple(problems))

    def _illegal_tags(self, tags: Sequence[str]) -> list[Problem]:
        o, i = self.labels.tags[_O], self.labels.tags[_I]
        illegal: list[Problem] = []
        position, previous = 1, o
        for tag in tags:
            if tag == i and previous == o:
                illegal.append(Problem(Malformation.ILLEGAL_TAG, position))
            position += len(self.tag_token_ids[self.labels.index(tag)]) + WORD_OVERHEAD
            previous = tag
        return illegal

    def _tag(self, tag_id: int) -> tuple[int, ...]:
        if not 0 <= tag_id < len(self.tag_token_ids):
            raise UserError(
                f"tag id {tag_id} is outside the tag set of {len(self.tag_token_ids)} tags; "
                "were the tags encoded with another label set?"
            )
        return self.tag_token_ids[tag_id]

    def _check_length(self, words: int) -> None:
        if words > self.max_words:
            raise UserError(
                f"a sentence of {words} words needs {words + 1} sentinels and the "
                f"{'format' if self.single_token_tags else 'vocabulary'} has "
                f"{len(self._sentinels)}; split it into windows of at most {self.max_words} words"
            )

    def _interleave(self, segments: list[tuple[int, ...]]) -> npt.NDArray[np.int32]:
        ids = [self._sentinels[0]]
        for segment, sentinel in zip(segments, self._sentinels[1:], strict=False):
            ids += segment
            ids.append(sentinel)
        ids.append(self.vocabulary.eos_id)
        return np.asarray(ids, dtype=np.int32)


def check_vocabulary_fits(vocabulary: Vocabulary, rows: int) -> None:
    """Checks that every id of `vocabulary` has a row in an embedding of `rows` rows.

    More rows than ids are usual (T5 has 32,100 ids and 32,128 rows).

    Raises:
        UserError: the model has too few rows.
    """
    if vocabulary.size > rows:
        raise UserError(
            f"the vocabulary has {vocabulary.size} ids and the model only {rows} embedding rows; "
            "use the vocabulary the model was trained with, or set the model's vocab_size to at "
            f"least {vocabulary.size}"
        )


def _sequence_length(segment_lengths: Iterable[int]) -> int:
    return SEQUENCE_OVERHEAD + sum(length + WORD_OVERHEAD for length in segment_lengths)


def _tag_token_ids(vocabulary: Vocabulary, labels: LabelSet) -> tuple[tuple[int, ...], ...]:
    tag_of_ids: dict[tuple[int, ...], str] = {}
    for tag, text in zip(labels.tags, labels.tag_texts, strict=True):
        if SENTINEL_PATTERN.search(text):
            raise UserError(f"label {tag!r}: its text {text!r} holds a sentinel; give another text")
        ids = tuple(vocabulary.encode(text))
        if not ids:
            raise UserError(
                f"label {tag!r}: the vocabulary encodes its text {text!r} to nothing; "
                "give another text"
            )
        if ids in tag_of_ids:
            raise UserError(
                f"labels {tag_of_ids[ids]!r} and {tag!r}: the vocabulary encodes both texts to the "
                f"same tokens {vocabulary.decode(ids)!r}; give one of them another text"
            )
        tag_of_ids[ids] = tag
    return tuple(tag_of_ids)


def _single_tokens(
    vocabulary: Vocabulary, labels: LabelSet, rows: int | None
) -> tuple[tuple[tuple[int, ...], ...], int]:
    """One id for each tag, and how many sentinels were taken for it."""
    spare = range(vocabulary.size, max(rows or 0, vocabulary.size))
    taken = max(0, labels.num_tags - len(spare))
    room = vocabulary.num_sentinels - 2
    if taken > room:
        raise UserError(
            f"{labels.num_tags} tags of a single token each need as many ids, and the model has "
            f"{len(spare)} rows beyond the vocabulary and {room} sentinels to spare; give the model "
            f"{labels.num_tags - room - len(spare)} more rows, or leave single_token_tags out"
        )
    sentinels = vocabulary.sentinel_ids[::-1][:taken].tolist()
    return tuple((i,) for i in [*spare, *sentinels][: labels.num_tags]), taken
