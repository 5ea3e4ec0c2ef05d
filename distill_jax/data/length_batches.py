"""Which sentences go through a model together, and the shapes they are padded to.

Every shape is a program to compile and to keep in memory, so there are few: lengths are rounded up to
buckets, rows to the batch size or a power of two.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from distill_jax.integers import ceil_divide


def round_up(value: int, steps: Sequence[int]) -> int:
    """The smallest of `steps` (ascending) that is at least `value`; beyond, multiples of the last."""
    for step in steps:
        if value <= step:
            return step
    return ceil_divide(value, steps[-1]) * steps[-1]


def batches_by_length(
    lengths: Sequence[int],
    batch_size: int,
    buckets: Sequence[int],
    *,
    then: Sequence[int] | None = None,
) -> list[tuple[int, np.ndarray]]:
    """Groups items of similar length: (bucket, indices) with at most `batch_size` items each.

    Batches and their items go by length, those of equal length by `then`. Items of length 0 are
    left out.
    """
    then = lengths if then is None else then
    grouped: dict[int, list[int]] = {}
    for index in sorted(range(len(lengths)), key=lambda index: (lengths[index], then[index])):
        if lengths[index]:
            grouped.setdefault(round_up(lengths[index], buckets), []).append(index)
    return [
        (bucket, np.array(members[start : start + batch_size]))
        for bucket, members in grouped.items()
        for start in range(0, len(members), batch_size)
    ]


class Shape(NamedTuple):
    """What a program is compiled for: rows, and of each the input tokens (0: it reads words) and words."""

    rows: int
    tokens: int
    words: int


def shaped_batches(
    words: Sequence[int],
    batch_size: int,
    buckets: Sequence[int],
    *,
    tokens: Sequence[int] | None = None,
    token_buckets: Sequence[int] = (),
) -> list[tuple[Shape, np.ndarray]]:
    """`batches_by_length`, each with the shape that it is padded to.

    Where there are several batches, some rows in vain cost less than a program of their own: the last
    batch of a bucket is padded to a full one if there is one that it fits into, and else its rows to a
    power of four if any batch is full. Only the items decide, not what has been compiled before, so the
    same ones have the same shapes in every process.

    Args:
        words: of each item; those without are left out.
        batch_size: items of a batch at most.
        buckets: of words.
        tokens: of each item's input, if that is not its words.
        token_buckets: of these.
    """
    groups = batches_by_length(words, batch_size, buckets, then=tokens)
    coarse = any(len(members) == batch_size for _, members in groups)
    plan: list[tuple[Shape, np.ndarray]] = []
    full: set[Shape] = set()
    for bucket, members in groups:
        longest = 0 if tokens is None else round_up(max(tokens[i] for i in members), token_buckets)
        if len(members) == batch_size:
            shape = Shape(batch_size, longest, bucket)
            full.add(shape)
        else:
            own = Shape(padded_batch_size(len(members), batch_size, coarse=coarse), longest, bucket)
            fitting = [other for other in full if other.words == bucket and other.tokens >= longest]
            shape = min(fitting, default=own)
        plan.append((shape, members))
    return plan


def padded_batch_size(items: int, batch_size: int, *, coarse: bool = False) -> int:
    """A power of two (`coarse`: of four), or `batch_size`: few shapes, and single sentences stay cheap."""
    exponent = (items - 1).bit_length()
    return min(1 << (exponent + (exponent % 2 if coarse else 0)), batch_size)
