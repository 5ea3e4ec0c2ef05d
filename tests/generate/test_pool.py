"""Pools are whole or unfinished, and those that were stopped end with the bytes of one that was not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_jax.data.readers import read_sentences
from distill_jax.errors import UserError
from distill_jax.generate.filters import Filters, FilterSettings
from distill_jax.generate.pool import GeneratedPool, PoolLayout, write_pool
from distill_jax.generate.sources import Drawn

GOLD = [("aa", "bb", "cc")]
LAYOUT = PoolLayout(60, 8)


class Words:
    """Random sentences by their numbers, some of them twice; stops where it is told to."""

    def __init__(self, stop: int = -1) -> None:
        self.stop = stop

    def draw(self, start: int, end: int) -> list[Drawn]:
        if start <= self.stop < end:
            raise KeyboardInterrupt
        found = []
        for number in range(start, end):
            rng = np.random.default_rng(number % 50)
            words = tuple("abcdefghi"[i] * 2 for i in rng.integers(0, 9, 3))
            found.append(Drawn(words, log_probability=-float(number) / 3, tokens=4))
        return found


def write(
    directory: Path, source: Any = None, settings: Any = None, **layout: Any
) -> GeneratedPool:
    return write_pool(
        directory,
        source or Words(),
        Filters(FilterSettings(), GOLD),
        layout=LAYOUT._replace(**layout),
        settings=settings or {"seed": 0},
    )


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pools") / "whole"
    write(directory)
    return directory


def test_what_is_accepted_is_read_in_order(whole: Path) -> None:
    pool = GeneratedPool(whole)
    pool.verify()
    assert sum(pool.counts.values()) == 60 and pool.counts["duplicate"] >= 10
    places, sentences = zip(*pool.located(), strict=True)
    assert len(sentences) == len(pool) == len(set(sentences)) == pool.counts["accepted"]
    assert places[0] == f"{whole / 'part-00000-of-00008.jsonl'}:1"
    shards = sorted(whole.glob("part-*.jsonl"))
    read = [sentence.words for shard in shards for sentence in read_sentences(shard)]
    assert read == [sentence.words for sentence in sentences]
    [first, *_] = (json.loads(line) for line in shards[1].read_text().splitlines())
    assert first["perplexity"] == pytest.approx(np.exp(first["number"] / 12), rel=1e-3)
    rejected = [json.loads(line) for line in (whole / "rejected-00007-of-00008.jsonl").open()]
    assert {record["rejected"] for record in rejected} == {"duplicate"}


def test_stopped_twice_it_ends_with_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    for stop in (20, 45):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "pool", Words(stop))
        with pytest.raises(UserError, match=r"manifest.json.*to finish it"):
            GeneratedPool(tmp_path / "pool")
    write(tmp_path / "pool")
    assert content(tmp_path / "pool") == content(whole)
    write(tmp_path / "pool", Words(0))  # nothing is left to draw
    assert content(tmp_path / "pool") == content(whole)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"aa"', b'"bb"', 1))


@pytest.mark.parametrize(
    "damage, at_once",
    [(cut, True), (Path.unlink, True), (change, False)],
    ids=["cut", "gone", "changed"],
)
def test_damage_is_found_and_mended(
    whole: Path, tmp_path: Path, damage: Callable[[Path], None], at_once: bool
) -> None:
    pool = tmp_path / "pool"
    shutil.copytree(whole, pool)
    damage(pool / "part-00003-of-00008.jsonl")
    with pytest.raises(UserError, match=r"part-00003.*delete .*part-00003-of-00008.json and run"):
        found = GeneratedPool(pool)
        assert not at_once
        found.verify()
    (pool / "part-00003-of-00008.json").unlink()
    write(pool)
    assert content(pool) == content(whole)


def test_other_settings_and_other_folders_are_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"other settings \(seed\)"):
        write(whole, settings={"seed": 1})
    with pytest.raises(UserError, match=r"other settings \(number\)"):
        write(whole, number=61)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="not empty and no pool"):
        write(tmp_path)
    with pytest.raises(UserError, match="is not a directory"):
        write(tmp_path / "file")
    with pytest.raises(UserError, match=r"give a directory that `generate` wrote"):
        GeneratedPool(tmp_path)


class Same(Words):
    """Gold, or nothing."""

    def draw(self, start: int, end: int) -> list[Drawn]:
        return [Drawn(GOLD[0] if number % 3 else ()) for number in range(start, end)]


def test_a_pool_of_which_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing of 60 sentences \(unfinished 20, gold 40\)"):
        write(tmp_path / "pool", Same())
    with pytest.raises(UserError):
        GeneratedPool(tmp_path / "pool")
