"""Mentions of a label change places, and nothing else does."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from distill_jax.data.augmentation import swap_mentions
from distill_jax.errors import UserError
from distill_jax.tagging import Sentence
from distill_jax_runtime.spans import spans_from_iob2

_GOLD = [
    Sentence(("fly", "to", "oslo", "on", "monday"), ("O", "O", "B-city", "O", "B-day")),
    Sentence(("new", "york", "today"), ("B-city", "I-city", "B-day")),
    Sentence(("thank", "you"), ("O", "O")),
]


def _mentions(sentences: list[Sentence]) -> set[tuple[str, tuple[str, ...]]]:
    return {
        (span.label, sentence.words[span.start : span.end])
        for sentence in sentences
        for span in spans_from_iob2(sentence.tags or ())
    }


def _frame(sentence: Sentence) -> list[str]:
    """The words outside of spans, and the label of each span."""
    frame = list(sentence.words)
    for span in sorted(spans_from_iob2(sentence.tags or ()), reverse=True):
        frame[span.start : span.end] = [f"<{span.label}>"]
    return frame


@given(copies=st.integers(0, 8), seed=st.integers(0, 99))
def test_variants_have_the_frames_and_the_mentions_of_the_originals(copies: int, seed: int) -> None:
    found = swap_mentions(_GOLD, copies, seed=seed)
    assert found[:3] == _GOLD
    variants = found[3:]
    assert len(variants) <= 2 * copies
    assert _mentions(found) == _mentions(_GOLD)
    frames = [_frame(sentence) for sentence in _GOLD]
    assert all(_frame(sentence) in frames for sentence in variants)
    assert all(sentence not in _GOLD for sentence in variants)
    assert found == swap_mentions(_GOLD, copies, seed=seed)


def test_all_combinations_turn_up() -> None:
    words = {" ".join(sentence.words) for sentence in swap_mentions(_GOLD, 60, seed=0)}
    assert {"fly to new york on today", "fly to oslo on today", "oslo monday"} <= words


def test_sentences_without_another_mention_stay_alone() -> None:
    alone = [_GOLD[0], _GOLD[2]]
    assert swap_mentions(alone, 5, seed=0) == alone


def test_fewer_than_no_copies_are_refused() -> None:
    with pytest.raises(UserError, match="MENTION_COPIES is -1; use at least 0"):
        swap_mentions(_GOLD, -1, seed=0)
