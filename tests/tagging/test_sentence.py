"""Sentences: their check and their identity."""

import hashlib

import pytest

from distill_jax.errors import UserError
from distill_jax.tagging import Sentence


def test_example_id_is_the_hash_of_the_words_alone() -> None:
    expected = hashlib.sha256(b"play\x1fwow").hexdigest()
    assert Sentence(("play", "wow")).example_id == expected
    assert Sentence(("play", "wow"), ("O", "B-track")).example_id == expected
    assert Sentence(("play wow",)).example_id != expected
    assert len(Sentence(()).example_id) == len(Sentence(("\ud800",)).example_id) == 64


def test_every_word_needs_a_tag() -> None:
    with pytest.raises(UserError, match="2 words but 1 tags"):
        Sentence(("play", "wow"), ("O",))
