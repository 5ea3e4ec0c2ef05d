"""The one exception that stands for a mistake of the user's, not of the program's."""

# The runtime raises it too, and imports nothing of this package.
from distill_jax_runtime.errors import UserError

__all__ = ["UserError"]
