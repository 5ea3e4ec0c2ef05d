"""Which sentences go through a model together, and the shapes they are padded to.

Every shape is a program to compile, so there are few: lengths are rounded up to buckets, rows to
powers of two or the batch size.
"""

from collections.abc import Sequence

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


def padded_batch_size(items: int, batch_size: int) -> int:
    """A power of two, or `batch_size`: few shapes to compile, and single sentences stay cheap."""
    return min(1 << (items - 1).bit_length(), batch_size)
