"""Folders of splits: the names of their files, and what `reading.json` says of them."""

import json
import shutil
from pathlib import Path

import pytest

from distill_jax.data.folders import (
    files_of_split,
    read_located_split,
    read_split,
    split_candidates,
    split_file,
)
from distill_jax.data.readers import ReadOptions
from distill_jax.errors import UserError
from distill_jax.tagging import Sentence

ROWS = "to O\nbonn B-city\n\n"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.txt", "train"),
        ("dev.txt", "valid"),
        ("valid.txt", "valid"),
        ("validation.json", "valid"),
        ("val.bio", "valid"),
        ("test.txt", "test"),
        ("test.iob2", "test"),
        ("train.conllu", "train"),
    ],
)
def test_names_that_corpora_have(tmp_path: Path, name: str, split: str) -> None:
    (tmp_path / name).write_text(ROWS)
    assert split_file(tmp_path, split) == tmp_path / name
    assert files_of_split(tmp_path / name) == [tmp_path / name]
    others = {"train", "valid", "test"} - {split}
    assert not any(split_candidates(tmp_path, other) for other in others)


def test_words_and_tags_in_two_files(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "seq.in").write_text("to bonn\n")
        (tmp_path / name / "seq.out").write_text("city O\n")
        (tmp_path / name / "label").write_text("go\n")
    words = tmp_path / "dev" / "seq.in"
    assert split_file(tmp_path, "valid") == words and split_file(tmp_path, "test") is None
    assert files_of_split(words) == [words, words.with_name("seq.out")]
    (tmp_path / "reading.json").write_text('{"scheme": "sbio"}')
    assert list(read_split(words)) == [Sentence(("to", "bonn"), ("B-city", "O"))]
    (tmp_path / "dev.tsv").write_text(ROWS)
    with pytest.raises(UserError, match=r"holds dev.tsv and dev.seq.in, either .* the valid split"):
        split_file(tmp_path, "valid")


def test_two_files_for_a_split_are_refused(tmp_path: Path) -> None:
    for name in ("dev.txt", "valid.conll"):
        (tmp_path / name).write_text(ROWS)
    with pytest.raises(
        UserError, match=r"holds valid.conll and dev.txt, either .* the valid split"
    ):
        split_file(tmp_path, "valid")


def test_reading_json_says_what_files_do_not(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("1\tto\tO\tO\n2\tbonn\tO\tU-city\n")
    (tmp_path / "test.jsonl").write_text('{"tokens": ["bonn"], "ner_tags": [1]}\n')
    with pytest.raises(
        UserError,
        match=r'train.tsv:1: .*--columns 2,3.*of a task: in \S+reading.json, such as {"columns": "2,3"}',
    ):
        list(read_split(tmp_path / "train.tsv"))
    (tmp_path / "valid.conll").write_text("to O\nbonn B-city\nrome city\n")
    with pytest.raises(UserError, match=r'--scheme bare.* such as {"scheme": "bare"}'):
        list(read_split(tmp_path / "valid.conll"))
    odd = tmp_path / "my--set"  # a name is no option
    odd.mkdir()
    shutil.copy(tmp_path / "valid.conll", odd)
    with pytest.raises(UserError, match=r'--scheme bare.* such as {"scheme": "bare"}'):
        list(read_split(odd / "valid.conll"))
    fields = {"columns": "2,4", "scheme": "bilou"}
    (tmp_path / "reading.json").write_text(json.dumps(fields))
    assert list(read_split(tmp_path / "train.tsv")) == [Sentence(("to", "bonn"), ("O", "B-city"))]
    (tmp_path / "reading.json").write_text(json.dumps({"label_names": ["O", "B-city"]}))
    assert list(read_split(tmp_path / "test.jsonl")) == [Sentence(("bonn",), ("B-city",))]


def test_an_option_leaves_the_others_to_reading_json(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("1\tto\tO\tO\n2\tbonn\tO\tB-city\n")
    (tmp_path / "reading.json").write_text(json.dumps({"columns": "2,3"}))
    options = ReadOptions(scheme="iob2")
    [located] = read_located_split(tmp_path / "train.tsv", options)
    assert located.sentence == Sentence(("to", "bonn"), ("O", "O"))
    options = ReadOptions(columns=("2", "4"))
    [located] = read_located_split(tmp_path / "train.tsv", options)
    assert located.sentence == Sentence(("to", "bonn"), ("O", "B-city"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not a JSON file"),
        ("[]", "expected an object with columns, format, label_names, scheme"),
        ('{"column": "1,2"}', "expected an object with"),
        ('{"columns": [1, 2]}', "every value is a string"),
        ('{"label_names": "O"}', "every value is a string, label_names a list"),
        ('{"columns": "1,2,3"}', "give WORD,TAG"),
        ('{"scheme": "x"}', "'x' is not a tagging scheme"),
    ],
)
def test_reading_json_that_cannot_be(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "train.txt").write_text(ROWS)
    (tmp_path / "reading.json").write_text(content)
    with pytest.raises(UserError, match=rf"reading.json: .*{says}"):
        list(read_split(tmp_path / "train.txt"))


def test_tables_are_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"tokens": [["bonn"]], "tags": [["B-city"]]})
    datasets.DatasetDict({"train": table, "validation": table}).save_to_disk(tmp_path / "set")
    path = split_file(tmp_path / "set", "valid")
    assert path == tmp_path / "set/validation"
    assert list(read_split(path)) == [Sentence(("bonn",), ("B-city",))]
    assert {file.suffix for file in files_of_split(path)} == {".arrow", ".json"}
    for name in ("train", "val"):
        table.to_parquet(tmp_path / "tables" / f"{name}-00000-of-00001.parquet")
    own = split_file(tmp_path / "tables", "valid")
    assert own is not None and list(read_split(own)) == [Sentence(("bonn",), ("B-city",))]
