"""The unlabelled text of `distill-jax fit`: how it becomes words, and what of it is new; no JAX."""

import itertools
from collections.abc import Sequence

from distill_jax.data.readers import ReadOptions, read_sentences
from distill_jax.errors import UserError
from distill_jax.tagging import Sentence
from distill_jax_runtime.text import TextWords

_COMMON_WORDS = 0.1  # of an unlabelled text's words: below it is said that it looks foreign
_APART, _ATTACHED = 0.01, 0.005  # of the words: punctuation that is a word, and that is part of one
_MARKS = frozenset(".,;:!?")

Words = tuple[str, ...]


def rule_for_texts(
    sentences: Sequence[Sentence], unlabelled: Sequence[str], data: str, said: list[str]
) -> TextWords:
    """How a text becomes words: as those of the labelled texts did, or as their words look."""
    origins = [sentence.origin for sentence in sentences if sentence.origin is not None]
    rules = {origin.rule for origin in origins if origin.rule is not None}
    if len(rules) > 1:
        raise UserError(
            f"{data}: texts of it became words by different rules ({', '.join(sorted(rules))}); give "
            "--text_words"
        )
    if rules:
        return rules.pop()
    if not unlabelled:
        return "blanks"
    words = [word for sentence in sentences for word in sentence.words]
    apart = sum(word in _MARKS for word in words)
    attached = sum(len(word) > 1 and word[-1] in _MARKS and word[-2].isalnum() for word in words)
    if apart >= _APART * len(words) and attached < _ATTACHED * len(words):
        said.append("labelled words have punctuation apart, so texts are split so too")
        return "punctuation"
    return "blanks"


def read_unlabelled(
    files: Sequence[str],
    untagged: Sequence[Sentence],
    known: set[Words],
    rule: TextWords,
    said: list[str],
) -> list[Sentence]:
    """The different sentences that are not known already."""
    options = ReadOptions(text_words=rule)
    read = [read_sentences(file, options=options) for file in files]
    found: dict[Words, None] = {}
    total = 0
    for sentence in itertools.chain(untagged, *read):
        total += bool(sentence.words)
        if sentence.words and sentence.words not in known:
            found[sentence.words] = None
    if files and not found:
        raise UserError(
            f"{', '.join(files)}: holds no sentence that is not labelled already; give other text, or "
            "leave --unlabelled out"
        )
    if total:
        left = total - len(found)
        repeated = f", {left:,} left out that are repeated or labelled" if left else ""
        said.append(f"unlabelled: {len(found):,} sentences{repeated}")
    return [Sentence(words) for words in found]


def compare_words(
    train: Sequence[Sentence], unlabelled: Sequence[Sentence], said: list[str]
) -> None:
    """Says so where unlabelled text has hardly a word of the labelled: another language or form."""
    known = {word.lower() for sentence in train for word in sentence.words}
    words = [word.lower() for sentence in unlabelled[:2000] for word in sentence.words]
    share = sum(word in known for word in words) / max(len(words), 1)
    if share < _COMMON_WORDS:
        said.append(
            f"WARNING: {share:.0%} of the unlabelled words are in train: another language or format?"
        )
