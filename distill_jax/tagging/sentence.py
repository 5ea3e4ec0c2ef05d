"""The record of a sentence, under the name that it has among the tags."""

# Its home is where texts become words, for the runtime reads texts too.
from distill_jax_runtime.sentence import Sentence, TextOrigin

__all__ = ["Sentence", "TextOrigin"]
