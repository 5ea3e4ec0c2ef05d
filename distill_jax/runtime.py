"""Exported models without JAX: `distill_jax_runtime`, under this package's name."""

from distill_jax_runtime.errors import UserError
from distill_jax_runtime.tagged import TaggedSentence, TaggedSpan
from distill_jax_runtime.tagger import Tagger

__all__ = ["TaggedSentence", "TaggedSpan", "Tagger", "UserError"]
