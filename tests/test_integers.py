"""Division that rounds up, against its definition."""

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from distill_jax.integers import ceil_divide, round_up


@given(st.integers(), st.integers(1))
def test_it_is_the_ceiling_of_the_quotient(value: int, divisor: int) -> None:
    assert ceil_divide(value, divisor) == math.ceil(Fraction(value, divisor))


@given(st.integers(0), st.integers(1))
def test_the_least_multiple_that_is_not_below(value: int, multiple: int) -> None:
    rounded = round_up(value, multiple)
    assert rounded % multiple == 0 and value <= rounded < value + multiple
