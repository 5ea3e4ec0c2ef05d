"""How long things take: functions timed in turns, and what the machine could do at most."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of every repetition, in order; the first call (compilation, warm-up) is not in it."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the repetitions: what rates and ratios are made of."""
        return float(np.median(self.seconds))

    @property
    def best(self) -> float:
        """The fastest repetition."""
        return min(self.seconds)


@dataclasses.dataclass(frozen=True)
class Patience:
    """How often a function is timed."""

    rounds: int = 7
    """Repetitions wanted of each."""
    least: float = 1.0
    """Seconds that they take together: what is fast is repeated more, up to 10 times as often."""
    most: float = 20.0
    """Seconds after which no further repetition is begun."""


def alternate(functions: Mapping[str, Callable[[], Any]], patience: Patience) -> dict[str, Timing]:
    """Times functions in turns, so that what changes on the machine meanwhile meets all of them.

    All should have been called before: compilation counts. What a function returns is waited for.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(10 * patience.rounds):
        for name, function in functions.items():
            spent = sum(seconds[name])
            enough = number >= patience.rounds and spent >= patience.least
            if not enough and spent <= patience.most:
                start = time.perf_counter()
                jax.block_until_ready(function())
                seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def warm_up(functions: Mapping[str, Callable[[], Any]]) -> None:
    """Calls each once."""
    for function in functions.values():
        jax.block_until_ready(function())


@dataclasses.dataclass(frozen=True)
class Machine:
    """What the device reaches where nothing else is in the way."""

    square: int
    """The side of the matrices whose product gives `matrix_flops`."""
    matrix_flops: float
    """Operations a second in a large product of square matrices, in the model's dtype."""
    copy_bytes: float
    """Bytes copied a second, those read and those written counted once each: twice the array's."""
    read_bytes: float
    """Bytes a second at which weights are read: of the fastest product with a single row."""
    products: dict[str, dict[str, float]]
    """`[rows, inner] x [inner, columns]` as text to `flops` and `bytes` a second."""


def square_product(side: int, dtype: str) -> tuple[Callable[[], Any], float]:
    """A product of square matrices to be timed, and its operations."""
    left, right = jax.random.normal(jax.random.key(0), (2, side, side), dtype)
    return functools.partial(jax.jit(jnp.matmul), left, right), 2.0 * side**3


def measure_machine(
    shapes: list[tuple[int, int, int]], dtype: str, *, square: int, copied: int
) -> Machine:
    """Times XLA's matrix products and a copy.

    Args:
        shapes: (rows, inner, columns) of products that the decoders need.
        dtype: of the operands.
        square: the side of the large product, which gives `matrix_flops`.
        copied: float32 values in the array that is copied.
    """
    key = jax.random.key(0)
    multiply = jax.jit(jnp.matmul)
    products: dict[str, dict[str, float]] = {}
    read_bytes = 0.0
    product, operations = square_product(square, dtype)
    matrix_flops = operations / _seconds_a_call(product)
    for rows, inner, columns in shapes:
        left = jax.random.normal(key, (rows, inner), dtype)
        right = jax.random.normal(key, (inner, columns), dtype)
        seconds = _seconds_a_call(functools.partial(multiply, left, right))
        flops = 2.0 * rows * inner * columns / seconds
        size = (left.nbytes + right.nbytes + rows * columns * left.itemsize) / seconds
        products[f"{rows} x {inner} x {columns}"] = {"flops": flops, "bytes": size}
        if rows == 1:
            read_bytes = max(read_bytes, size)
    array = jnp.ones(copied, jnp.float32)
    copy = jax.jit(lambda x: x + 1.0)
    copied_bytes = 2.0 * array.nbytes / _seconds_a_call(lambda: copy(array))
    return Machine(square, matrix_flops, copied_bytes, read_bytes, products)


def _seconds_a_call(function: Callable[[], Any], enough: float = 0.15) -> float:
    """The best of some groups of calls, each long enough for the clock."""
    jax.block_until_ready(function())
    calls, best, spent = 1, np.inf, 0.0
    while spent < enough:
        start = time.perf_counter()
        for _ in range(calls):
            result = function()
        jax.block_until_ready(result)
        took = time.perf_counter() - start
        best, spent = min(best, took / calls), spent + took
        if took < enough / 10:
            calls *= 2
    return float(best)
