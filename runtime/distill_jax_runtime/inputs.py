"""What a tagger takes: texts, or words; one after another, or a batch at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from distill_jax_runtime.errors import UserError
from distill_jax_runtime.sentence import Sentence
from distill_jax_runtime.text import TextWords

Input = str | Sequence[str] | Sentence
"""A text; words; or a sentence as the readers give it, with the text its words come from."""

_Answer = TypeVar("_Answer")


def as_sentence(sentence: Input, number: int, text_words: TextWords) -> Sentence:
    """A sentence as words, with the text they come from if there is one.

    Raises `UserError` with the sentence's number for a word that is no string or empty, or a text where the
    rule is `given`.
    """
    if isinstance(sentence, str):
        try:
            return Sentence.of_text(sentence, text_words)
        except UserError as error:
            raise UserError(f"sentence {number}: {error}") from None
    if not isinstance(sentence, Sentence):
        try:
            sentence = Sentence(tuple(sentence))
        except TypeError:
            raise UserError(
                f"sentence {number} is {repr(sentence)[:60]}; give a string or a list of words"
            ) from None
    for word in sentence.words:
        if not isinstance(word, str) or not word:
            raise UserError(
                f"sentence {number} has the word {word!r}; words are strings, and not empty"
            )
    return sentence


def batch_by_batch(
    sentences: Iterable[Input],
    size: int,
    text_words: TextWords,
    predict: Callable[[Sequence[Sentence]], Sequence[_Answer]],
) -> Iterator[_Answer]:
    """The answers to sentences in order, of which `size` are read at a time.

    A sentence that `as_sentence` refuses is so after the answers for all before it.
    """
    batch: list[Sentence] = []
    for number, sentence in enumerate(sentences):
        try:
            batch.append(as_sentence(sentence, number, text_words))
        except UserError:
            yield from predict(batch)
            raise
        if len(batch) == size:
            yield from predict(batch)
            batch = []
    yield from predict(batch)


def check_many(sentences: object, takes: str) -> None:
    """Raises `TypeError`, which says what is taken, for one string where many sentences are wanted."""
    if isinstance(sentences, str):
        raise TypeError(f"{takes}; a single one is predict([sentence])")


def checked_size(batch_size: int | None, default: int) -> int:
    """The number of sentences in a batch. Raises `UserError` for what is no number from 1."""
    size = default if batch_size is None else batch_size
    if not isinstance(size, int) or size < 1:
        raise UserError(f"batch_size is {batch_size!r}; give a number from 1")
    return size
