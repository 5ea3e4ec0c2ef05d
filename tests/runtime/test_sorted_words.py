"""Sorted words are found as a dictionary finds them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_jax_runtime.sorted_words import SortedWords

WORD = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=3)


@given(st.sets(WORD), st.lists(st.text(max_size=3)))
def test_as_a_dictionary(words: set[str], others: list[str]) -> None:
    expected = {word: row for row, word in enumerate(sorted(words))}
    found = SortedWords.of(words)
    assert len(found) == len(words) and list(found) == sorted(words) and found == expected
    for word in [*words, *others, "", "\n", "a\nb", "\ud800"]:
        assert found.get(word) == expected.get(word)
    assert SortedWords(found.text) == expected


def test_a_word_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="line break"):
        SortedWords.of(["a", "b\nc"])
