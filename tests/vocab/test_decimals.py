"""Numbers from text, many at a time, against Python's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.vocab.decimals import parse_decimals

plain = st.from_regex(r"\A-?[0-9]{0,9}\.?[0-9]{1,9}\Z")
odd = st.sampled_from(
    ["+1", "1e-05", "-2.5E3", "1.", ".5", "-.5", "-0", "1e40", "inf", "nan", "0" * 40]
)
wrong = st.sampled_from(
    ["", "-", ".", "1.2.3", "--1", "1-2", "x", "1_0", "1,5", "½", "-.", "1" * 200 + "x"]
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(plain, odd, st.floats().map(repr)), min_size=1))
def test_each_is_what_float_makes_of_it(fields: list[str]) -> None:
    with np.errstate(over="ignore"):
        expected = np.array([float(field) for field in fields]).astype(np.float32)
    found = parse_decimals(" ".join(fields).encode(), len(fields))
    assert found is not None and found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    assert (np.signbit(found) == np.signbit(expected))[~np.isnan(expected)].all()
    assert parse_decimals(" ".join(fields).encode(), len(fields) + 1) is None


@settings(max_examples=50, deadline=None)
@given(st.lists(plain, max_size=3), wrong, st.lists(plain, max_size=3))
def test_what_is_no_number(before: list[str], field: str, after: list[str]) -> None:
    fields = [*before, field, *after]
    assert parse_decimals(" ".join(fields).encode(), len(fields)) is None


def test_more_than_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_jax.vocab.decimals._AT_ONCE", 3)
    found = parse_decimals(b"1 -2.5 3e1 4 0.005 6 7", 7)
    assert found is not None
    assert found.tolist() == [1, -2.5, 30, 4, np.float32(0.005), 6, 7]
