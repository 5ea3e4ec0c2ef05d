"""Products of activations with weights."""

import math
from typing import Any

import jax


def rows_dot(
    x: jax.Array,
    kernel: jax.Array,
    dimension_numbers: Any = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """`x[..., D] @ kernel[D, F]` as a product of two matrices, for `flax.linen.Dense.dot_general`.

    The same numbers: but with batch and length as axes of their own XLA on a CPU computes the
    gradients up to 1.6 times slower (`benchmarks/training/train.py`). `dimension_numbers` are those above.
    """
    del dimension_numbers
    product = jax.lax.dot_general(
        x.reshape(math.prod(x.shape[:-1]), x.shape[-1]),
        kernel,
        (((1,), (0,)), ((), ())),
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
    return product.reshape(*x.shape[:-1], kernel.shape[1])
