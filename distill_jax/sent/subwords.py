"""Sentences as an encoder tagger reads them, which an exported one does as well."""

from distill_jax_runtime.subwords import SubwordFormat

__all__ = ["SubwordFormat"]
