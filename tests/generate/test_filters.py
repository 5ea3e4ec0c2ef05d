"""Each filter by itself, in its order, and the figures against their definitions."""

import math
from typing import Any

import pytest

from distill_jax.errors import UserError
from distill_jax.generate.figures import diversity, overlap, self_bleu
from distill_jax.generate.filters import Filters, FilterSettings, perplexity
from distill_jax.generate.sources import Drawn

GOLD = [tuple(["play", "Wow", "now"])]
OFF: dict[str, Any] = {
    name: False for name in ("unfinished", "malformed", "gold", "duplicate", "near_duplicate")
}


def drawn(text: str, **fields: Any) -> Drawn:
    return Drawn(tuple(text.split()), **fields)


SAMPLES = [
    drawn("play wow now"),
    drawn("book a flight", ended=False),
    drawn(""),
    drawn("book flight 12"),
    drawn("Book flight 12"),
    drawn("flight , book 34"),
    drawn("one two three four five"),
    drawn("an unlikely one", log_probability=-30.0, tokens=3),
    drawn("no tags here", well_formed=False),
]
EACH = [
    ({"unfinished": True}, {1: "unfinished", 2: "unfinished"}),
    ({"malformed": True}, {8: "malformed"}),
    ({"length": (1, 4)}, {2: "length", 6: "length"}),
    ({"perplexity": (0.0, 100.0)}, {7: "perplexity"}),
    ({"gold": True}, {0: "gold"}),
    ({"duplicate": True}, {4: "duplicate"}),
    ({"near_duplicate": True}, {4: "near_duplicate", 5: "near_duplicate"}),
    ({}, {}),
]


@pytest.mark.parametrize("fields, expected", EACH, ids=lambda value: str(list(value)))
def test_one_filter(fields: dict[str, Any], expected: dict[int, str]) -> None:
    reasons = Filters(FilterSettings(**{**OFF, **fields}), GOLD).judge(SAMPLES)
    assert {n: reason for n, reason in enumerate(reasons) if reason} == expected


def test_all_filters_give_each_one_reason() -> None:
    filters = Filters(FilterSettings(length=(1, 4), perplexity=(1, 100)), GOLD)
    whole = filters.judge(SAMPLES)
    assert whole == [
        *("gold", "unfinished", "unfinished", None),
        *("duplicate", "near_duplicate", "length", "perplexity", "malformed"),
    ]
    # Shard by shard, and by what was accepted before: the same.
    pieces = Filters(FilterSettings(length=(1, 4), perplexity=(1, 100)), GOLD)
    assert pieces.judge(SAMPLES[:4]) == whole[:4]
    again = Filters(FilterSettings(length=(1, 4), perplexity=(1, 100)), GOLD)
    again.remember([SAMPLES[3].words])
    assert pieces.judge(SAMPLES[4:]) == again.judge(SAMPLES[4:]) == whole[4:]


def test_duplicates_are_of_accepted_sentences_however_often_a_pool_is_stopped() -> None:
    shards = [[drawn("a b c"), drawn("c b a")], [drawn("x y z"), drawn("c b a")]]
    whole = Filters(FilterSettings(), GOLD)
    reasons = [whole.judge(shard) for shard in shards]
    assert reasons == [[None, "near_duplicate"], [None, "near_duplicate"]]
    resumed = Filters(FilterSettings(), GOLD)
    resumed.remember([shards[0][0].words])
    assert resumed.judge(shards[1]) == reasons[1]


def test_perplexity_is_of_a_token() -> None:
    assert perplexity(drawn("x", log_probability=4 * math.log(0.5), tokens=4)) == pytest.approx(2.0)
    assert perplexity(drawn("x")) is None


def test_diversity_by_hand() -> None:
    figures = diversity([("a", "b", "a"), ("A", "b")], [("a", "c")])
    assert figures == {
        "sentences": 2,
        "distinct_1": 0.4,  # a, b of five
        "new_1grams": 0.5,
        "distinct_2": 0.6667,  # ab, ba of three
        "new_2grams": 1.0,
        "distinct_3": 1.0,
        "new_3grams": 1.0,
        "self_bleu": figures["self_bleu"],
    }
    assert diversity([], [])["distinct_1"] is None


def test_self_bleu() -> None:
    same = ("a", "b", "c", "d", "e")
    assert self_bleu([same, same]) == 1.0
    assert self_bleu([("a", "b"), ("c", "d")]) == 0.0
    # "a b c" against "a b d": 2/3 of words; (1+1)/(2+1), (0+1)/(1+1), 1 of longer n-grams; equally long.
    expected = math.exp((math.log(2 / 3) + math.log(2 / 3) + math.log(1 / 2) + 0) / 4)
    assert self_bleu([("a", "b", "c"), ("a", "b", "d")]) == pytest.approx(expected, abs=1e-4)
    assert self_bleu([same]) is None


def test_overlap_with_held_out() -> None:
    held_out = [("one", "two", "three", "four", "five"), ("yes",)]
    found = overlap([("Yes",), ("one", "two", "three", "four"), ("a", "b", "c", "d")], held_out)
    assert found == {"sentences": 1, "share_of_4grams": 0.5}


def test_bands_that_hold_nothing() -> None:
    with pytest.raises(UserError, match="no length is between 5 and 3"):
        FilterSettings(length=(5, 3))
    with pytest.raises(UserError, match="no perplexity is between 9 and 2"):
        FilterSettings(perplexity=(9.0, 2.0))
