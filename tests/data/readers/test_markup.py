"""Annotation that is not read must not pass for plain text."""

import json

import pytest

from distill_jax.data.readers import detection
from distill_jax.errors import UserError
from distill_jax.tagging import Sentence
from tests.data.readers.conftest import Read
from tests.data.readers.test_corpora import ANA, NO, TEXT

PUBTATOR = "22|t|Ana Ruiz left.\n22|a|To Bonn.\n22\t0\t8\tAna Ruiz\tPER\tD9\n22\tCID\tD8\tD7\n\n"
MARKUP = {
    "BC5CDR": (PUBTATOR, "x.txt:1: PubTator"),
    "NCBI disease": (f"\n{PUBTATOR}", "x.txt:2: PubTator"),
    "CADEC": ("T1\tADR 0 3;9 13\tAna left\n#1\tAnnotatorNotes T1\tx\n", "x.txt:1: stand-off"),
    "i2b2 2010": ('c="ana ruiz" 1:0 1:1||t="person"\n', "x.txt:1: annotation of i2b2"),
    "WebAnno": (
        "#FORMAT=WebAnno TSV 3.3\n\n\n#Text=Ana\n1-1\t0-3\tAna\tPER\t\n",
        "x.txt:1: WebAnno",
    ),
    "MUC": ('<ENAMEX TYPE="PERSON">Ana</ENAMEX> left\n', "x.txt:1: entities .* XML"),
    "Rasa": ("## intent:go\n- fly to [Bonn](city)\n", r"x.txt:2: .* as Rasa .*\[words\]\(label\)"),
    "Rasa, with a value": ('- to [Bonn]{"entity": "city"}\n', "x.txt:1: .* as Rasa"),
    "MASSIVE": ("play [song : wow] now\n", "x.txt:1: slots in brackets"),
    "TOP": ("[IN:GO fly to [SL:CITY Bonn ] ]\n", "x.txt:1: slots in brackets"),
    "Flair's sentences": ("Ana <B-PER> Ruiz <E-PER> left\n", "x.txt:1: .*angle brackets"),
    "nested entities by place": ("Ana left\nNNP VBD\n0,1 G#PER|0,2 G#X\n\n", "x.txt:3: .* nested"),
    "slot-gated SLU": ("play:O wow:B-song <=> Play\n", "x.txt:1: words and tags joined"),
    "People's Daily": ("[ 中国/ns 人/n ]nt 来/v\n", "x.txt:1: words and tags joined"),
    "Brown": ("The/at Fulton/np-tl County/nn-tl said/vbd ./.\n", "x.txt:1: words and tags joined"),
}


@pytest.mark.parametrize("corpus", MARKUP)
def test_markup_is_no_text(read: Read, corpus: str) -> None:
    content, says = MARKUP[corpus]
    with pytest.raises(UserError, match=says) as caught:
        read(content, "x.txt")
    assert "--format text" in str(caught.value) and "\n" not in str(caught.value)
    assert read(content, "x.txt", format="text")[1].format == "text"
    for name in ("x.tsv", "x.data"):
        with pytest.raises(UserError):
            read(content, name)


@pytest.mark.parametrize(
    "text",
    [
        "see [the table](docs/data.md) and [this](https://a.b/c)\nno\n",
        "he said <sic> and left\n",
        "it is 1,5 km\n10,5 km\n",
        "win and/or draw, TCP/IP\nat home\n",
        "https://a.b/c\nhttps://a.b/d\nhttps://a.b/e\nhttps://a.b/f\n",
        "T1 is a lesion\n",
        "one <b>word</b>\ntwo\nthree\nfour\nfive\n",
        "a note * \nand (this)\n",
    ],
)
def test_text_is_text(read: Read, text: str) -> None:
    assert read(text, "x.txt")[1].format == "text"


def test_one_line_of_a_stream_is_answered_as_text() -> None:
    line = [(1, "one <b>word</b>")]
    assert detection.detect("-", line, is_stream=True) == "text"
    with pytest.raises(UserError, match="XML"):
        detection.detect("x.txt", line, is_stream=False)


@pytest.mark.parametrize("suffix", ["a1", "PubTator", "yml", "sgml", "xmi"])
def test_files_that_their_names_tell(read: Read, suffix: str) -> None:
    with pytest.raises(UserError, match=rf"x.{suffix}: .{suffix.lower()} files are not read: "):
        read("anything\n", f"x.{suffix}")


def test_what_a_refusal_says_to_write_is_read(read: Read) -> None:
    record = {"text": TEXT, "entities": [[0, 8, "PER"], [14, 18, "LOC"]]}
    assert read(json.dumps(record), "x.jsonl")[0] == [ANA]


def test_words_and_tags_in_two_files(read: Read, tmp_path) -> None:
    (tmp_path / "seq.out").write_text("B-PER I-PER O B-LOC\nO O\n\n")
    sentences, report = read("Ana Ruiz left Bonn \nNo .\n\n", "seq.in")
    assert sentences == [ANA, NO, Sentence((), ())] and report.format == "tsv"
    for words, says in (
        ("Ana Ruiz left Bonn\n", ":2: seq.in has no such line"),
        ("Ana Ruiz left Bonn\nNo .\n\nA\n", ":4: seq.out has no such line"),
        ("Ana Ruiz left\nNo .\n\n", ":1: 3 words but 4 tags"),
        ("Ana Ruiz left Bonn\n\nNo .\n", ":2: 0 words but 2 tags"),
        ("Ana\tRuiz left Bonn\nNo .\n\n", ":1: 3 columns instead of 2"),
    ):
        with pytest.raises(UserError, match=says):
            read(words, "seq.in")
    with pytest.raises(UserError, match=r"seq.out: holds the tags of seq.in beside it; name that"):
        read("O O\n", "seq.out")
    assert read("Ana Ruiz\n", "seq.in", format="text")[0] == [Sentence(("Ana", "Ruiz"))]


def test_atis_has_marks_and_an_intent(read: Read) -> None:
    rows = "BOS Ana Ruiz left Bonn EOS\tO B-PER I-PER O B-LOC atis_flight\nBOS No . EOS\tO O O atis_x\n"
    for name in ("atis.train.w-intent.iob", "atis.txt", "atis.tsv"):
        sentences, report = read(rows, name)
        assert sentences == [ANA, NO] and report.remarks["sentence_marks"].count == 2
