"""What an encoder tagger reads: each word's subwords in order, and where each word begins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.vocab import ByteVocabulary

VOCABULARY = ByteVocabulary()
WORDS = st.lists(st.text(max_size=6), max_size=8)


@given(WORDS)
def test_every_word_is_encoded_alone(words: list[str]) -> None:
    subwords = SubwordFormat(VOCABULARY)
    tokens, first = subwords.encode(words)
    assert tokens.dtype == first.dtype == np.int32
    assert first.shape == (len(words),) and tokens[-1] == VOCABULARY.eos_id
    assert 0 not in tokens.tolist()  # 0 is the model's padding
    ends = [*first.tolist(), len(tokens) - 1][1:]
    for word, start, end in zip(words, first.tolist(), ends, strict=True):
        assert tokens[start:end].tolist() == (VOCABULARY.encode(word) or [VOCABULARY.unk_id])


def test_what_stands_around_a_sequence_is_the_vocabularys() -> None:
    vocabulary = ByteVocabulary()
    vocabulary.prefix_ids, vocabulary.suffix_ids, vocabulary.pad_id = (300,), (301,), 302
    subwords = SubwordFormat(vocabulary)
    tokens, first = subwords.encode(["ab", "c"])
    assert tokens.tolist() == [300, *vocabulary.encode("abc"), 301]
    assert first.tolist() == [1, 3] and subwords.pad_id == 302
    vocabulary.suffix_ids = (301, 303)
    with pytest.raises(UserError, match="puts 3 special tokens around a sequence"):
        SubwordFormat(vocabulary)  # windows would be too long
