"""Few-shot subsets and a validation split carved from the training sentences.

Who is chosen depends on the seed and the sentence's words alone (a hash orders the sentences), so
neither the order of a file nor the platform matters, and sets of one seed are nested.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from distill_jax.errors import UserError
from distill_jax.tagging.sentence import Sentence

FEW_SHOT_SPLITS = ("gold", "dev", "silver")


@dataclass(frozen=True)
class FewShot:
    """Sizes of a few-shot subset: `gold`, `dev` labelled, `silver` unlabelled (None: the rest)."""

    gold: int
    dev: int
    silver: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("gold", "dev", "silver", "seed"):
            value = getattr(self, field)
            if value is not None and value < 0:
                raise UserError(f"few-shot {field} must not be negative, but is {value}")

    @property
    def suffix(self) -> str:
        """What a derived task's name ends with: `_gold100_dev50_seed0`, `_silver500` if set."""
        silver = "" if self.silver is None else f"_silver{self.silver}"
        return f"_gold{self.gold}_dev{self.dev}{silver}_seed{self.seed}"


_NAME = re.compile(r"(?P<base>.+)_gold(\d+)_dev(\d+)(?:_silver(\d+))?_seed(\d+)")


def parse_few_shot_name(name: str) -> tuple[str, FewShot] | None:
    """`snips_gold100_dev50_seed0` as `("snips", FewShot(100, 50, None, 0))`, else None."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    gold, dev, silver, seed = match.groups()[1:]
    return match["base"], FewShot(
        int(gold), int(dev), None if silver is None else int(silver), int(seed)
    )


def few_shot(
    sentences: Iterable[Sentence], *, gold: int, dev: int, silver: int | None, seed: int
) -> dict[str, list[Sentence]]:
    """Splits a labelled set into `gold`, `dev` and (tags removed) `silver`.

    The three share no sentence. For one seed, a smaller gold set is a prefix of a larger one and a
    smaller dev set of a larger one, whatever the other sizes. A sentence that occurs more than once
    counts once in gold and dev, and its other copies are not in silver; sentences without words
    are left out.

    Args:
      sentences: the training split; sentences chosen for gold and dev need tags.
      gold: the number of labelled training sentences.
      dev: the number of labelled sentences for model selection.
      silver: the number of unlabelled sentences, None for all that are left.
      seed: another seed chooses other sentences.

    Raises:
      UserError: there are too few sentences, or a chosen one has no tags.
    """
    sizes = FewShot(gold, dev, silver, seed)
    distinct: list[Sentence] = []
    copies: dict[str, list[Sentence]] = {}
    for sentence in sorted(sentences, key=lambda s: _sort_key(s, "few-shot", seed)):
        if not sentence.words:
            continue
        known = copies.setdefault(sentence.example_id, [])
        known.append(sentence)
        if len(known) == 1:
            distinct.append(sentence)
    if gold + dev > len(distinct):
        raise UserError(
            f"few-shot subset: {gold} gold and {dev} dev sentences are more than the "
            f"{len(distinct)} different ones of the training split; choose smaller sizes"
        )
    # Gold from the front and dev from the back: each is nested whatever the other's size.
    result = {"gold": distinct[:gold], "dev": distinct[::-1][:dev]}
    for split, chosen in result.items():
        if any(sentence.tags is None for sentence in chosen):
            raise UserError(
                f"few-shot subset: a {split} sentence has no tags; take it from a labelled split"
            )
    rest = [
        replace(sentence, tags=None)
        for first in distinct[gold : len(distinct) - dev]
        for sentence in copies[first.example_id]
    ]
    if sizes.silver is not None:
        if sizes.silver > len(rest):
            raise UserError(
                f"few-shot subset: {sizes.silver} silver sentences are more than the {len(rest)} "
                "left after gold and dev; choose a smaller size, or none for all of them"
            )
        rest = rest[: sizes.silver]
    return result | {"silver": rest}


def validation_size(sentences: int) -> int:
    """How many of so many training sentences are held out where there is no validation split: a fifth, at
    most 500."""
    return min(sentences // 5, 500)


def carve_validation(
    sentences: Iterable[Sentence], size: int, seed: int
) -> tuple[list[Sentence], list[Sentence]]:
    """Takes `size` sentences out of a training split: (the remaining ones, the validation split).

    Both keep the order of the input. Raises `UserError` if that would leave no training sentence.
    """
    ordered = list(sentences)
    if not 0 <= size < len(ordered):
        raise UserError(
            f"a validation split of {size} sentences cannot be carved from {len(ordered)} training "
            "sentences; choose a smaller size"
        )
    numbers = sorted(range(len(ordered)), key=lambda n: _sort_key(ordered[n], "validation", seed))
    chosen = set(numbers[:size])
    return (
        [sentence for number, sentence in enumerate(ordered) if number not in chosen],
        [sentence for number, sentence in enumerate(ordered) if number in chosen],
    )


def _sort_key(sentence: Sentence, purpose: str, seed: int) -> bytes:
    """Sorting by it gives a pseudo-random order in which copies of a sentence stand together."""
    return hashlib.sha256(f"{purpose} {seed} {sentence.example_id}".encode()).digest()
