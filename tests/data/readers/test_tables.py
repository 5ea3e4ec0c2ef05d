"""Tables of the `datasets` library: folders that it saved, Parquet and Arrow files."""

import sys
from pathlib import Path
from typing import Any

import pytest

from distill_jax.data.readers import ReadOptions, ReadReport, is_table, read_sentences, split_path
from distill_jax.errors import UserError
from distill_jax.tagging import Sentence

datasets = pytest.importorskip("datasets")

ROWS = {"tokens": [["play", "wow"], ["stop"]], "ner_tags": [[0, 1], [0]], "id": ["a", "b"]}
EXPECTED = [Sentence(("play", "wow"), ("O", "B-x")), Sentence(("stop",), ("O",))]


@pytest.fixture(scope="module")
def table() -> Any:
    tags = datasets.Sequence(datasets.ClassLabel(names=["O", "B-x", "I-x"]))
    strings = datasets.Value("string")
    features = {"tokens": datasets.Sequence(strings), "ner_tags": tags, "id": strings}
    return datasets.Dataset.from_dict(ROWS, features=datasets.Features(features))


def test_saved_folders_and_files_have_the_names_of_their_tags(tmp_path: Path, table: Any) -> None:
    table.save_to_disk(tmp_path / "saved")
    table.to_parquet(tmp_path / "file.parquet")
    (tmp_path / "hub/data").mkdir(parents=True)
    table.to_parquet(tmp_path / "hub/data/train-00000-of-00002.parquet")
    table.to_parquet(tmp_path / "hub/data/train-00001-of-00002.parquet")
    [arrow] = (tmp_path / "saved").glob("*.arrow")
    for name in ("saved", "file.parquet", arrow, "hub/train"):
        report = ReadReport()
        sentences = list(read_sentences(tmp_path / name, report=report))
        assert sentences == EXPECTED * (2 if name == "hub/train" else 1)
        assert (report.format, report.scheme) == ("datasets", "iob2")
        assert report.layout == "fields tokens, ner_tags"
    given = ReadOptions(label_names=("B-y", "O"))
    assert next(read_sentences(tmp_path / "saved", options=given)).tags == ("B-y", "O")


def test_a_folder_of_splits(tmp_path: Path, table: Any) -> None:
    splits = datasets.DatasetDict({"train": table, "validation": table})
    splits.save_to_disk(tmp_path / "set")
    assert list(read_sentences(tmp_path / "set/train")) == EXPECTED
    assert split_path(tmp_path / "set", "valid") == tmp_path / "set/validation"
    assert split_path(tmp_path / "set", "test") is None
    with pytest.raises(UserError, match=r"holds the splits train, validation; name one, such as"):
        list(read_sentences(tmp_path / "set"))


def test_tables_that_cannot_be_read(
    tmp_path: Path, table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("x.parquet", "x.arrow"):
        (tmp_path / name).write_bytes(b"PAR1 and nothing else")
        with pytest.raises(UserError, match=rf"{name}: cannot be read as a table \(.*; save"):
            list(read_sentences(tmp_path / name))
    (tmp_path / "half").mkdir()
    (tmp_path / "half/dataset_dict.json").write_text("{}")
    with pytest.raises(UserError, match="not what `datasets` writes"):
        is_table(tmp_path / "half")
    with pytest.raises(UserError, match="no folder that `datasets` saved"):
        (tmp_path / "x.jsonl").write_text("{}")
        list(read_sentences(tmp_path / "x.jsonl", format="datasets"))
    plain = datasets.Dataset.from_dict(ROWS)
    plain.save_to_disk(tmp_path / "plain")
    with pytest.raises(UserError, match=r"plain:1: 'ner_tags' holds numbers.*--label_names"):
        list(read_sentences(tmp_path / "plain"))
    table.save_to_disk(tmp_path / "saved")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'distill_jax\[datasets\]'"):
        list(read_sentences(tmp_path / "saved"))
