"""Rows of int8 are as near as their steps are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distill_jax.export.tables import quantised_rows

tables = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 6)),
    elements=st.floats(-1000, 1000, width=32),
)


@given(tables)
def test_no_value_is_off_by_more_than_a_step(values: np.ndarray) -> None:
    rows, scales = quantised_rows(values)
    assert rows.dtype == np.int8 and scales.dtype == np.float16
    step = scales.astype(np.float32)
    assert np.isfinite(step).all() and (step > 0).all()
    # Half a step; and the largest of a row more where the scale was rounded down.
    assert (np.abs(rows * step - values) <= 0.5 * step + 127 * step * 2**-11).all()


def test_rows_of_zeros_stay_so() -> None:
    rows, scales = quantised_rows(np.zeros((2, 3), np.float32))
    assert not (rows * scales).any()
