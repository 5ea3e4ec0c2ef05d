"""Prepared data: round trips, random access from threads and processes, and damage."""

import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grain
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_jax.data import demo, locations
from distill_jax.data.prepared import PreparedDataset
from distill_jax.errors import UserError
from distill_jax.tagging import LabelSet, Sentence

SENTENCES = demo.generate("train", 25)


@pytest.fixture
def dataset(tmp_path: Path) -> PreparedDataset:
    return PreparedDataset.write(
        tmp_path / "d", SENTENCES, demo.LABELS, shard_size=10, task="demo", split="train"
    )


def test_round_trip(dataset: PreparedDataset) -> None:
    assert len(dataset) == 25
    assert list(dataset) == SENTENCES
    assert [dataset[i] for i in (24, 0, 10, 9)] == [SENTENCES[i] for i in (24, 0, 10, 9)]
    assert dataset.labels == demo.LABELS
    assert (dataset.task, dataset.split, dataset.is_tagged) == ("demo", "train", True)
    assert [shard["examples"] for shard in dataset.manifest["shards"]] == [10, 10, 5]
    dataset.verify()
    for index in (-1, 25):
        with pytest.raises(IndexError):
            dataset[index]


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), max_size=9))
def test_any_words_round_trip(tmp_path: Path, rows: list[list[str]]) -> None:
    sentences = [Sentence(tuple(row)) for row in rows]
    dataset = PreparedDataset.write(
        tmp_path / "d", iter(sentences), None, shard_size=4, task="t", split="s"
    )
    assert list(dataset) == sentences
    assert dataset.labels is None
    assert not dataset.is_tagged or not sentences


def test_equal_sentences_give_equal_bytes_and_sharding_does_not_change_the_hash(
    tmp_path: Path, dataset: PreparedDataset
) -> None:
    same, resharded = (
        PreparedDataset.write(
            tmp_path / str(size),
            SENTENCES,
            demo.LABELS,
            shard_size=size,
            task="demo",
            split="train",
        )
        for size in (10, 7)
    )
    assert same.manifest == dataset.manifest
    assert resharded.content_hash() == dataset.content_hash()
    untagged = [Sentence(s.words) for s in SENTENCES]
    other = PreparedDataset.write(tmp_path / "o", untagged, None, task="demo", split="train")
    assert other.content_hash() != dataset.content_hash()


def test_threads_and_copies(dataset: PreparedDataset) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(dataset.__getitem__, [*range(25)] * 8)) == SENTENCES * 8
    assert list(pickle.loads(pickle.dumps(dataset))) == SENTENCES
    assert list(copy.deepcopy(dataset)) == SENTENCES


def test_it_is_a_source_for_grain(dataset: PreparedDataset) -> None:
    shuffled = grain.MapDataset.source(dataset).shuffle(seed=1)
    assert sorted(s.words for s in shuffled) == sorted(s.words for s in SENTENCES)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, dataset: PreparedDataset) -> None:
    labels = LabelSet(("city",))
    with pytest.raises(UserError, match=r"demo \(train\), sentence 1: tag .* not in the label set"):
        PreparedDataset.write(tmp_path / "d", SENTENCES, labels, task="demo", split="train")
    with pytest.raises(UserError, match="has tags but the task has no labels"):
        PreparedDataset.write(tmp_path / "d", SENTENCES, None, task="demo", split="train")
    with pytest.raises(UserError, match="shard size must be at least 1"):
        PreparedDataset.write(tmp_path / "d", [], None, shard_size=0, task="demo", split="train")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]
    assert list(PreparedDataset.open(tmp_path / "d")) == SENTENCES


def test_missing_directory_and_manifest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"manifest.json: cannot be read .* prepared data"):
        PreparedDataset.open(tmp_path / "nothing")


def _shard(dataset: PreparedDataset) -> Path:
    return dataset.directory / dataset.manifest["shards"][1]["file"]


