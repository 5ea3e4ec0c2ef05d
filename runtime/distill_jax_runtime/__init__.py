"""Tags text with exported models, without JAX; and what training shares with it.

Text becomes words in `distill_jax_runtime.text` alone, whichever package reads it, so that a model
sees the same words in training and wherever it runs. Nothing here imports `distill_jax`.
"""

from distill_jax_runtime.version import __version__

__all__ = ["__version__"]
