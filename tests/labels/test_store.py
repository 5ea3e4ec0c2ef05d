"""The teacher-label store: round trips, resuming, and damage."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.labels.store import StoreOptions, TeacherLabels, write_store
from distill_jax.tagging import LabelSet, Sentence

LABELS = LabelSet(("artist", "city"))
SENTENCES = [Sentence(tuple(f"w{i}_{j}" for j in range(i % 4))) for i in range(11)]
SETTINGS: dict[str, Any] = {"teacher_sha256": "00ff", "decoder": {"beam": 1, "limits": (1, 2)}}


def teacher(chunk: Sequence[Sentence]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores that depend on the words alone; I is illegal at the start."""
    found = []
    for sentence in chunk:
        rng = np.random.default_rng(len(sentence.words) + 1000 * len("".join(sentence.words)))
        scores = rng.normal(scale=5, size=(len(sentence.words), 4)).astype(np.float32)
        scores[:1, 1] = -np.inf
        found.append((scores.argmax(-1).astype(np.int32), scores))
    return found


def write(directory: Path, **changes: Any) -> TeacherLabels:
    arguments: dict[str, Any] = {
        "sentences": SENTENCES,
        "labels": LABELS,
        "label": teacher,
        "settings": SETTINGS,
    }
    options = {name: changes.pop(name) for name in StoreOptions._fields if name in changes}
    options = StoreOptions(**({"shard_size": 3} | options))
    store = write_store(directory, **(arguments | changes), options=options)
    assert store is not None
    return store


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


class Counting:
    """A teacher that counts what it labelled, and breaks down after some chunks."""

    def __init__(self, breaks_after: int | None = None) -> None:
        self.chunks = 0
        self.breaks_after = breaks_after

    def __call__(self, chunk: Sequence[Sentence]) -> list[tuple[np.ndarray, np.ndarray]]:
        if self.chunks == self.breaks_after:
            raise KeyboardInterrupt
        self.chunks += 1
        return teacher(chunk)


def test_round_trip(tmp_path: Path) -> None:
    done: list[int] = []
    store = write(tmp_path / "s", progress=done.append)
    assert done == [3, 3, 3, 2]
    assert len(store) == len(SENTENCES)
    assert store.labels == LABELS
    for found, sentence, (tags, scores) in zip(store, SENTENCES, teacher(SENTENCES), strict=True):
        assert found.words == sentence.words
        assert (found.tag_ids.dtype, found.log_posteriors.dtype) == (np.int32, np.float32)
        np.testing.assert_array_equal(found.tag_ids, tags)
        legal = np.exp(scores.astype(np.float64))
        expected = np.where(scores == -np.inf, 0, legal) / legal.sum(-1, keepdims=True)
        assert found.log_posteriors.shape == scores.shape
        np.testing.assert_array_equal(np.isneginf(found.log_posteriors), scores == -np.inf)
        np.testing.assert_allclose(np.exp(found.log_posteriors), expected, rtol=1e-2, atol=1e-7)
    store.verify()
    for index in (-1, len(store)):
        with pytest.raises(IndexError):
            store[index]


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(st.text(max_size=3), max_size=3), max_size=5), st.integers(1, 4))
def test_any_words_round_trip(tmp_path: Path, pool: list[list[str]], shard_size: int) -> None:
    shutil.rmtree(tmp_path / "s", ignore_errors=True)
    sentences = [Sentence(tuple(words)) for words in pool]
    store = write(tmp_path / "s", sentences=sentences, shard_size=shard_size)
    assert [found.words for found in store] == [sentence.words for sentence in sentences]


def test_scores_are_normalised_whatever_their_size(tmp_path: Path) -> None:
    scores = np.array([[-2e5, -np.inf, -1e5, -1e5]], np.float32)
    store = write(
        tmp_path / "s",
        sentences=[Sentence(("a",))],
        label=lambda chunk: [(np.array([2], np.int32), scores)],
    )
    log_posteriors = store[0].log_posteriors
    # A tag too improbable for float16 stays legal.
    assert np.isfinite(log_posteriors[0, 0]) and log_posteriors[0, 0] < -6e4
    assert log_posteriors[0, 1] == -np.inf
    np.testing.assert_allclose(log_posteriors[0, 2:], np.log(0.5), rtol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(tmp_path: Path, bad: float) -> None:
    with pytest.raises(UserError, match=r"sentence 'a b': the teacher's scores are not finite"):
        write(
            tmp_path / "s",
            sentences=[Sentence(("a", "b"))],
            label=lambda chunk: [(np.zeros(2, np.int32), np.full((2, 4), bad, np.float32))],
        )
    with pytest.raises(UserError, match=r"manifest\.json"):
        TeacherLabels(tmp_path / "s")


def test_arrays_of_other_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"2 words and 4 tags"):
        write(
            tmp_path / "s",
            sentences=[Sentence(("a", "b"))],
            label=lambda chunk: [(np.zeros(2, np.int32), np.zeros((4, 2), np.float32))],
        )


