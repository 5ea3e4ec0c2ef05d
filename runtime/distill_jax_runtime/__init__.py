"""Tags text with exported models, without JAX; and what training shares with it.

    from distill_jax_runtime import Tagger

    tagger = Tagger.load("exported/model")
    tagger.predict(["play some jazz"])

This is the home of what a tagger needs wherever it runs: how text becomes words and words become ids,
which tag sequences are legal, how probable tags and spans are. The main package imports it from here, and not
the other way round, since a runtime that brought the main package along would bring JAX, and one with
copies would drift away from what the model was trained with. Nothing here imports `distill_jax`.

Importing the package imports nothing heavy; names are looked up on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distill_jax_runtime.version import __version__

if TYPE_CHECKING:
    from distill_jax_runtime.errors import UserError
    from distill_jax_runtime.tagged import TaggedSentence, TaggedSpan
    from distill_jax_runtime.tagger import Tagger

__all__ = ["TaggedSentence", "TaggedSpan", "Tagger", "UserError", "__version__"]

_HOMES = {
    "TaggedSentence": "tagged",
    "TaggedSpan": "tagged",
    "Tagger": "tagger",
    "UserError": "errors",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
