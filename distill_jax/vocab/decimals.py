"""Decimal numbers from text, many at a time, for files of word vectors hold tens of millions of them."""

import numpy as np

_LONGEST = 15
"""Digits of which every number is exact in float64."""
_AT_ONCE = 1 << 15  # numbers; what is computed of them stays in a processor's cache

_POWERS = 10.0 ** np.arange(_LONGEST + 1)


def parse_decimals(text: bytes, count: int) -> np.ndarray | None:
    """Numbers with single blanks between them, float32[count]; None if they are not so many numbers.

    Each is what `np.float32(float(…))` gives: digits and power of ten are exact in float64, so their
    quotient is rounded once (Clinger 1990, "How to Read Floating Point Numbers Accurately"). What has an
    exponent, or more than 15 digits, is left to `float`.
    """
    characters = np.frombuffer(text + b" ", np.uint8)
    ends = np.flatnonzero(characters == ord(" ")).astype(np.int32)
    if len(ends) != count:
        return None
    starts = np.concatenate([np.zeros(1, np.int32), ends[:-1] + 1])
    values = np.empty(count, np.float32)
    for begin in range(0, count, _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        own, plain = _plain(characters, starts[part], ends[part])
        for place in np.flatnonzero(~plain):
            field = text[starts[begin + place] : ends[begin + place]]
            try:
                own[place] = float(field)
            except ValueError:
                return None
            if b"_" in field:  # as Python's literals have
                return None
        with np.errstate(over="ignore"):
            values[part] = own
    return values


def _plain(
    characters: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values float64, and which of them are right: those of a sign, if any, digits and at most one point."""
    sign = characters[starts]
    negative = sign == ord("-")
    starts = starts + negative
    lengths = (ends - starts).astype(np.int8)
    right = ends - starts <= _LONGEST + 1
    values = np.zeros(len(starts))
    after_point = np.zeros(len(starts), np.int8)
    pointed = np.zeros(len(starts), bool)
    for place in range(min(int((ends - starts).max()), _LONGEST + 1)):
        inside = place < lengths
        character = characters.take(starts + place, mode="clip")
        digit = character - ord("0")  # of what is no digit more than 9
        is_digit = (digit < 10) & inside
        is_point = (character == ord(".")) & inside
        right &= (is_digit | (is_point & ~pointed)) | ~inside
        np.multiply(values, 10, out=values, where=is_digit)
        np.add(values, digit, out=values, where=is_digit)
        after_point += is_digit & pointed
        pointed |= is_point
    digits = lengths - pointed
    right &= (digits >= 1) & (digits <= _LONGEST)
    values /= _POWERS[after_point]
    return np.where(negative, -values, values), right
