"""The fuzzer of the readers: what it makes is read rightly, and it notices what would be lost."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.reading import files, fuzz
from benchmarks.reading.account import missing
from benchmarks.reading.files import FORMATS, make_sentences
from benchmarks.reading.fuzz import run_one
from distill_jax.data.readers import ReadReport, read_sentences
from distill_jax.tagging import Sentence

FILE_SETTINGS = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FILE_SETTINGS
@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_mutated_files_are_read_or_refused_and_nothing_is_lost(
    tmp_path: Path, seed: int, number: int
) -> None:
    outcome, kind, content, details = run_one(seed, number, tmp_path)
    assert outcome in ("read", "refused"), (kind, content, details)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.randoms(use_true_random=False))
@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "text"])
def test_what_is_written_in_a_format_comes_back(
    tmp_path: Path, kind: str, dice: random.Random
) -> None:
    suffix, write = FORMATS[kind]
    plain = [word for word in files.WORDS if word.isalpha() and word not in ("O", "o", "I")]
    sentences = [
        Sentence(tuple(dice.sample(plain, len(one.words))), one.tags)
        for one in make_sentences(dice)
    ]
    if kind in ("tsv", "index") and all(len(one.words) == 1 for one in sentences):
        return  # the one is the same file as columns of one sentence; the other's index may be words
    if kind == "WikiAnn" and sum(len(one.words) for one in sentences) == 1:
        return  # one word does not tell that `en:` is no part of it
    path = tmp_path / f"x.{suffix}"
    path.write_text(write(sentences), "utf-8")
    given_back = list(read_sentences(path, options=fuzz.READING))
    assert given_back == sentences


@pytest.mark.parametrize("kind", [*FORMATS])
def test_a_lost_word_would_be_noticed(tmp_path: Path, kind: str) -> None:
    suffix, write = FORMATS[kind]
    tags = ("O",) * 3
    sentences = [Sentence(("play", "wow", "now"), tags), Sentence(("stop", "it", "then"), tags)]
    path = tmp_path / f"x.{suffix}"
    path.write_text(write(sentences), "utf-8")
    report = ReadReport()
    options = fuzz.READING
    read = list(read_sentences(path, options=options, report=report))
    assert missing(path.read_bytes(), read, report) is None
    shorter = Sentence(read[0].words[:-1])
    for damaged in ([shorter, read[1]], read[:1], [read[1], read[0]], []):
        assert missing(path.read_bytes(), damaged, report) is not None


def test_the_command_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["fuzz.py", "--files", "30", "--seed", "3"])
    with pytest.raises(SystemExit) as stopped:
        fuzz.main()
    result = json.loads(capsys.readouterr().out)
    assert stopped.value.code == 0 and result["files"] == 30
    assert result["read"] + result["refused"] == 30