@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_an_interrupted_job_goes_on_where_it_stopped(tmp_path: Path, chunks: int) -> None:
    whole = write(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "s", label=Counting(breaks_after=chunks))
    with pytest.raises(UserError, match=r"manifest\.json: .* run the same `distill-jax label`"):
        TeacherLabels(tmp_path / "s")
    rest = Counting()
    store = write(tmp_path / "s", label=rest)
    assert rest.chunks == 4 - chunks
    assert content(store.directory) == content(whole.directory)
    again = Counting()
    write(tmp_path / "s", label=again)
    assert again.chunks == 0


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Files appear in one order; a job killed after any of them can be finished."""
    whole = content(write(tmp_path / "whole").directory)
    shards = sorted(name for name in whole if name.startswith("part"))
    order = ["store.json", "labels.txt"]
    for number in range(0, len(shards), 2):
        order += [shards[number], shards[number + 1]]  # .array_record, then .json
    for present in range(len(order) + 1):
        directory = tmp_path / str(present)
        directory.mkdir()
        (directory / ".store.json.tmp-1").write_text("{")  # what SIGKILL leaves behind
        for name in order[:present]:
            (directory / name).write_bytes(whole[name])
        write(directory)
        (directory / ".store.json.tmp-1").unlink()
        assert content(directory) == whole


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"settings": SETTINGS | {"teacher_sha256": "11"}}, r"\(teacher_sha256\)"),
        ({"settings": SETTINGS | {"new": 1}}, r"\(new\)"),
        ({"settings": {"decoder": SETTINGS["decoder"]}}, r"\(teacher_sha256\)"),
        ({"shard_size": 4}, r"\(shard_size\)"),
        ({"sentences": SENTENCES[::-1]}, r"\(pool_sha256\)"),
        ({"sentences": SENTENCES[:5]}, r"\(pool_sha256, sentences\)"),
        ({"labels": LabelSet(("city", "artist"))}, r"\(labels_sha256\)"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, changes: Any, named: str) -> None:
    before = content(write(tmp_path / "s").directory)
    with pytest.raises(UserError, match=rf"other settings {named}; choose another --output"):
        write(tmp_path / "s", **changes)
    assert content(tmp_path / "s") == before


def test_other_directories_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "diary.txt").write_text("dear")
    with pytest.raises(UserError, match="not a label store; choose another --output"):
        write(tmp_path / "s")
    assert content(tmp_path / "s") == {"diary.txt": b"dear"}
    with pytest.raises(UserError, match="is not a directory"):
        write(tmp_path / "s" / "diary.txt")
    with pytest.raises(UserError, match="the shard size must be at least 1"):
        write(tmp_path / "t", shard_size=0)
    assert not (tmp_path / "t").exists()


def test_an_empty_pool(tmp_path: Path) -> None:
    store = write(tmp_path / "s", sentences=[])
    assert list(store) == []


def _edit(name: str, **fields: Any) -> Callable[[Path], Any]:
    def edit(directory: Path) -> None:
        value = json.loads((directory / name).read_text()) | fields
        (directory / name).write_text(json.dumps(value))

    return edit


def _shard(directory: Path) -> Path:
    return directory / "part-00001-of-00004.array_record"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: _shard(d).unlink(), r"missing; delete part-00001-of-00004\.json and run"),
        (lambda d: _shard(d).write_bytes(_shard(d).read_bytes()[:99]), r"99 bytes instead of"),
        (lambda d: _shard(d).write_bytes(bytes(_shard(d).stat().st_size)), "records instead of 3"),
        (lambda d: (d / "manifest.json").unlink(), "manifest.json: cannot be read .* to finish it"),
        (lambda d: (d / "manifest.json").write_text("{"), "manifest.json:1: not valid JSON"),
        (lambda d: (d / "manifest.json").write_text("{}"), "'shards' is missing or malformed"),
        (_edit("manifest.json", shards=[{}]), "'file' is missing or malformed"),
        (_edit("manifest.json", shards=[]), "hold 0 sentences instead of 11"),
        (lambda d: (d / "store.json").unlink(), "give a directory that `label` wrote"),
        (lambda d: (d / "store.json").write_text("[]"), "not a JSON object"),
        (_edit("store.json", schema=1), "schema 1 instead of 2; .* this version"),
        (_edit("store.json", labels_sha256=None), "not the label set of this store"),
        (lambda d: (d / "labels.txt").write_text("city\n"), "not the label set of this store"),
        (lambda d: (d / "labels.txt").unlink(), "labels.txt"),
    ],
)
def test_damage_is_noticed_on_opening(
    tmp_path: Path, damage: Callable[[Path], Any], reason: str
) -> None:
    write(tmp_path / "s")
    damage(tmp_path / "s")
    with pytest.raises(UserError, match=reason) as caught:
        TeacherLabels(tmp_path / "s")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_lost_shard_is_made_again(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    whole = content(write(tmp_path / "s").directory)
    damage(_shard(tmp_path / "s"))
    with pytest.raises(UserError, match="delete part"):
        write(tmp_path / "s")
    _shard(tmp_path / "s").with_suffix(".json").unlink()
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "s", label=Counting(breaks_after=0))
    write(tmp_path / "s")
    assert content(tmp_path / "s") == whole


def test_a_damaged_shard_file_of_an_unfinished_store(tmp_path: Path) -> None:
    write(tmp_path / "s")
    facts = _shard(tmp_path / "s").with_suffix(".json")
    for bad in ("{", "{}"):
        facts.write_text(bad)
        with pytest.raises(UserError, match=rf"{facts.name}.*: .*; delete that file and run"):
            write(tmp_path / "s")


def test_changed_bytes_are_noticed_by_verify(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    changed = bytearray(_shard(tmp_path / "s").read_bytes())
    changed[-1] ^= 1
    _shard(tmp_path / "s").write_bytes(changed)
    with pytest.raises(UserError, match=r"part-00001.*bytes have changed"):
        store.verify()


def test_verify_reads_the_facts_of_every_shard(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    path = _shard(tmp_path / "s").with_suffix(".json")
    whole = path.read_text()
    path.write_text(whole[:20])
    with pytest.raises(UserError, match=r"part-00001.*\.json:2: not valid JSON"):
        store.verify()
    path.write_text("{}")
    with pytest.raises(UserError, match=r"part-00001.*\.json: not what manifest\.json says"):
        store.verify()
    path.write_text(whole)
    store.verify()


def test_check_labels(tmp_path: Path) -> None:
    store = write(tmp_path / "s")
    store.check_labels(LabelSet(("artist", "city")), "task 't'")
    with pytest.raises(UserError, match="other labels than task 't'"):
        store.check_labels(LabelSet(("artist", "city"), ("singer", "city")), "task 't'")


@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
def test_top_k_keeps_the_mass_of_the_tail(tmp_path: Path, top_k: int) -> None:
    store = write(tmp_path / "s", top_k=top_k)
    for found, sentence in zip(store, SENTENCES, strict=True):
        [(tags, scores)] = teacher([sentence])
        np.testing.assert_array_equal(found.tag_ids, tags)
        exact = np.exp(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))
        posteriors = np.exp(found.log_posteriors)
        assert posteriors.shape == exact.shape
        np.testing.assert_allclose(posteriors.sum(-1), 1, atol=2e-3)
        best = np.argsort(-exact, axis=-1)[:, :top_k]
        np.testing.assert_allclose(
            np.take_along_axis(posteriors, best, -1),
            np.take_along_axis(exact, best, -1),
            rtol=2e-2,  # a log-posterior of -20 in float16
        )
        # I is illegal at the start, and gets nothing of the tail there.
        assert not posteriors[:1, 1].any()


def test_top_k_of_all_tags_is_everything_where_all_are_legal(tmp_path: Path) -> None:
    sentence = Sentence(("a", "b"))
    scores = np.array([[3, -np.inf, 2, 1], [0, 1, 2, 3]], np.float32)
    answer = [(np.array([2, 1], np.int32), scores)]
    exact = write(tmp_path / "s", sentences=[sentence], label=lambda chunk: answer)
    top = write(tmp_path / "t", sentences=[sentence], label=lambda chunk: answer, top_k=4)
    np.testing.assert_array_equal(exact[0].log_posteriors, top[0].log_posteriors)


@pytest.mark.parametrize("top_k", [0, 5])
def test_a_top_k_that_makes_no_sense(tmp_path: Path, top_k: int) -> None:
    with pytest.raises(UserError, match=f"the {top_k} best tags cannot be kept of 4"):
        write(tmp_path / "s", top_k=top_k)
    assert not (tmp_path / "s").exists()


def test_processes_share_the_work(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole")
    labelled = []

    def share(index: int, label: Callable[..., Any]) -> TeacherLabels | None:
        options = StoreOptions(shard_size=3, process=(index, 3))
        return write_store(
            tmp_path / "s", SENTENCES, LABELS, label, settings=SETTINGS, options=options
        )

    for index in (2, 0, 1):
        counting = Counting()
        store = share(index, counting)
        labelled.append(counting.chunks)
        assert (store is None) == (index != 1)  # the last to finish
    assert labelled == [1, 2, 1]
    assert content(tmp_path / "s") == content(whole.directory)
    with pytest.raises(UserError, match="process 3 of 3 does not exist"):
        share(3, teacher)


def test_verify_knows_the_pool(tmp_path: Path) -> None:
    """Whole shards of another pool, with facts and manifest to match."""
    store, other = write(tmp_path / "s"), write(tmp_path / "t", sentences=SENTENCES[::-1])
    store.verify()
    for path in other.directory.iterdir():
        if path.name not in ("store.json", "labels.txt"):
            (store.directory / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"not those of store\.json"):
        TeacherLabels(store.directory).verify()


def test_records_that_are_not_what_the_header_says(tmp_path: Path) -> None:
    write(tmp_path)
    header = json.loads((tmp_path / "store.json").read_text())
    (tmp_path / "store.json").write_text(json.dumps(header | {"top_k": 1}))
    with pytest.raises(UserError, match=r"label 1 is not what store\.json says \(top_k 1, 4 tags"):
        TeacherLabels(tmp_path).verify()
