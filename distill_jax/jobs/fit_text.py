"""The unlabelled text of `distill-jax fit`: how it becomes words, and what of it is new; no JAX."""

import collections
import itertools
from collections.abc import Sequence

from distill_jax.data.readers import ReadOptions, read_sentences
from distill_jax.errors import UserError
from distill_jax.tagging import Sentence
from distill_jax_runtime.text import TextWords, words_with_offsets

_COMMON_WORDS = 0.1  # of an unlabelled text's words: below it is said that it looks foreign
_MARKS = frozenset(".,;:!?")

Words = tuple[str, ...]


def rule_for_texts(
    train: Sequence[Sentence],
    held_out: Sequence[Sentence],
    given: TextWords | None,
    data: str,
    said: list[str],
) -> TextWords:
    """How a text becomes words: as those of the labelled texts did, as is given, or as train's words look."""
    origins = [sentence.origin for sentence in [*train, *held_out] if sentence.origin is not None]
    rules = {origin.rule for origin in origins if origin.rule is not None}
    if len(rules) > 1:
        raise UserError(
            f"{data}: texts of it became words by different rules ({', '.join(sorted(rules))}); give "
            "--text_words"
        )
    if rules:
        return rules.pop()
    if given is not None:
        return given
    rule: TextWords = "punctuation" if _has_marks_apart(train) else "blanks"
    where = "blanks and punctuation" if rule == "punctuation" else "blanks"
    said.append(f"raw text is split at {where}, as the words of train look (else: --text_words)")
    return rule


def _has_marks_apart(sentences: Sequence[Sentence]) -> bool:
    """Whether more words are marks, which blanks would leave on the word before, than a split at punctuation
    would break (`don't`, `U.S.`). Single letters of scripts without blanks count as marks do."""
    counts = collections.Counter(word for sentence in sentences for word in sentence.words)
    apart = broken = 0
    for word, count in counts.items():
        pieces, _ = words_with_offsets(word, "punctuation")
        if len(pieces) > 1:
            broken += count
        elif word in _MARKS or (word.isalpha() and _stands_alone(word)):
            apart += count
    return apart > broken


def _stands_alone(letter: str) -> bool:
    """Of a script that writes no blanks between words: two of them are two words."""
    return len(words_with_offsets(letter * 2, "punctuation")[0]) == 2


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
        said.append(f"unlabelled sentences: {len(found):,}{repeated}")
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
