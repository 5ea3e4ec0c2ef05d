"""What kinds over subwords share."""

from typing import Any

from distill_jax.errors import UserError
from distill_jax.integers import round_up
from distill_jax.vocab import Vocabulary

ROW_MULTIPLE = 128
"""Rows of an embedding are padded to a multiple of this, as T5's 32,100 are to 32,128: it keeps the
vocabulary's axis divisible over a mesh."""


def rows_for(vocabulary: Vocabulary) -> int:
    """Embedding rows for a vocabulary."""
    return round_up(vocabulary.size, ROW_MULTIPLE)


def check_subwords(vocabulary: Any, rows: int, what: str, where: str) -> None:
    """Raises `UserError` if a vocabulary is not of subwords, or has more ids than the model rows."""
    remedy = "use the vocabulary the model was trained with"
    if not isinstance(vocabulary, Vocabulary):
        raise UserError(f"{where}: {what} cannot use a vocabulary of words; {remedy}")
    if vocabulary.size > rows:
        raise UserError(
            f"{where}: the vocabulary has {vocabulary.size} ids, the model only "
            f"{rows} embedding rows (vocab_size); {remedy}"
        )


def check_padding(vocabulary: Vocabulary, pad_id: int, what: str, where: str) -> None:
    """Raises `UserError` if a vocabulary pads with another id than the one that a model leaves out."""
    if vocabulary.pad_id != pad_id:
        raise UserError(
            f"{where}: padding has id {vocabulary.pad_id} in the vocabulary, and {what} needs "
            f"{pad_id}; use the vocabulary the model was trained with"
        )
