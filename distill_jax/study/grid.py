"""What a study consists of: data sets, sizes and seeds, and the silver sizes and λ of its students."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from distill_jax.errors import UserError

Silver = int | str
"""A number of silver sentences, or `all`."""

ALL = "all"


@dataclasses.dataclass(frozen=True)
class Size:
    """How much labelled data there is: `100/50` is 100 gold and 50 dev, `full` the whole splits."""

    gold: int | None = None
    dev: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Raises `UserError` if it is neither."""
        if text == "full":
            return cls()
        gold, slash, dev = str(text).partition("/")
        if not (slash and gold.isascii() and gold.isdigit() and dev.isascii() and dev.isdigit()):
            raise UserError(f"SIZES: {text!r}; write '100/50' for 100 gold and 50 dev, or 'full'")
        if int(gold) < 1 or int(dev) < 1:
            raise UserError(f"SIZES: {text!r}; there must be at least 1 gold and 1 dev sentence")
        return cls(int(gold), int(dev))

    @property
    def is_full(self) -> bool:
        """Whether all labelled sentences are used."""
        return self.gold is None

    def __str__(self) -> str:
        return "full" if self.is_full else f"{self.gold}/{self.dev}"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A data set, a size and a seed: of the subset, the teacher and the students."""

    dataset: str
    size: Size
    seed: int

    @property
    def name(self) -> str:
        """Of its folder; of the few-shot task too, where it is one."""
        if self.size.is_full:
            return f"{self.dataset}_full_seed{self.seed}"
        return f"{self.dataset}_gold{self.size.gold}_dev{self.size.dev}_seed{self.seed}"

    @property
    def task(self) -> str:
        """The task whose sentences it has."""
        return self.dataset if self.size.is_full else self.name

    @property
    def splits(self) -> tuple[str, str]:
        """The names of the splits to train and to select on."""
        return ("train", "valid") if self.size.is_full else ("gold", "dev")


@dataclasses.dataclass(frozen=True)
class Taught:
    """What a distilled student has of the teacher: a silver size, its sentences, and λ.

    `generated` says where silver sentences come from that were made; None: they are real.
    """

    silver: Silver
    sentences: int
    kl_weight: float
    generated: "Generated | None" = None

    def name(self, kind: str) -> str:
        """Of the student and of its folder."""
        source = "" if self.generated is None else f"{self.generated.name}-"
        return f"{kind}-{source}silver{self.silver}-kl{self.kl_weight:g}"


NO_FILTERS, ALL_FILTERS, SURE = "none", "all", "sure"
FILTER_SETS = (NO_FILTERS, ALL_FILTERS, SURE)
"""What is left of a pool: everything that was drawn, each sentence once; what the filters accept; and of that
what the teacher is sure of (`labels.cut`)."""


@dataclasses.dataclass(frozen=True)
class Generated:
    """A pool of a generation study: its generator, the set of filters, and whose tags it has.

    `tags` are the `teacher`'s, or the pool's `own`.
    """

    generator: str
    filters: str
    tags: str = "teacher"

    @property
    def name(self) -> str:
        """What students and lines are called by."""
        own = "-own" if self.tags == "own" else ""
        return f"{self.generator}-{self.filters}{own}"


def cells_of(datasets: Sequence[str], sizes: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """All cells, seeds innermost.

    Raises `UserError` if a list is empty or names something twice, or a size or seed is none.
    """
    for name, values in (("DATASETS", datasets), ("SIZES", sizes), ("SEEDS", seeds)):
        check_list(name, values)
    for seed in seeds:
        if seed < 0:
            raise UserError(f"SEEDS: {seed!r} is not a number from 0; write SEEDS=(0, 1, 2)")
    parsed = [Size.parse(size) for size in sizes]
    return [Cell(name, size, seed) for name in datasets for size in parsed for seed in seeds]


def check_silver(values: Sequence[Silver]) -> None:
    """Raises `UserError` if a silver size is neither a number from 0 nor `all`, or there is none."""
    check_list("SILVER", values)
    for value in values:
        number = isinstance(value, int) and value >= 0
        if not number and value != ALL:
            raise UserError(f"SILVER: {value!r} is neither a number from 0 nor 'all'")


def check_lambdas(values: Sequence[float]) -> None:
    """Raises `UserError` if a λ is not a number from 0, or there is none."""
    check_list("LAMBDAS", values)
    for value in values:
        if not 0 <= value < math.inf:
            raise UserError(f"LAMBDAS: {value!r} is not a number from 0")


def check_positive(name: str, value: Any) -> None:
    """Raises `UserError` if a value is not a finite number above 0."""
    if not 0 < value < math.inf:
        raise UserError(f"{name} is {value!r}; it must be a number above 0")


def silver_counts(
    sizes: Sequence[Silver], most: int | None, pool: int, task: str
) -> dict[Silver, int]:
    """How many sentences each silver size is, ascending, `all` last.

    Args:
        sizes: numbers, and `all`.
        most: what `all` is at most.
        pool: how many sentences there are.
        task: whose.

    Raises:
        UserError: a size is more than the pool holds.
    """
    counts: dict[Silver, int] = {}
    for size in sorted(sizes, key=lambda size: math.inf if size == ALL else float(size)):
        if size == ALL:
            counts[size] = min(pool, most or pool)
        elif int(size) > pool:
            raise UserError(
                f"{task}: SILVER asks for {size} sentences, but only {pool} different ones are "
                "left after gold and dev; choose smaller numbers, or 'all'"
            )
        else:
            counts[size] = int(size)
    return counts


def crossed(counts: Mapping[Silver, int], lambdas: Sequence[float]) -> list[Taught]:
    """Silver sizes with λ, ascending; no silver with λ = 0 is gold only, and is not trained twice."""
    return [
        Taught(size, count, float(kl_weight))
        for size, count in counts.items()
        for kl_weight in sorted(lambdas)
        if size != 0 or kl_weight
    ]


def check_list(name: str, values: Sequence[Any]) -> None:
    """Raises `UserError` if there is no value, or one is there twice."""
    if not values:
        raise UserError(f"{name} is {values!r}; write a list with at least one value")
    if len(set(values)) != len(values):
        raise UserError(f"{name} is {values!r}; a value is there twice")
