"""What a teacher within the step reads of a sentence: named arrays, beside those of the student."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from distill_jax.data.seq2seq import training_windows
from distill_jax.integers import round_up
from distill_jax.sent.format import SenTFormat
from distill_jax.sent.pieces import TruncatedWord
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.sent.windows import windows
from distill_jax.vocab import Vocabulary, WordVocabulary

MAX_TEACHER_TOKENS = 512


class Feature(NamedTuple):
    """An array of a sentence, whose first axis counts words or tokens; `padding` stands behind them."""

    padding: int
    of_words: bool
    dtype: str = "int32"


class TeacherReader(Protocol):
    """Turns words into a teacher's features, the names of which begin with `teacher_`."""

    @property
    def features(self) -> Mapping[str, Feature]:
        """What there is of each sentence, in the order in which the model takes it."""

    def encode(self, words: Sequence[str]) -> dict[str, np.ndarray]:
        """The features of a sentence, or of a window of one, without padding."""

    def windows(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """Where to split a sentence (start, end in words) so that each part is read whole."""

    def truncated_words(self, words: Sequence[str]) -> Sequence[TruncatedWord]:
        """The words that are longer than all that the teacher reads at once."""


class SentReader:
    """SenT′ input of a T5: `teacher_tokens` int32[S]. The vocabulary's padding is 0."""

    features: ClassVar[Mapping[str, Feature]] = {"teacher_tokens": Feature(0, of_words=False)}

    def __init__(self, sent_format: SenTFormat) -> None:
        self._format = sent_format.limited(MAX_TEACHER_TOKENS)

    def encode(self, words: Sequence[str]) -> dict[str, np.ndarray]:
        """See `TeacherReader`."""
        return {"teacher_tokens": self._format.encode_input(words)}

    def windows(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """See `TeacherReader`; sentinels are a limit too."""
        # The teacher writes nothing here, so only its input and its sentinels are limits.
        room = {"inputs": MAX_TEACHER_TOKENS, "targets": 1 << 30}
        return training_windows(words, self._format, room)

    def truncated_words(self, words: Sequence[str]) -> Sequence[TruncatedWord]:
        """See `TeacherReader`."""
        return self._format.truncated_words(words)


class SubwordReader:
    """Subwords of a BERT or an encoder tagger: `teacher_tokens` int32[S], `teacher_first` int32[L].

    `max_tokens` are those that the model reads at once, at most `MAX_TEACHER_TOKENS` of them.
    """

    def __init__(
        self, subwords: SubwordFormat[Vocabulary], max_tokens: int = MAX_TEACHER_TOKENS
    ) -> None:
        self.vocabulary = subwords.vocabulary
        self._max_tokens = min(max_tokens, MAX_TEACHER_TOKENS)
        self._subwords = subwords.limited(self._max_tokens)
        self.features = {
            "teacher_tokens": Feature(subwords.pad_id, of_words=False),
            "teacher_first": Feature(-1, of_words=True),
        }

    def encode(self, words: Sequence[str]) -> dict[str, np.ndarray]:
        """See `TeacherReader`."""
        return dict(zip(self.features, self._subwords.encode(words), strict=True))

    def windows(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """See `TeacherReader`."""
        return subword_windows(words, self._subwords, self._max_tokens)

    def truncated_words(self, words: Sequence[str]) -> Sequence[TruncatedWord]:
        """See `TeacherReader`."""
        return self._subwords.truncated_words(words)


class WordReader:
    """Words and characters of a BiLSTM: `teacher_word_ids` int32[L], `teacher_char_ids` int32[L, C].

    It reads sentences of any length, and of a word with more than `max_chars` characters its ends.
    """

    features: ClassVar[Mapping[str, Feature]] = {
        "teacher_word_ids": Feature(0, of_words=True),
        "teacher_char_ids": Feature(0, of_words=True),
    }

    def __init__(self, vocabulary: WordVocabulary, max_chars: int) -> None:
        self._vocabulary = vocabulary
        self._max_chars = max_chars

    def encode(self, words: Sequence[str]) -> dict[str, np.ndarray]:
        """See `TeacherReader`."""
        encoded = self._vocabulary.encode(words, max_chars=self._max_chars)
        return dict(zip(self.features, encoded, strict=True))

    def windows(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """See `TeacherReader`."""
        return [(0, len(words))] if words else []

    def truncated_words(self, words: Sequence[str]) -> Sequence[TruncatedWord]:
        """None, as at prediction."""
        return ()


def subword_windows(
    words: Sequence[str], subwords: SubwordFormat, max_tokens: int
) -> list[tuple[int, int]]:
    """Where to split a sentence so that its subwords fit; no overlap, so no word twice.

    `subwords` is `limited` to as many tokens.
    """
    if not words:
        return []
    parts = windows(
        words,
        max_words=len(words),  # only tokens are limited
        max_tokens=max_tokens,
        token_length=subwords.window_length,
        overlap_words=0,
    )
    return [(window.start, window.end) for window in parts]


def teacher_features(
    reader: TeacherReader, sentences: Sequence[Sequence[str]], bucket: Callable[[int], int]
) -> Callable[[Sequence[int], int], dict[str, np.ndarray]]:
    """A function that gives the padded features of some of the sentences, by their numbers.

    Where all features are of words, sentences are read when a batch needs them.

    Its second argument is the number of words they are padded to, that which `bucket` gives for their
    lengths; tokens have one width a bucket, so that there is one compile.
    """
    late = all(feature.of_words for feature in reader.features.values())
    encoded = [] if late else [reader.encode(words) for words in sentences]
    widths: dict[tuple[str, int], int] = {}
    for words, arrays in zip(sentences, encoded, strict=not late):
        length = bucket(len(words))
        for name, feature in reader.features.items():
            width = length if feature.of_words else round_up(len(arrays[name]), 8)
            widths[name, length] = max(widths.get((name, length), 0), width)

    def padded(members: Sequence[int], length: int) -> dict[str, np.ndarray]:
        batch = {}
        read = [reader.encode(sentences[i]) if late else encoded[i] for i in members]
        for name, feature in reader.features.items():
            rows = [arrays[name] for arrays in read]
            width = length if feature.of_words else widths[name, length]
            shape = (len(rows), width, *rows[0].shape[1:])
            batch[name] = np.full(shape, feature.padding, feature.dtype)
            for row, values in zip(batch[name], rows, strict=True):
                row[: len(values)] = values
        return batch

    return padded
