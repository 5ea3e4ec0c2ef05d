"""The embedded data set: the same everywhere, disjoint splits, and the difficulties it promises."""

import hashlib
import itertools
import json
import os
import subprocess
import sys

import pytest

from distill_jax.data import demo, demo_names
from distill_jax.errors import UserError
from distill_jax.tagging import Sentence, is_legal, spans_from_iob2

GOLDEN = {
    "train": "2f4a968f2c0539ad7f49ff5af2804ece5c8dd82c60f3c0226ccf2ac4c02517fd",
    "valid": "d2a318444913fe2fc2c8e140a02c94f820de34cda595c6c33612dca054e903a8",
    "test": "c1e1c005853d07ef018bd600b633a0ff240e7429e0aa747da3141f303b12b62e",
}
"""Hashes of the first 20 sentences with seed 0. Results in docs/ depend on them."""

_HASH = """
import hashlib, json
from distill_jax.data import demo
rows = [[s.words, s.tags] for s in demo.generate("train", 20, 0)]
print(hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def train() -> list[Sentence]:
    return demo.generate("train", 2_000)


@pytest.fixture(scope="module")
def test_split() -> list[Sentence]:
    return demo.generate("test", 500)


@pytest.mark.parametrize("split", demo.SPLITS)
def test_golden_hash(split: str) -> None:
    rows = [[s.words, s.tags] for s in demo.generate(split, 20, 0)]
    text = json.dumps(rows, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN[split]


def test_the_hash_seed_of_the_process_does_not_matter() -> None:
    environment = os.environ | {"PYTHONHASHSEED": "123"}
    output = subprocess.run(
        [sys.executable, "-c", _HASH], env=environment, capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == GOLDEN["train"]


def test_sizes_are_prefixes_and_seeds_differ(train: list[Sentence]) -> None:
    assert demo.generate("train", 300) == train[:300]
    assert demo.generate("train", 300, seed=1)[:3] != train[:3]
    assert demo.generate("train", 0) == []


def test_splits_share_no_sentence_and_repeat_none() -> None:
    seen: set[str] = set()
    for split, seed in itertools.product(demo.SPLITS, (0,)):
        ids = {sentence.example_id for sentence in demo.generate(split, 1_500, seed)}
        assert len(ids) == 1_500
        assert not ids & seen
        seen |= ids
    other_seed = {sentence.example_id for sentence in demo.generate("test", 1_500, 7)}
    assert not other_seed & {s.example_id for s in demo.generate("train", 1_500, 0)}


def test_form(train: list[Sentence]) -> None:
    for sentence in train:
        assert 4 <= len(sentence.words) <= 14
        assert all(word and word == word.lower() and " " not in word for word in sentence.words)
        assert sentence.tags is not None
        assert is_legal(sentence.tags, "iob2")


def test_every_label_is_common(train: list[Sentence], test_split: list[Sentence]) -> None:
    assert len(demo.LABELS.names) >= 10
    for sentences, least in ((train[:100], 1), (train, 40), (test_split, 10)):
        counts = dict.fromkeys(demo.LABELS.names, 0)
        for sentence in sentences:
            for span in spans_from_iob2(sentence.tags or ()):
                counts[span.label] += 1
        assert min(counts.values()) >= least, counts


def _labels_of_words(sentences: list[Sentence]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for sentence in sentences:
        for word, tag in zip(sentence.words, sentence.tags or (), strict=True):
            found.setdefault(word, set()).add(tag.partition("-")[2])
    return found


def test_most_entity_words_of_the_test_split_are_not_in_a_hundred_sentences(
    train: list[Sentence], test_split: list[Sentence]
) -> None:
    seen = {word for word, labels in _labels_of_words(train[:100]).items() if labels != {""}}
    words = {word for word, labels in _labels_of_words(test_split).items() if labels != {""}}
    assert len(words - seen) > 0.7 * len(words)


def test_words_change_their_label_with_the_context(train: list[Sentence]) -> None:
    labels = _labels_of_words(train)
    assert {"", "date", "person"} <= labels["may"]
    assert sum({"city", "track", "artist"} <= labels[name] for name in demo_names.CITIES) > 5
    assert {"time", "party_size", "duration"} <= labels["seven"]
    assert sum(len(kinds) >= 3 for kinds in labels.values()) > 100


def test_spans_touch(train: list[Sentence]) -> None:
    touching = {
        (left.label, right.label)
        for sentence in train
        for left, right in itertools.pairwise(spans_from_iob2(sentence.tags or ()))
        if left.end == right.start
    }
    assert {
        ("item", "item"),
        ("person", "person"),
        ("room", "device"),
        ("date", "time"),
    } <= touching


def test_bad_arguments() -> None:
    with pytest.raises(UserError, match="no split 'dev'; use one of train, valid, test"):
        demo.generate("dev", 1)
    with pytest.raises(UserError, match="must not be negative"):
        demo.generate("test", -1)
