"""How numbers are written, in the terminal and on pages alike."""


def share(value: float) -> str:
    """Four places, or two digits of what would be 0.0000."""
    return f"{value:.4f}" if value == 0 or value >= 5e-5 else f"{value:.1e}"


def probability(value: float) -> str:
    """Two places, and what is all but certain with as many as tell it from 1, up to four."""
    if f"{value:.2f}" != "1.00" or value >= 1:
        return f"{value:.2f}"
    return f"{value:.4f}" if value < 0.99995 else ">0.9999"


def short(count: int) -> str:
    """Three digits and a letter for the thousands: 1.23M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return str(count)