def _edit_manifest(dataset: PreparedDataset, **fields: object) -> None:
    path = dataset.directory / "manifest.json"
    path.write_text(json.dumps(dataset.manifest | fields))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: _shard(d).unlink(), "the shard is missing"),
        (lambda d: _shard(d).write_bytes(_shard(d).read_bytes()[:-100]), "bytes instead of"),
        (lambda d: _shard(d).write_bytes(bytes(_shard(d).stat().st_size)), "records instead of 10"),
        (lambda d: (d.directory / "labels.txt").unlink(), "labels.txt: cannot read"),
        (lambda d: (d.directory / "labels.txt").write_text("city\n"), "not the label set"),
        (lambda d: (d.directory / "manifest.json").write_text("{"), "not valid JSON"),
        (lambda d: (d.directory / "manifest.json").write_text("[]"), "not a JSON object"),
        (lambda d: _edit_manifest(d, schema=99), "schema 99 instead of"),
        (lambda d: _edit_manifest(d, shards=[{}]), "'file' is missing or malformed"),
        (lambda d: _edit_manifest(d, examples=24), "do not add up"),
        (lambda d: _edit_manifest(d, task=None), "'task' is missing or malformed"),
        (lambda d: _edit_manifest(d, folders=None), "'folders' is missing or malformed"),
        (lambda d: _edit_manifest(d, folders=[{"path": "x"}]), "'within' is missing or malformed"),
        (
            lambda d: _edit_manifest(d, shards=[d.manifest["shards"][0] | {"file": "../x"}]),
            "not a file name",
        ),
    ],
)
def test_damage_is_noticed_on_opening(dataset: PreparedDataset, damage, reason: str) -> None:
    damage(dataset)
    with pytest.raises(UserError, match=reason) as caught:
        PreparedDataset.open(dataset.directory)
    assert str(dataset.directory) in str(caught.value)
    assert ";" in str(caught.value)


def test_changed_bytes_are_noticed_by_verify(dataset: PreparedDataset) -> None:
    content = bytearray(_shard(dataset).read_bytes())
    content[100] ^= 1
    _shard(dataset).write_bytes(bytes(content))
    with pytest.raises(UserError, match="bytes have changed"):
        dataset.verify()


@pytest.mark.parametrize("added", ["valid.conll", "labels.txt", "reading.json", "ibo/train.txt"])
def test_files_that_come_later_are_noticed(added: str, tmp_path: Path) -> None:
    source = tmp_path / "raw" / "mas" / "train.conll"
    source.parent.mkdir(parents=True)
    source.write_text("a O\n")
    (tmp_path / "raw" / "other").mkdir()
    (source.parent / "notes.md").write_text("none of the data")
    dataset = PreparedDataset.write(tmp_path / "d", [], None, task="t", split="s", sources=[source])
    (tmp_path / "raw" / "other" / "train.conll").write_text("another task\n")
    (source.parent / "more.md").write_text("none of the data")
    assert not dataset.sources_changed()
    (source.parent / added).parent.mkdir(exist_ok=True)
    (source.parent / added).write_text("a O\n")
    assert dataset.sources_changed()


def test_a_language_is_looked_for_where_it_lies_in_the_data_directory(tmp_path: Path) -> None:
    for root, text in (("one", "a O\n"), ("two", "b O\n")):
        source = tmp_path / root / "mas" / "hau" / "train.txt"
        source.parent.mkdir(parents=True)
        source.write_text(text)
    (tmp_path / "one" / "hau").mkdir()
    (tmp_path / "one" / "hau" / "train.txt").write_text("of no language set\n")
    locations.set_data_dir(tmp_path / "one")
    try:
        dataset = PreparedDataset.write(
            tmp_path / "d",
            *([], None),
            task="t",
            split="s",
            sources=[tmp_path / "one" / "mas" / "hau" / "train.txt"],
        )
    finally:
        locations.set_data_dir(None)
    assert not dataset.sources_changed(tmp_path / "one")
    assert dataset.sources_changed(tmp_path / "two")
    (tmp_path / "one" / "mas" / "ibo").mkdir()
    (tmp_path / "one" / "mas" / "ibo" / "train.txt").write_text("a O\n")
    assert dataset.sources_changed(tmp_path / "one")


def test_changed_sources_are_noticed(tmp_path: Path) -> None:
    source = tmp_path / "raw" / "snips" / "train.conll"
    source.parent.mkdir(parents=True)
    source.write_text("a O\n")
    dataset = PreparedDataset.write(tmp_path / "d", [], None, task="t", split="s", sources=[source])
    assert not dataset.sources_changed()
    elsewhere = tmp_path / "other" / "snips" / "train.conll"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_text("a O\n")
    assert not dataset.sources_changed(tmp_path / "other")
    elsewhere.write_text("b O\n")
    assert dataset.sources_changed(tmp_path / "other")
    source.unlink()
    assert not dataset.sources_changed()
