"""Two files of the same sentences: gold tags, and what somebody's program made of the words."""

import itertools
import os

from distill_jax.data.readers import ReadOptions, read_located
from distill_jax.errors import UserError
from distill_jax.tagging.sentence import Sentence


def read_aligned(
    gold: str | os.PathLike[str],
    predicted: str | os.PathLike[str],
    options: ReadOptions | None = None,
) -> tuple[list[Sentence], list[Sentence]]:
    """The sentences of both files, with tags; those without words are left out.

    Args:
        gold: a file of any format.
        predicted: another, such as `distill-jax predict` writes.
        options: what the user says of the first.

    Raises:
        UserError: naming file and line, if a sentence has no tags, if the words of two differ, or
            if a file has more of them.
    """
    pairs: tuple[list[Sentence], list[Sentence]] = ([], [])
    files = (
        (one for one in read_located(path, options=how) if one.sentence.words)
        for path, how in ((gold, options), (predicted, None))
    )
    for found in itertools.zip_longest(*files):
        for one, path, other in zip(found, (gold, predicted), (predicted, gold), strict=True):
            if one is None:
                there = next(each for each in found if each is not None)
                raise UserError(
                    f"{other}:{there.line}: there are more sentences than in {path}; give two files "
                    "of the same sentences"
                )
            if one.sentence.tags is None:
                raise UserError(
                    f"{path}:{one.line}: the sentence has no tags; give tagged sentences"
                )
        first, second = found
        words, others = first.sentence.words, second.sentence.words
        if words != others:
            place = next(
                n for n, (a, b) in enumerate(itertools.zip_longest(words, others)) if a != b
            )
            raise UserError(
                f"{predicted}:{second.line}: the sentence has {len(others)} words and that of "
                f"{gold}:{first.line} {len(words)}, of which word {place + 1} is the first to differ; tags "
                "can be compared of the same words alone: predict for the words of that file"
            )
        for each, one in zip(pairs, found, strict=True):
            each.append(one.sentence)
    return pairs
