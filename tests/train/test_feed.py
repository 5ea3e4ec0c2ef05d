"""Batches arrive in order, each process with its own rows, and are counted."""

import contextlib
from typing import Any

import grain
import jax
import numpy as np
import pytest

from distill_jax.parallel.mesh import batch_sharding, make_mesh
from distill_jax.train.feed import Counts, Feed, RowBatches

MADE: list[int] = []


def make_row(number: int) -> dict[str, np.ndarray]:
    MADE.append(number)
    return {"ids": np.full(3, number, np.int32), "odd": np.float32(number % 2)}


ROWS = grain.MapDataset.range(40).map(make_row)


def read(batches: Any, first: int, last: int, **mesh: int) -> list[dict[str, np.ndarray]]:
    with contextlib.closing(Feed(batches, first, last, batch_sharding(make_mesh(**mesh)))) as feed:
        found = [next(feed) for _ in range(first, last)]
        with pytest.raises(StopIteration):
            next(feed)
    return [jax.tree.map(np.asarray, dict(batch)) for batch in found]


@pytest.mark.parametrize("mesh", [{"data": 8}, {"data": 2, "fsdp": 2, "model": 2}, {"model": 8}])
def test_batches_of_rows_are_those_of_the_data_set(mesh: dict[str, int]) -> None:
    found = read(RowBatches(ROWS, 8), 1, 4, **mesh)
    expected = read(ROWS.batch(8), 1, 4, **mesh)
    for number, (batch, other) in enumerate(zip(found, expected, strict=True), 1):
        np.testing.assert_array_equal(batch["ids"][:, 0], np.arange(8 * number, 8 * number + 8))
        for name in batch:
            assert batch[name].dtype == other[name].dtype
            np.testing.assert_array_equal(batch[name], other[name])


def test_a_part_makes_only_its_rows() -> None:
    part = RowBatches(ROWS, 8).part(2, 5)
    assert len(part) == 5
    MADE.clear()
    np.testing.assert_array_equal(part[3]["ids"][:, 0], [26, 27, 28])
    assert MADE == [26, 27, 28]


def test_batches_lie_where_the_mesh_says() -> None:
    mesh = make_mesh(data=4, fsdp=2)
    with contextlib.closing(Feed(RowBatches(ROWS, 8), 0, 1, batch_sharding(mesh))) as feed:
        batch = next(feed)
    assert {shard.data.shape for shard in batch["ids"].addressable_shards} == {(1, 3)}
    assert feed.waited > 0


def test_nothing_is_made_where_nothing_is_left() -> None:
    MADE.clear()
    Feed(RowBatches(ROWS, 8), 5, 5, batch_sharding(make_mesh())).close()
    assert MADE == []


@pytest.mark.parametrize(
    ("features", "counts"),
    [
        # Two segments in the first row, one in the second, padding after them.
        (
            {"decoder_segment_ids": [[1, 1, 2, 0], [1, 1, 1, 0]] * 4},
            Counts(examples=12, target_tokens=24),
        ),
        ({"tag_weights": [[0.5, 0.0], [1.0, 1.0]] * 4}, Counts(examples=8, target_tokens=12)),
        ({"ids": [0.0] * 8}, Counts(examples=8, target_tokens=0)),
    ],
)
def test_examples_and_target_tokens_are_counted(features: Any, counts: Counts) -> None:
    batch = {name: np.array(values) for name, values in features.items()}
    data = grain.MapDataset.range(1).map(lambda _: batch)
    with contextlib.closing(Feed(data, 0, 1, batch_sharding(make_mesh()))) as feed:
        next(feed)
    assert feed.counts == counts
