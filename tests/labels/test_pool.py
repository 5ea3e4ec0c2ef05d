"""Pools: each sentence once, the same in every pass, and memory that does not grow with them."""

import itertools
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.files import sha256_json
from distill_jax.labels import pool as pool_module
from distill_jax.labels.pool import Pool, SeenHashes, hash_of_ids
from distill_jax.labels.store import StoreOptions, TeacherLabels, write_store
from distill_jax.tagging import LabelSet, Sentence

LABELS = LabelSet(("city",))


def sentences(numbers: Iterable[int]) -> list[Sentence]:
    return [Sentence((f"w{number}",)) for number in numbers]


def teacher(shard: Sequence[Sentence]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (np.zeros(len(one.words), np.int32), np.zeros((len(one.words), 3), np.float32))
        for one in shard
    ]


@given(st.lists(st.lists(st.integers(0, 30), max_size=9), max_size=9))
def test_hashes_are_a_set(blocks: list[list[int]]) -> None:
    seen, expected = SeenHashes(), set[int]()
    for block in blocks:
        found = seen.add(np.array([f"{number:016d}" for number in block], "S16"))
        assert found.dtype == bool
        for number, is_new in zip(block, found, strict=True):
            assert is_new == (number not in expected)
            expected.add(number)
    lengths = [len(array) for array in seen._arrays]
    assert sum(lengths) == len(expected)
    assert all(left >= 2 * right for left, right in itertools.pairwise(lengths))


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "a\x1fb", "\ud83d", "\ude00"]), max_size=3)))
def test_each_sentence_once_in_its_first_place(words: list[list[str]]) -> None:
    given_ones = [Sentence(tuple(one)) for one in words]
    expected = list(dict.fromkeys(one for one in given_ones if one.words))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_module, "BLOCK", 3)
        pool = Pool(lambda: given_ones)
        assert list(pool) == list(pool) == expected
    assert len(pool) == len(expected)
    assert pool.content_hash == sha256_json([one.example_id for one in expected])
    assert pool.empty == sum(not one.words for one in given_ones)
    assert len(pool) + pool.empty + pool.duplicates == len(given_ones)
    everything = Pool(lambda: given_ones, once=False)
    assert list(everything) == given_ones
    assert everything.content_hash == hash_of_ids(one.example_id for one in given_ones)


@pytest.mark.parametrize(
    "then",
    [
        sentences([0, 1, 2, 9, 4]),  # another word
        sentences([0, 1, 2, 3]),
        sentences([0, 1]),
        sentences(range(8)),
    ],
)
def test_an_input_that_changes_between_passes(
    then: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "BLOCK", 2)
    passes = iter([sentences(range(5)), then])
    pool = Pool(lambda: next(passes))
    read: list[Sentence] = []
    with pytest.raises(UserError, match="the input has changed"):
        for sentence in pool:
            read.append(sentence)
    assert read == sentences(range(5))[: len(read)]


def test_only_what_is_needed_is_read(tmp_path: Path) -> None:
    """Shards that are there, or another process's, cost no more than reading past them."""
    taken: list[int] = []

    def read() -> Iterator[Sentence]:
        for number, sentence in enumerate(sentences(range(10))):
            taken.append(number)
            yield sentence

    def write(*process: int, label: Any = teacher) -> TeacherLabels | None:
        options = StoreOptions(2, process=process)  # type: ignore[arg-type]
        return write_store(tmp_path / "s", Pool(read), LABELS, label, settings={}, options=options)

    labelled: list[Sentence] = []

    def noting(shard: Sequence[Sentence]) -> list[tuple[np.ndarray, np.ndarray]]:
        labelled.extend(shard)
        return teacher(shard)

    assert write(1, 2, label=noting) is None
    assert labelled == sentences([2, 3, 6, 7])
    labelled.clear()
    store = write(0, 1, label=noting)
    assert store is not None and [one.words for one in store] == [
        one.words for one in sentences(range(10))
    ]
    assert labelled == sentences([0, 1, 4, 5, 8, 9])
    taken.clear()
    write(0, 1)
    assert taken == list(range(10))  # once, to see that it is the same pool


@pytest.mark.slow
def test_memory_does_not_grow_with_the_pool(tmp_path: Path) -> None:
    """Ten times the sentences take little more than the bytes of their hashes."""

    def peak(count: int) -> int:
        def read() -> Iterator[Sentence]:
            for number in range(count):
                yield Sentence(("play", "some", "songs", "of", f"artist{number % (count - 9)}"))

        tracemalloc.start()
        pool = Pool(read)
        assert (len(pool), pool.duplicates) == (count - 9, 9)
        options = StoreOptions(256)
        write_store(tmp_path / f"{count}", pool, LABELS, teacher, settings={}, options=options)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(100)  # what is imported late
    small = peak(2_000)
    assert peak(20_000) < 2 * small  # 7 times, if sentences were kept
