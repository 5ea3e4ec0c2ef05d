"""Few-shot subsets: sizes, disjointness, nesting, and independence from the file's order."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_jax.data import demo
from distill_jax.data.subsets import FewShot, carve_validation, few_shot, parse_few_shot_name
from distill_jax.errors import UserError
from distill_jax.tagging import Sentence

SENTENCES = demo.generate("train", 200)
GOLDEN = [
    "could you please add the bottles to the playlist named the stars essentials",
    "do not let mothia braixman forget to walk the dog tonight",
]


def ids(sentences: list[Sentence]) -> list[str]:
    return [sentence.example_id for sentence in sentences]


@given(
    st.integers(0, 80), st.integers(0, 80), st.none() | st.integers(0, 40), st.integers(0, 10**9)
)
def test_sizes_and_disjointness(gold: int, dev: int, silver: int | None, seed: int) -> None:
    sets = few_shot(SENTENCES, gold=gold, dev=dev, silver=silver, seed=seed)
    rest = len(SENTENCES) - gold - dev if silver is None else silver
    assert {split: len(chosen) for split, chosen in sets.items()} == {
        "gold": gold,
        "dev": dev,
        "silver": rest,
    }
    assert len({*ids(sets["gold"]), *ids(sets["dev"]), *ids(sets["silver"])}) == gold + dev + rest
    assert {s.example_id: s.tags for s in SENTENCES}.items() >= {
        s.example_id: s.tags for s in sets["gold"] + sets["dev"]
    }.items()
    assert all(sentence.tags is None for sentence in sets["silver"])


def test_smaller_sets_are_prefixes_of_larger_ones() -> None:
    small = few_shot(SENTENCES, gold=10, dev=5, silver=20, seed=3)
    large = few_shot(SENTENCES, gold=30, dev=15, silver=None, seed=3)
    assert large["gold"][:10] == small["gold"]
    assert large["dev"][:5] == small["dev"]
    more = few_shot(SENTENCES, gold=10, dev=5, silver=40, seed=3)
    assert more["silver"][:20] == small["silver"]


def test_the_seed_and_the_sentences_decide_and_nothing_else() -> None:
    shuffled = random.Random(0).sample(SENTENCES, len(SENTENCES))
    sizes = {"gold": 20, "dev": 10, "silver": None}
    assert few_shot(shuffled, **sizes, seed=0) == few_shot(SENTENCES, **sizes, seed=0)
    assert few_shot(SENTENCES, **sizes, seed=1) != few_shot(SENTENCES, **sizes, seed=0)


def test_golden_choice() -> None:
    """The subsets that results in docs/ are about must not change silently."""
    chosen = few_shot(SENTENCES, gold=1, dev=1, silver=0, seed=0)
    assert [" ".join(s.words) for s in chosen["gold"] + chosen["dev"]] == GOLDEN


def test_copies_and_empty_sentences() -> None:
    copies = [*SENTENCES[:10], *SENTENCES[:10], Sentence((), ())]
    sets = few_shot(copies, gold=4, dev=3, silver=None, seed=0)
    assert len(set(ids(sets["gold"] + sets["dev"]))) == 7
    assert len(sets["silver"]) == 6  # three sentences, twice
    assert not set(ids(sets["silver"])) & set(ids(sets["gold"] + sets["dev"]))


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"gold": 150, "dev": 51, "silver": None}, "more than the 200 different ones"),
        ({"gold": 150, "dev": 50, "silver": 1}, "more than the 0 left"),
        ({"gold": -1, "dev": 50, "silver": 1}, "gold must not be negative"),
    ],
)
def test_impossible_sizes(sizes: dict[str, int | None], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        few_shot(SENTENCES, **sizes, seed=0)


def test_gold_sentences_need_tags() -> None:
    with pytest.raises(UserError, match="gold sentence has no tags"):
        few_shot([Sentence(("a",))], gold=1, dev=0, silver=None, seed=0)


@given(st.integers(0, 199), st.integers(0, 100))
def test_carving_keeps_every_sentence_and_the_order(size: int, seed: int) -> None:
    train, valid = carve_validation(SENTENCES, size, seed)
    assert len(valid) == size
    position = {sentence.example_id: number for number, sentence in enumerate(SENTENCES)}
    assert sorted(ids(train) + ids(valid)) == sorted(position)
    for part in (train, valid):
        assert sorted(part, key=lambda s: position[s.example_id]) == part


def test_carving_needs_something_to_be_left() -> None:
    with pytest.raises(UserError, match="cannot be carved from 200"):
        carve_validation(SENTENCES, 200, 0)


@given(
    st.builds(
        FewShot,
        gold=st.integers(0, 10**6),
        dev=st.integers(0, 10**6),
        silver=st.none() | st.integers(0, 10**6),
        seed=st.integers(0, 10**6),
    )
)
def test_names_round_trip(sizes: FewShot) -> None:
    assert parse_few_shot_name(f"my_set{sizes.suffix}") == ("my_set", sizes)


@pytest.mark.parametrize(
    "name", ["snips", "snips_gold100", "_gold1_dev2_seed0", "s_gold1_devx_seed0"]
)
def test_other_names(name: str) -> None:
    assert parse_few_shot_name(name) is None
