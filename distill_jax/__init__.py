"""distill_jax: turns a large T5 into a small, fast sequence tagger.

    from distill_jax import Tagger

    tagger = Tagger.load("path/to/model")
    tagger.predict([["play", "some", "jazz"]])

Importing the package imports nothing heavy; `Tagger` is looked up on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distill_jax.version import __version__

if TYPE_CHECKING:
    from distill_jax.tagger import Tagger

__all__ = ["Tagger", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Tagger":
        return import_module("distill_jax.tagger").Tagger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
