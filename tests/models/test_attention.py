"""T5's relative position buckets."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from distill_jax.models.attention import relative_position_bucket


def reference_bucket(
    relative_position: int, bidirectional: bool, num_buckets: int, max_distance: int
) -> int:
    """The published formula, with the logarithm in double precision and boundaries rounded up."""
    offset = 0
    distance = -relative_position
    if bidirectional:
        num_buckets //= 2
        offset = num_buckets if distance < 0 else 0
        distance = abs(distance)
    distance = max(distance, 0)
    exact = num_buckets // 2
    if distance < exact:
        return offset + distance
    ratio = math.log(distance / exact) / math.log(max_distance / exact)
    return offset + min(num_buckets - 1, exact + int(ratio * (num_buckets - exact) + 1e-9))


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
    ("num_buckets", "max_distance"),
    [
        (32, 128),  # every published model
        (8, 20),
        (16, 24),
        (4, 3),
        (6, 7),
        # Distances on a boundary, which a float32 logarithm misses on some devices.
        (8, 200),
        (8, 800),
        (16, 800),
        (32, 800),
        (64, 50),
        (128, 100),
    ],
)
def test_buckets_follow_the_formula(
    bidirectional: bool, num_buckets: int, max_distance: int
) -> None:
    positions = np.arange(-1000, 1001)
    expected = [
        reference_bucket(int(p), bidirectional, num_buckets, max_distance) for p in positions
    ]
    actual = relative_position_bucket(
        jnp.asarray(positions),
        bidirectional=bidirectional,
        num_buckets=num_buckets,
        max_distance=max_distance,
    )
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_everything_beyond_the_horizon_shares_a_bucket(bidirectional: bool) -> None:
    far = -jnp.array([128, 129, 10_000])
    bucket = relative_position_bucket(
        far, bidirectional=bidirectional, num_buckets=32, max_distance=128
    )
    assert bucket.tolist() == [15 if bidirectional else 31] * 3
