"""Whole numbers: division that rounds up."""


def ceil_divide(value: int, divisor: int) -> int:
    """The least whole number that is not below `value / divisor`, for a positive `divisor`."""
    return -(-value // divisor)


def round_up(value: int, multiple: int) -> int:
    """The least multiple of `multiple` that is not below `value`."""
    return ceil_divide(value, multiple) * multiple
