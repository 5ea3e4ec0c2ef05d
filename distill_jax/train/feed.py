"""Batches on their way to the mesh: made ahead in a thread, each process's own rows placed."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Generator, Mapping
from typing import Any, TypeAlias

import grain
import jax
import numpy as np
from jax.sharding import NamedSharding

from distill_jax.train.objective import Batch


@dataclasses.dataclass(frozen=True)
class RowBatches:
    """Batches that are `batch_size` consecutive rows each, so that a process can make its own alone.

    The rows are `{name: array}`, of the same shapes, as many as make whole batches. A
    `grain.MapDataset` of whole batches serves as well; of these each process makes all rows.
    """

    rows: grain.MapDataset[Mapping[str, np.ndarray]]
    batch_size: int

    def part(self, start: int, stop: int) -> grain.MapDataset[dict[str, np.ndarray]]:
        """The rows `start` to `stop` of every batch."""

        def make(number: int) -> dict[str, np.ndarray]:
            first = number * self.batch_size
            rows = [self.rows[first + row] for row in range(start, stop)]
            return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

        return grain.MapDataset.range(len(self.rows) // self.batch_size).map(make)


Batches: TypeAlias = "grain.MapDataset[Batch] | RowBatches"


@dataclasses.dataclass(frozen=True)
class Counts:
    """What a batch holds: sentences (or rows) and target tokens (or words) with a loss."""

    examples: int
    target_tokens: int


class Feed:
    """Batches `first` to `last`, placed as the sharding says, in the order of their numbers.

    `counts` are those of the batch given last, of this process's rows times what share of a batch
    they are; `waited` is the time that the training loop waited for batches so far, in seconds.
    """

    def __init__(self, batches: Batches, first: int, last: int, sharding: NamedSharding) -> None:
        self.counts = Counts(0, 0)
        self.waited = 0.0
        self._sharding = sharding
        self._batches = self._places(batches, first, last) if first < last else None

    def __next__(self) -> Batch:
        assert self._batches is not None
        start = time.monotonic()
        batch, self.counts = next(self._batches)
        self.waited += time.monotonic() - start
        return batch

    def close(self) -> None:
        """Ends the thread."""
        if self._batches is not None:
            self._batches.close()

    def _places(
        self, batches: Batches, first: int, last: int
    ) -> Generator[tuple[Batch, Counts], None, None]:
        start, stop, size = 0, 0, 0
        if isinstance(batches, RowBatches):
            size = batches.batch_size
            start, stop = self._own_rows(size)
            batches = batches.part(start, stop)
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=8)
        with contextlib.closing(iter(batches[first:last].to_iter_dataset(options))) as iterator:
            for batch in iterator:
                if not size:  # whole batches
                    rows = len(next(iter(batch.values())))
                    start, stop = self._own_rows(rows)
                    own = {name: array[start:stop] for name, array in batch.items()}
                else:
                    rows, own = size, batch
                share = (stop - start) / rows
                yield (
                    {name: self._place(array, start, rows) for name, array in own.items()},
                    _counts(own, share),
                )

    def _own_rows(self, rows: int) -> tuple[int, int]:
        """The first row of a batch that lies on this process's devices, and the last plus 1."""
        indices = self._sharding.addressable_devices_indices_map((rows,)).values()
        slices = [index[0].indices(rows) for index in indices if index is not None]
        return min(start for start, _, _ in slices), max(stop for _, stop, _ in slices)

    def _place(self, array: np.ndarray, start: int, rows: int) -> jax.Array:
        if self._sharding.is_fully_addressable:
            return jax.device_put(array, self._sharding)

        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            first, last, _ = index[0].indices(rows)
            return array[first - start : last - start]

        return jax.make_array_from_callback((rows, *array.shape[1:]), self._sharding, part)


def _counts(batch: Mapping[str, Any], share: float) -> Counts:
    """Examples and target tokens of the rows of a batch that are here, over their share of it."""
    rows = len(next(iter(batch.values())))
    examples, tokens = rows, 0
    if "decoder_segment_ids" in batch:  # packed: a row's segments are numbered from 1
        segments = np.asarray(batch["decoder_segment_ids"])
        examples = int(segments.max(-1).sum()) if segments.ndim == 2 else rows
        tokens = int((segments > 0).sum())
    elif "tag_weights" in batch:
        tokens = int((np.asarray(batch["tag_weights"]) > 0).sum())
    return Counts(math.ceil(examples / share), math.ceil(tokens / share))
