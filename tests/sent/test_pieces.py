"""The pieces of words: cut where a model reads no more, and told about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.sent.format import SenTFormat
from distill_jax.sent.pieces import TruncatedWord, WordPieces
from distill_jax.sent.subwords import SubwordFormat
from distill_jax.sent.truncation import SHOWN, TruncatedWords
from distill_jax.tagging import LabelSet
from distill_jax.vocab import ByteVocabulary

VOCABULARY = ByteVocabulary()


@given(st.lists(st.text(max_size=6)), st.integers(1, 8))
def test_a_word_is_cut_to_its_first_pieces(words: list[str], limit: int) -> None:
    whole, cut = WordPieces(VOCABULARY), WordPieces(VOCABULARY, limit)
    assert [cut.of(word) for word in words] == [whole.of(word)[:limit] for word in words]
    assert whole.truncated(words) == ()
    assert cut.truncated(words) == tuple(
        TruncatedWord(position, len(whole.of(word)), limit)
        for position, word in enumerate(words)
        if len(whole.of(word)) > limit
    )


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_jax_runtime.pieces._CACHED_WORDS", 3)
    pieces = WordPieces(VOCABULARY)
    expected = {word: pieces.of(word) for word in "abcdefg"}
    assert len(pieces._words) <= 3
    assert {word: pieces.of(word) for word in "abcdefg"} == expected


@pytest.mark.parametrize("max_tokens", [4, 5, 20])
def test_the_longest_word_fits_exactly(max_tokens: int) -> None:
    long = ["x" * 100]
    sent_format = SenTFormat(VOCABULARY, LabelSet(("city",)))
    assert len(sent_format.limited(max_tokens).encode_input(long)) == max_tokens
    subwords = SubwordFormat(VOCABULARY)
    # The limit counts a token that SenT′ has at the beginning and an encoder has not.
    assert len(subwords.limited(max_tokens).encode(long)[0]) == max_tokens - 1
    for unlimited in (sent_format, subwords):
        assert len(unlimited.word_token_ids(long[0])) == 100
        assert unlimited.truncated_words(long) == ()


def test_what_a_user_is_told() -> None:
    pieces = WordPieces(VOCABULARY, 3)
    truncated = TruncatedWords(pieces.truncated)
    truncated.add(("abc", "de"), "in.txt:1")
    assert truncated.lines() == []
    for number in range(SHOWN):
        truncated.add(("to", f"{number:05d}"), f"in.txt:{number + 2}")
    first, *shown = truncated.lines()
    assert first == f"words too long for the model, which reads their beginning alone: {SHOWN}"
    assert shown[1] == "in.txt:3: word 2 ('00001') has 5 tokens, of which the model reads 3"
    assert len(shown) == SHOWN
    truncated.add(("x" * 50, "y" * 50), "in.txt:99")
    assert truncated.count == SHOWN + 2
    assert truncated.lines()[2:] == [*shown[1:], "and 2 more"]
    strict = TruncatedWords(pieces.truncated, strict=True)
    with pytest.raises(UserError, match=r"^in\.txt:9: word 1 \('x{40}…'\) has 50 .*--strict"):
        strict.add(("x" * 50,), "in.txt:9")
