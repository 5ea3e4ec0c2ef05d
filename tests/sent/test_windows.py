"""Windows: they cover, they fit, every word has one owner, and merging is exact."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.sent.windows import Window, merge_tags, merge_windows, owned_ranges, windows


def split(lengths: Sequence[int], *, max_words: int, max_tokens: int, overlap: int) -> list[Window]:
    """Windows of a sentence whose words are named after their token lengths."""
    return windows(
        [str(n) for n in lengths],
        max_words=max_words,
        max_tokens=max_tokens,
        token_length=int,
        overlap_words=overlap,
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], int, int, int]:
    lengths = draw(st.lists(st.integers(1, 6), max_size=40))
    max_words = draw(st.integers(1, 12))
    max_tokens = draw(st.integers(max(lengths, default=1) + 3, 40))
    return lengths, max_words, max_tokens, draw(st.integers(0, max_words - 1))


def brute_force_owner(found: Sequence[Window], word: int, length: int) -> int:
    contexts = []
    for start, end in found:
        left = float("inf") if start == 0 else word - start
        right = float("inf") if end == length else end - 1 - word
        contexts.append(min(left, right) if start <= word < end else -1)
    return contexts.index(max(contexts))


@settings(max_examples=300, deadline=None)
@given(cases())
def test_windows_cover_fit_and_have_one_owner_a_word(case: tuple[list[int], int, int, int]) -> None:
    lengths, max_words, max_tokens, overlap = case
    found = split(lengths, max_words=max_words, max_tokens=max_tokens, overlap=overlap)

    for start, end in found:
        assert end - start <= max_words
        # s₀ w₁ s₁ … w_n s_n </s>
        assert 1 + sum(n + 1 for n in lengths[start:end]) + 1 <= max_tokens
    covered = sorted({word for start, end in found for word in range(start, end)})
    assert covered == list(range(len(lengths)))
    assert all(a.start < b.start and a.end < b.end for a, b in itertools.pairwise(found))

    owned = owned_ranges(found)
    assert [w for start, end in owned for w in range(start, end)] == list(range(len(lengths)))
    for index, (start, end) in enumerate(owned):
        assert all(brute_force_owner(found, w, len(lengths)) == index for w in range(start, end))

    whole = np.arange(2 * len(lengths)).reshape(-1, 2)
    merged = merge_windows(found, [whole[start:end] for start, end in found])
    assert merged.dtype == whole.dtype
    np.testing.assert_array_equal(merged, whole)


@settings(max_examples=300, deadline=None)
@given(case=cases(), data=st.data())
def test_merged_tags_are_legal_and_whole(
    case: tuple[list[int], int, int, int], data: st.DataObject
) -> None:
    lengths, max_words, max_tokens, overlap = case
    found = split(lengths, max_words=max_words, max_tokens=max_tokens, overlap=overlap)
    per_window = [
        np.array(data.draw(legal_tags(window.length)), dtype=np.int64) for window in found
    ]
    merged = merge_tags(found, per_window)
    assert merged.dtype == np.int32
    assert_legal(merged.tolist())
    # Only words behind a seam may differ from what their owners said.
    plain = merge_windows(found, per_window)
    for start, end in owned_ranges(found):
        if start < end and plain[start] != 1:
            np.testing.assert_array_equal(merged[start:end], plain[start:end])


@settings(max_examples=100, deadline=None)
@given(case=cases(), data=st.data())
def test_windows_that_agree_merge_to_what_they_agree_on(
    case: tuple[list[int], int, int, int], data: st.DataObject
) -> None:
    lengths, max_words, max_tokens, overlap = case
    found = split(lengths, max_words=max_words, max_tokens=max_tokens, overlap=overlap)
    tags = np.array(data.draw(legal_tags(len(lengths))), dtype=np.int32)
    assume(all(start == end or tags[start] != 1 for start, end in found))
    np.testing.assert_array_equal(merge_tags(found, [tags[a:b] for a, b in found]), tags)


def legal_tags(length: int) -> st.SearchStrategy[list[int]]:
    """sBIO ids: O = 0, I = 1, labels 2 and 3."""

    def legalised(tags: list[int]) -> list[int]:
        for i, tag in enumerate(tags):
            if tag == 1 and (i == 0 or tags[i - 1] == 0):
                tags[i] = 0
        return tags

    return st.lists(st.integers(0, 3), min_size=length, max_size=length).map(legalised)


def assert_legal(tags: list[int]) -> None:
    assert all(tag != 1 or previous != 0 for previous, tag in zip([0, *tags], tags, strict=False))


def test_what_fits_is_one_window() -> None:
    assert split([], max_words=5, max_tokens=10, overlap=1) == [Window(0, 0)]
    # 2 + (2+1) + (2+1) + (1+1) = 10 tokens
    assert split([2, 2, 1], max_words=3, max_tokens=10, overlap=1) == [Window(0, 3)]
    assert len(split([2, 2, 1], max_words=3, max_tokens=9, overlap=1)) == 2
    assert len(split([2, 2, 1], max_words=2, max_tokens=10, overlap=1)) == 2


def test_overlap_and_owners_of_plain_words() -> None:
    found = split([1] * 10, max_words=6, max_tokens=100, overlap=3)
    assert found == [Window(0, 6), Window(3, 9), Window(6, 10)]
    # Word 4 has one word to the edge in each of the first two windows: a tie, so the first owns it.
    assert owned_ranges(found) == [Window(0, 5), Window(5, 8), Window(8, 10)]


def test_overlap_gives_way_where_tokens_leave_no_room() -> None:
    # The long word fits a window with no other word.
    assert split([1, 1, 7, 1, 1], max_words=4, max_tokens=10, overlap=2) == [
        Window(0, 2),
        Window(2, 3),
        Window(3, 5),
    ]


def test_a_window_may_own_nothing() -> None:
    found = [Window(0, 8), Window(1, 9), Window(2, 10)]
    owned = owned_ranges(found)
    assert sum(own.length for own in owned) == 10
    whole = np.arange(10)
    np.testing.assert_array_equal(
        merge_windows(found, [whole[start:end] for start, end in found]), whole
    )


def test_seam_rule() -> None:
    found = [Window(0, 6), Window(2, 8)]  # words 0 to 3 belong to the first, 4 to 7 to the second
    assert owned_ranges(found) == [Window(0, 4), Window(4, 8)]
    outside = np.array([0, 0, 0, 0, 0, 0])
    # The second window opened a span of label 3 at word 3 and goes on in 4 and 5.
    merged = merge_tags(found, [outside, np.array([0, 3, 1, 1, 0, 0])])
    assert merged.tolist() == [0, 0, 0, 0, 3, 1, 0, 0]
    # The first window has a span up to the seam: it goes on.
    merged = merge_tags(found, [np.array([0, 0, 2, 1, 0, 0]), np.array([0, 3, 1, 1, 0, 0])])
    assert merged.tolist() == [0, 0, 2, 1, 1, 1, 0, 0]
    # An illegal window, whose span was never opened.
    merged = merge_tags(found, [outside, np.array([0, 0, 1, 1, 0, 0])])
    assert merged.tolist() == [0] * 8


def test_a_word_over_the_limit_is_refused() -> None:
    with pytest.raises(UserError, match=r"word 2 \('8'\) alone takes 11 input tokens .* 10"):
        split([1, 8, 1], max_words=5, max_tokens=10, overlap=1)


@pytest.mark.parametrize(
    ("max_words", "max_tokens", "overlap", "match"),
    [
        (0, 10, 0, "at most 0 words"),
        (4, 10, 4, "overlap by 4"),
        (4, 10, -1, "overlap by -1"),
        (4, 1, 1, "no room for words"),
    ],
)
def test_senseless_limits(max_words: int, max_tokens: int, overlap: int, match: str) -> None:
    with pytest.raises(UserError, match=match):
        split([], max_words=max_words, max_tokens=max_tokens, overlap=overlap)


def test_merge_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="4 words and its array 3 rows"):
        merge_windows([Window(0, 4)], [np.zeros(3)])
    with pytest.raises(ValueError, match="begin at the first word"):
        owned_ranges([Window(1, 4)])
    with pytest.raises(ValueError, match="no gap"):
        owned_ranges([Window(0, 4), Window(5, 8)])
    with pytest.raises(ValueError, match="zip"):
        merge_windows([Window(0, 4)], [])


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), max_size=40),
    reach=st.integers(0, 4),
    room=st.integers(1, 10),
    seed=st.integers(0, 2**32 - 1),
)
def test_windows_that_hold_all_that_matters_give_what_no_windows_give(
    lengths: list[int], reach: int, room: int, seed: int
) -> None:
    """A model that looks at most `reach` words to either side, and windows that share twice that."""
    max_words = 2 * reach + room
    found = split(lengths, max_words=max_words, max_tokens=1000, overlap=2 * reach)
    values = np.random.default_rng(seed).normal(size=len(lengths))

    def score(start: int, end: int) -> np.ndarray:
        """What the model says about each word of `start` to `end`, which is all it sees."""
        seen = [values[max(start, i - reach) : min(end, i + reach + 1)] for i in range(start, end)]
        return np.array([[each.sum(), len(each)] for each in seen]).reshape(-1, 2)

    merged = merge_windows(found, [score(start, end) for start, end in found])
    np.testing.assert_array_equal(merged, score(0, len(lengths)))
