"""The pieces of a word, which an exported model reads as well."""

from distill_jax_runtime.pieces import TruncatedWord, WordPieces

__all__ = ["TruncatedWord", "WordPieces"]
