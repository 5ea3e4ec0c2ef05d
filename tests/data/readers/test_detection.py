"""Which format a file is taken for, and what a user may say about it."""

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill_jax.data import readers
from distill_jax.data.readers import (
    ReadOptions,
    ReadReport,
    load_label_names,
    parse_columns,
    read_sentences,
)
from distill_jax.data.readers.source import open_source
from distill_jax.errors import UserError
from distill_jax.tagging import Sentence
from tests.data.readers.conftest import Read


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x", "play it\nstop\n", "x:1: neither columns .* name the file .txt or say --format text"),
        ("x.md", "# Title\n\nplay it\n", "x.md:1: neither columns"),
        (
            "x.csv",
            "word,tag\nplay,O\n",
            "x.csv: .csv files are not read: write its columns with tabs",
        ),
        ("x.ann", "T1\tPER 0 3\tAna\n", "x.ann: .ann files are not read: .* of brat"),
        ("x.tsv", "some\nprose\n", "x.tsv:1: only one column"),
        (
            "x.tsv",
            "flight\tshow me flights\n",
            "x.tsv:1: tag 'show me flights' of 'flight' has a blank",
        ),
        ("x.jsonl", "play it\n", "x.jsonl:1: not JSON"),
        ("x.json", "play it\n", "x.json:1: not JSON"),
        ("x.txt", gzip.compress(b"play it\n", mtime=0), "x.txt:1: not UTF-8 text but a gzip"),
        ("x.txt", b"PK\x03\x04rest", "x.txt:1: not UTF-8 text but a ZIP"),
        ("x.txt", "play it".encode("utf-16"), "x.txt:1: not UTF-8 text but UTF-16"),
        ("x.txt", "play it".encode("utf-16-le"), "x.txt:1: not text: character 2 is NUL"),
        ("x.txt", b"play it\nk\xf6ln\n", "x.txt:2: not UTF-8 text .byte 2"),
        ("x.txt", "Ana/B-PER left/O Bonn/B-LOC\n", "x.txt:1: words and tags joined .'Ana/B-PER'"),
        ("x.txt", "Ana|B-PER\nleft|O\n", "x.txt:1: words and tags joined"),
        (
            "x.txt",
            "Ana\u00a0B-PER\nleft\u00a0O\n",
            "x.txt:1: looks like columns parted by no-break",
        ),
        ("x.conll", "play O\nit B-x y\n", "x.conll:2: 3 columns, but line 1 has 2"),
        ("x.conll", "play\u00a0O\n", r"x.conll:1: only one column, 'play\\xa0O'"),
        ("x.conll", "a\tb\tO\tO\tO\n", "--columns 1,3 or --columns 1,4 or --columns 1,5"),
        ("x.conll", "a\tb\t_\nc\td\t_\n", "none holds tags; say --columns 1 for words"),
        ("x.conll", "form\tner\ttag\na\tO\tO\n", "several columns may hold the tags: ner, tag"),
        ("x.conll", "id\tlemma\n1\ta\n", "none of the columns id, lemma is named as words"),
    ],
)
def test_what_is_not_certain_is_refused(
    read: Read, name: str, content: str | bytes, says: str
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        read(content, name)
    assert ";" in str(caught.value) or ":" in str(caught.value)


def test_plain_text_is_named_or_asked_for(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "# Title\n\nplay it\n"
    words = [("#", "Title"), (), ("play", "it")]
    assert [s.words for s in read(text, "x.txt")[0]] == words
    assert [s.words for s in read(text, "x.md", format="text")[0]] == words
    assert [s.words for s in read(text, "x.conll", format="text")[0]] == words
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert [s.words for s in read_sentences("-")] == words


def test_words_that_look_like_tags(read: Read) -> None:
    with pytest.raises(UserError, match=r":1: both columns may be the tags .*--columns 1,2"):
        read("O\tO\nO\tB-x\n")
    words_first = read("O\tO\nO\tB-x\n", columns="1,2")[0]
    assert words_first == [Sentence(("O", "O"), ("O", "B-x"))]
    assert read("O\to\nB-x\tO\n")[0] == [Sentence(("o", "O"), ("O", "B-x"))]  # tag first
    with pytest.raises(UserError, match=r":1: both columns may be the tags .*--columns 2,1"):
        read("B-x\tO\nI-x\tO\n")
    assert read("B-x\tO\n", columns="2,1")[0] == [Sentence(("O",), ("B-x",))]


def test_bare_labels_in_lower_case_are_columns(read: Read) -> None:
    rows = "ana person\nruiz person\nis O\nin O\nbonn place\n"
    assert read(rows, "x.txt")[0][0].tags == ("B-person", "I-person", "O", "O", "B-place")


@pytest.mark.parametrize(
    ("text", "is_text"),
    [
        ("play the song O\nthen stop it now\n", False),  # as wide as each other, and half tagged
        ("PLAY O\nSTOP NOW\nGO ON\nGO UP\n", False),
        ("i take vitamin B-12\nand stop\n", True),
        ("vitamin B-12\nis good\nfor you\n", True),
        ("one\ntwo O\nthree\n", True),
    ],
)
def test_prose_that_ends_in_what_may_be_a_tag(read: Read, text: str, is_text: bool) -> None:
    if is_text:
        assert [list(s.words) for s in read(text, "x.txt")[0]] == [
            row.split() for row in text.splitlines()
        ]
    else:
        with pytest.raises(
            UserError, match=r"x.txt:1: may be columns with tags, or text; say which"
        ):
            read(text, "x.txt")
    assert len(read(text, "x.txt", format="text")[0]) == text.count("\n")


def test_columns_that_are_chosen(read: Read) -> None:
    rows = "1 Ana NNP O B-PER\n2 left VBD O O\n"
    with pytest.raises(UserError, match=r"--columns 2,4 or --columns 2,5"):
        read(rows)
    assert read(rows, columns="2,5")[0] == [Sentence(("Ana", "left"), ("B-PER", "O"))]
    assert read(rows, columns="2")[0] == [Sentence(("Ana", "left"))]
    assert read(rows, columns="3,4")[0] == [Sentence(("NNP", "VBD"), ("O", "O"))]
    assert read(rows, columns="1,4")[0] == [Sentence(("1", "2"), ("O", "O"))]
    with pytest.raises(
        UserError, match="5 columns, and --columns asks for column 6; choose among 1 to 5"
    ):
        read(rows, columns="2,6")
    with pytest.raises(UserError, match=r"there is no column 'word' in this file .it names none."):
        read(rows, columns="word,5")
    named = "form\tlayer1\tlayer2\nAna\tO\tB-PER\n"
    with pytest.raises(UserError, match=r":1: .*names of columns; .*--columns form,layer2"):
        read(named)
    sentences, report = read(named, columns="form,layer2")
    assert sentences == [Sentence(("Ana",), ("B-PER",))]
    assert report.remarks["header"].lines == [1]


def test_a_word_a_line(read: Read) -> None:
    with pytest.raises(UserError, match=r"file.conll:1: only one column.*--columns 1 for words"):
        read("play\nit\n")
    assert read("play\nit\n\nstop\n", columns="1")[0] == [
        Sentence(("play", "it")),
        Sentence(("stop",)),
    ]


def test_blanks_of_every_kind(read: Read) -> None:
    sentences, report = read("a\u00a0b   O\nc\u3000B-x\n\u00a0\nd\u2003\u2003O\n")
    assert sentences == [Sentence(("a\u00a0b", "c"), ("O", "B-x")), Sentence(("d",), ("O",))]
    assert report.remarks["odd_blanks"].lines == [2, 4]


def test_byte_order_marks_within_joined_files(read: Read) -> None:
    sentences, report = read("\ufeffa\tO\n\n\ufeffb\tO\n")
    assert [s.words for s in sentences] == [("a",), ("b",)]
    assert report.remarks["byte_order_marks"].count == 2


@pytest.mark.parametrize("text", ["", "1,", ",2", "1,2,3", "0,1", "1,1", "-1,2"])
def test_columns_that_cannot_be(text: str) -> None:
    with pytest.raises(UserError, match="--columns"):
        parse_columns(text)


def test_options_that_cannot_be() -> None:
    with pytest.raises(UserError, match="'xml' is not a file format"):
        ReadOptions(format="xml")
    with pytest.raises(UserError, match="'bieso' is not a tagging scheme"):
        ReadOptions(scheme="bieso")
    with pytest.raises(UserError, match="3 columns"):
        ReadOptions(columns=("1", "2", "3"))


FEATURES = {"tokens": {"dtype": "string"}, "ner_tags": {"feature": {"names": ["O", "B-x"]}}}


@pytest.mark.parametrize(
    "content",
    [
        "O\nB-x\n",
        '["O", "B-x"]',
        '{"0": "O", "1": "B-x"}',
        '{"O": 0, "B-x": 1}',
        json.dumps({"features": FEATURES}),
    ],
)
def test_label_names(tmp_path: Path, content: str) -> None:
    (tmp_path / "names").write_text(content)
    assert load_label_names(tmp_path / "names") == ("O", "B-x")


@pytest.mark.parametrize(
    "content", ["", "O\n\nB-x\n", "[1]", '{"O": 0, "B": 2}', "[", '{"a": {}}', "O\nO\n"]
)
def test_label_names_that_cannot_be(tmp_path: Path, content: str) -> None:
    (tmp_path / "names").write_text(content)
    with pytest.raises(UserError, match=r"names: .*;"):
        load_label_names(tmp_path / "names")
    with pytest.raises(UserError, match="cannot read the label names"):
        load_label_names(tmp_path / "gone")


def test_losses_are_logged_once_where_nobody_asks_for_a_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "call mara!", "label": [[5, 8, "x"]]}\n')
    for _ in range(2):
        list(read_sentences(path))
    [message] = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{path}: 1 spans that begin or end within a word")
    assert "(line 1)" in message and "distill-jax inspect" in message


@pytest.mark.parametrize(
    "first",
    ["stop", "play it", "{play it", '{"text": "play"}', "play it\tO O"],
)
def test_a_stream_is_answered_after_its_first_line(first: str) -> None:
    def endless() -> Iterator[bytes]:
        yield first.encode() + b"\n"
        raise AssertionError("read on before the first line was answered")

    source = open_source("-", ReadOptions(), ReadReport())
    located = next(readers._read(endless(), source))
    assert located.line == 1 and located.sentence.words


def test_one_line_that_may_be_a_row(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    prose, columns = Sentence(("vitamin", "B-12")), Sentence(("vitamin",), ("B-12",))
    assert read("vitamin B-12\n", "x.txt")[0] == [prose]
    assert read("vitamin B-12\n\n", "x.txt")[0] == [columns]
    assert read("vitamin B-12\n", "x.conll")[0] == [columns]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"vitamin B-12\n")))
    assert list(read_sentences("-")) == [prose]


@pytest.mark.parametrize("word", ["1", "0"])
def test_a_number_alone_may_be_a_word_or_an_index(read: Read, word: str) -> None:
    with pytest.raises(UserError, match="looks like numbers or names of sentences"):
        read(f"{word} NN O\n")
    assert read(f"{word} NN O\n", columns="1,3")[0] == [Sentence((word,), ("O",))]
    assert read("2.1 _ _ O\n")[0] == [Sentence(("2.1",), ("O",))]
