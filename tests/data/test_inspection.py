"""What `inspect` finds: counts, repairs, duplicates, labels of one split, what a vocabulary lacks."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from distill_jax.cli import main
from distill_jax.data.inspection import (
    DataSource,
    file_sources,
    inspect_sources,
    load_inspection_vocabulary,
)
from distill_jax.data.readers import Located, ReadOptions
from distill_jax.errors import UserError
from distill_jax.report.inspection import print_inspection, remarks
from distill_jax.tagging import Sentence
from distill_jax.vocab.sentencepiece import train_sentencepiece

TRAIN = "# one\nto O\nbonn B-city\n\n# two\nto O\nbonn B-city\n\non O\nmay B-date\n4 I-date\n\n"
TEST = "to U-place\nbonn U-city\n\nto o\nköln o\n\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "trips"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text(TRAIN)
    (folder / "test.txt").write_text(TEST)
    return folder


def inspected(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str
) -> tuple[Any, str]:
    """The JSON and the printed page of a command that succeeds."""
    out = tmp_path / "out" / "found.json"
    assert main(["inspect", *arguments, "--json", str(out)]) == 0
    return json.loads(out.read_text()), capsys.readouterr().out


def test_one_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, page = inspected(capsys, tmp_path, str(folder / "train.txt"))
    assert [result[name] for name in ("format", "scheme", "sentences", "words")] == [
        "conll",
        "iob2",
        3,
        7,
    ]
    assert result["labels"] == {"city": 2, "date": 1}
    assert (result["duplicates"], result["duplicates_across"], result["repairs"]) == (1, [], [])
    assert [(one["name"], one["count"], one["lines"]) for one in result["left_out"]] == [
        ("comments", 2, [1, 5])
    ]
    name = str(folder / "train.txt")
    assert result["longest_sentence"] == {"file": name, "words": 3, "line": 9}
    assert result["longest_word"] == {"file": name, "characters": 4, "word": "bonn", "line": 2}
    assert result["labels_in_one_file"] == {} and result["vocabulary"] is None
    assert "train.txt" in page and "city" in page and "2 comment lines" in page


def test_a_folder_has_its_splits(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, page = inspected(capsys, tmp_path, str(folder))
    assert [file["name"] for file in result["files"]] == ["trips/train.txt", "trips/test.txt"]
    assert (result["format"], result["scheme"]) == ("conll", "iob2, bilou")
    assert (result["sentences"], result["words"], result["labels"]["city"]) == (5, 11, 3)
    assert result["duplicates_across"] == [
        {"first": "trips/train.txt", "second": "trips/test.txt", "sentences": 1}
    ]
    assert result["labels_in_one_file"] == {"date": "trips/train.txt", "place": "trips/test.txt"}
    [repair] = result["repairs"]
    assert (repair["file"], repair["name"], repair["count"]) == (
        "trips/test.txt",
        "lower_case_tags",
        2,
    )
    assert "1 sentences of trips/test.txt are in trips/train.txt as well" in page
    assert "labels in trips/test.txt alone: place" in page


def test_the_page(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "train.txt").write_text(TRAIN + "x B-<i>\n\n")
    inspected(capsys, tmp_path, str(folder), "--html", str(tmp_path / "page.html"))
    html = (tmp_path / "page.html").read_text("utf-8")
    for text in ("comment lines", "lower case", "trips/test.txt", "place", "&lt;i&gt;", "iob2"):
        assert text in html
    assert "<i>" not in html


def test_a_task_has_its_splits(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("seqio")
    from distill_jax.data.locations import set_data_dir

    try:
        result, _ = inspected(capsys, tmp_path, "trips", "--data_dir", str(folder.parent))
    finally:
        set_data_dir(None)
    assert [file["name"] for file in result["files"]] == [
        f"trips/{split}" for split in ("train", "valid", "test")
    ]
    assert (result["format"], result["scheme"]) == ("conll", "iob2, bilou")


def test_a_task_of_some_languages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("seqio")
    from distill_jax.data.locations import set_data_dir

    for language in ("hau", "yor", "ibo"):
        folder = tmp_path / "data" / "mas" / language
        folder.mkdir(parents=True)
        (folder / "train.txt").write_text("a O\nb B-x\n\n")
    for name in ("train.txt", "train.conll"):  # another task's trouble is none of this one's
        (tmp_path / "data" / "aaa").mkdir(exist_ok=True)
        (tmp_path / "data" / "aaa" / name).write_text("a O\n\n")
    try:
        where = ("--data_dir", str(tmp_path / "data"))
        result, _ = inspected(capsys, tmp_path, "mas_hau.yor", *where)
        assert main(["inspect", "mas_hau.yor", *where, "--columns", "1,2"]) == 2
    finally:
        set_data_dir(None)
    assert result["sentences"] == 2
    assert "--columns is of files" in capsys.readouterr().err


def test_standard_input_and_options(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1 to O O\n2 bonn O B-city\n")))
    result, _ = inspected(capsys, tmp_path, "-", "--columns", "2,4", "--format", "conll")
    assert result["labels"] == {"city": 1} and result["files"][0]["name"] == "-"


def test_what_a_vocabulary_lacks(tmp_path: Path) -> None:
    model = tmp_path / "spiece.model"
    train_sentencepiece(["to bonn on may 4"] * 5, 40, model)
    path = tmp_path / "x.txt"
    path.write_text("to bonn\nto köln köln\n" + "to " * 120 + "\n" + "bonn" * 300 + "\n")
    vocabulary = load_inspection_vocabulary(str(model))
    sources = file_sources(str(path), ReadOptions())
    result = inspect_sources(sources, vocabulary=vocabulary).to_json()
    fit = result["files"][0]["vocabulary"]
    assert (fit["unspelt"], fit["unspelt_examples"]) == (2, ["köln"])
    assert (fit["sentences_in_windows"], fit["words_over_the_limit"]) == (2, 1)
    assert result["vocabulary"] == {
        "sentences_in_windows": 2,
        "words_over_the_limit": 1,
        "unspelt": 2,
    }
    console = Console(record=True, width=100)
    inspection = inspect_sources(sources, vocabulary=vocabulary)
    print_inspection(inspection, console)
    assert "words it cannot spell" in console.export_text()
    assert f"{path}: cannot be spelt: köln" in remarks(inspection)


def test_sources_that_are_no_files() -> None:
    sentences = [Located(1, Sentence(("a",), ("B-[x]",))), Located(2, Sentence(()))]
    inspection = inspect_sources([DataSource("made", lambda: sentences)])
    result = inspection.to_json()
    assert (result["format"], result["scheme"], result["empty_sentences"]) == (None, None, 1)
    console = Console(record=True)
    print_inspection(inspection, console)
    text = console.export_text()
    assert "[x]" in text  # no markup of rich's
    assert "no tags" not in text  # there are, though of no scheme that a file was read in
    with pytest.raises(UserError, match="nothing to inspect"):
        inspect_sources([])
