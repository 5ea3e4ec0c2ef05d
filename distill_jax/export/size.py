"""How large an exported file can be."""

from distill_jax.errors import UserError

_MOST_BYTES = 2**31 - 2**24
"""Of protocol buffers and flat buffers, less room for what is around the numbers."""


def check_size(size: int, what: str) -> None:
    """Raises `UserError` if so many bytes of numbers are more than such a file can hold."""
    if size > _MOST_BYTES:
        raise UserError(
            f"the model has {size / 2**30:.1f} GiB of numbers, and {what} holds less than 2; export it with "
            "--to hf, which has no such limit"
        )
