"""Reading and writing files: formats, their detection, tagging schemes, and what is malformed."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from distill_jax.data import readers
from distill_jax.data.readers import ReadOptions, ReadReport, read_sentences, write_conll
from distill_jax.data.readers.source import open_source
from distill_jax.data.readers.tags import is_tag_shaped
from distill_jax.errors import UserError
from distill_jax.tagging import Sentence

PLAY = Sentence(("play", "new", "york"), ("O", "B-track", "I-track"))
STOP = Sentence(("stop",), ("O",))


def write(tmp_path: Path, content: str | bytes, name: str = "file") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "play\tO\nnew\tB-track\nyork\tI-track\n\nstop\tO\n\n",
        "play O\nnew B-track\nyork I-track\n\nstop O",
        "\n\nplay   O\nnew \t B-track\nyork  I-track  \n \t\n\n\nstop O\n",
        "play\tO\r\nnew\tB-track\r\nyork\tI-track\r\n\r\nstop\tO\r\n",
        "-DOCSTART- -X- -X- O\n\nplay VB x O\nnew JJ x B-track\nyork NN x I-track\n\nstop VB x O\n",
        "-DOCSTART-\tO\nplay\tO\nnew\tB-track\nyork\tI-track\n-DOCSTART-\tO\nstop\tO\n",
        "play\tO\nnew\tI-track\nyork\tI-track\n\nstop\tO\n",  # IOB1
        "play\tO\nnew\tB-track\nyork\tE-track\n\nstop\tO\n",  # BIOES
        '{"tokens": ["play", "new", "york"], "tags": ["O", "B-track", "I-track"]}\n'
        '{"words": ["stop"], "tags": ["O"], "spans": []}\n',
        '{"text": "play new  york", "tags": ["O", "B-track", "E-track"]}\n'
        '{"tokens": ["stop"], "tags": ["O"]}',
        "play new york\tO B-track I-track\nstop\tO\n",
        "stop\tO\nplay new york\tO B-track I-track\n",
        "\ufeffplay\tO\nnew\tB-track\nyork\tI-track\n\nstop\tO\n",
    ],
)
def test_tagged_formats_are_detected_and_come_out_as_iob2(tmp_path: Path, content: str) -> None:
    sentences = list(read_sentences(write(tmp_path, content)))
    assert sorted(sentences, key=lambda s: len(s.words)) == [STOP, PLAY]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("play it\nstop\n", [("play", "it"), ("stop",)]),
        ("stop\nplay it\n", [("stop",), ("play", "it")]),
        ("stop\n", [("stop",)]),
        ("is that an O\n", [("is", "that", "an", "O")]),
        ("vitamin B-12\nis good\nfor you\n", [("vitamin", "B-12"), ("is", "good"), ("for", "you")]),
        ("\n\nplay it\n\n", [(), (), ("play", "it"), ()]),
        ("{play} it\n", [("{play}", "it")]),
        ('{"text": "play it"}\n{"text": ""}\n\n', [("play", "it"), (), ()]),
        ('{"tokens": ["play it"], "tags": null}\n', [("play it",)]),
        ("a\u2028b\x1ec\n", [("a", "b", "c")]),  # these end no line
        ("", []),
    ],
)
def test_untagged_formats_are_detected_and_keep_their_lines(
    tmp_path: Path, content: str, words: list[tuple[str, ...]]
) -> None:
    path = write(tmp_path, content, "file.txt")
    assert list(read_sentences(path)) == [Sentence(w) for w in words]


def test_blank_lines_of_tagged_jsonl_are_empty_tagged_sentences(tmp_path: Path) -> None:
    path = write(tmp_path, '{"tokens": ["stop"], "tags": ["O"]}\n\n')
    assert list(read_sentences(path)) == [STOP, Sentence((), ())]


def test_the_suffix_and_the_argument_overrule_the_content(tmp_path: Path) -> None:
    content = "is O\nthat what\nit is\n"
    with pytest.raises(UserError, match=r"x.txt:1: may be columns .* or --format text"):
        list(read_sentences(write(tmp_path, content, "x.txt")))
    assert len(list(read_sentences(tmp_path / "x.txt", format="text"))) == 3
    assert next(read_sentences(write(tmp_path, "is O\n", "x.conll"))).tags == ("O",)
    assert next(read_sentences(write(tmp_path, "is O\n", "x"), format="text")).tags is None


def test_a_hash_is_a_word_where_words_are_read_alone(tmp_path: Path) -> None:
    words = [Sentence(("#", "1", "fan"), None)]
    (tmp_path / "one.conll").write_text("# a comment\n#\n1\nfan\n\n")
    (tmp_path / "two.conll").write_text("#\tO\n1\tO\nfan\tB-x\n\n")
    for name in ("one.conll", "two.conll"):
        found = list(read_sentences(tmp_path / name, options=ReadOptions(columns=("1",))))
        assert [Sentence(each.words, each.tags) for each in found] == words


def test_words_may_hold_other_blanks_than_those_between_columns(tmp_path: Path) -> None:
    sentence = next(read_sentences(write(tmp_path, "a\u00a0b\tO\nnew york\tB-x\n", "x.conll")))
    assert sentence == Sentence(("a\u00a0b", "new york"), ("O", "B-x"))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"play it\nstop\n")))
    assert [s.words for s in read_sentences("-")] == [("play", "it"), ("stop",)]


def test_a_stream_is_not_read_ahead() -> None:
    def endless():
        while True:
            yield b"play it\n"

    source = open_source("-", ReadOptions(), ReadReport())
    sentences = (located.sentence for located in readers._read(endless(), source))
    assert [next(sentences).words for _ in range(3)] == [("play", "it")] * 3


@pytest.mark.parametrize(
    ("name", "content", "line", "reason"),
    [
        ("x.conll", "play\tO\nit\n", 2, "only one column"),
        ("x.conll", "play O\nit\n", 2, "only one column"),
        ("x.conll", "play\tVB\tO\nit\tO\n", 2, "2 columns, but line 1 has 3"),
        ("x", "play\tVB\tO\nit\tO\n", 2, "2 columns, but line 1 has 3"),
        ("x", "play O\nnew B-track\nyork\n\n", 3, "only one column"),
        ("x.conll", "play\tO\n\nit\tX-y\n", 3, "tag 'X-y' of 'it'"),
        ("x", "play\tO\nit\tB-a\nall\ttrack\n", 3, "tag 'track'"),
        ("x.conll", "play\tB-\n", 1, "tag 'B-'"),
        ("x.conll", "play\t\n", 1, "tag ''"),
        ("x.conll", "\tO\n", 1, "word is empty"),
        ("x.conll", b"play\tO\n\xff\tO\n", 2, "not UTF-8"),
        ("x", b"\xff\xfep\x00", 1, "not UTF-8"),
        ("x.txt", b"play it\nb\xe9b\xe9\n", 2, "not UTF-8"),
        ("x.jsonl", '{"tokens": ["a"]}\n{"tokens": ["a"\n', 2, "not JSON"),
        ("x", '{"tokens": ["a"', 1, "not JSON"),
        ("x.jsonl", "[" * 100_000, 1, "not JSON"),
        ("x.jsonl", '{"text": "a", "text": "b"}\n', 1, "the key 'text' occurs twice"),
        ("x.jsonl", "[1]\n", 1, "a list, not an object"),
        ("x.jsonl", '{"toks": ["a"]}\n', 1, "neither 'tokens', 'words' nor 'text' but 'toks'"),
        ("x.jsonl", '{"tokens": "a"}\n', 1, "'tokens' is not a list of strings"),
        ("x.jsonl", '{"tokens": [1]}\n', 1, "'tokens' is not a list of strings"),
        ("x.jsonl", '{"tokens": ["a", ""]}\n', 1, "word 2 is empty"),
        ("x.jsonl", '{"tokens": ["\\ud800"]}\n', 1, "surrogate"),
        ("x.jsonl", '{"text": ["a"]}\n', 1, "'text' is not a string"),
        ("x.jsonl", '{"text": "a", "tags": ["O", 0]}\n', 1, "'tags' is not a list of strings"),
        ("x.jsonl", '{"text": "a", "tags": [0]}\n', 1, "'tags' holds numbers"),
        ("x.jsonl", '{"text": "a b", "tags": ["O"]}\n', 1, "2 words but 1 tags"),
        ("x.jsonl", '{"text": "a", "tags": ["b"]}\n', 1, "tag 'b'"),
        ("x", "play it\tO O\nstop\tO O\n", 2, "1 words but 2 tags"),
        ("x", "play it\tO O\nstop it\n", 2, "1 columns instead of 2"),
        ("x", "play it\tO O\nstop\tO\tO\n", 2, "3 columns instead of 2"),
        ("x", "play it\tO O\nstop it\tO b\n", 2, "tag 'b' of 'it'"),
    ],
)
def test_malformed_lines_are_named(
    tmp_path: Path, name: str, content: str | bytes, line: int, reason: str
) -> None:
    path = write(tmp_path, content, name)
    with pytest.raises(UserError) as caught:
        list(read_sentences(path))
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert reason in message
    assert ";" in message  # the remedy
    assert "\n" not in message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing: cannot be read"):
        read_sentences(tmp_path / "missing")
    with pytest.raises(UserError, match="cannot be read"):
        list(read_sentences(tmp_path))
    with pytest.raises(UserError, match="'xml' is not a file format; use one of conll"):
        read_sentences(tmp_path / "missing", format="xml")


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        (Sentence(("a",)), "has no tags"),
        (Sentence((), ()), "has no words"),
        *[
            (Sentence((word,), ("O",)), "cannot hold the word")
            for word in ("", "a\tb", "a\n", "a\0", " a", "a ", "\ud800", "-DOCSTART-", "\ufeffa")
        ],
    ],
)
def test_what_conll_cannot_hold_leaves_no_file(
    tmp_path: Path, sentence: Sentence, reason: str
) -> None:
    path = tmp_path / "out.conll"
    with pytest.raises(UserError, match=f"sentence 2.*{reason}"):
        write_conll(path, [STOP, sentence])
    assert list(tmp_path.iterdir()) == []


_WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
_TAGS = st.sampled_from(["O", "B-a", "I-a", "B-b c", "I-b c"])


def _sentences(words: st.SearchStrategy[str]) -> st.SearchStrategy[list[Sentence]]:
    rows = st.lists(st.tuples(words, _TAGS), min_size=1, max_size=5)
    return st.lists(rows.map(_legal), min_size=1, max_size=4)


def _legal(rows: list[tuple[str, str]]) -> Sentence:
    tags: list[str] = []
    for _, tag in rows:
        continues = tag[0] == "I" and tags and tags[-1][1:] == tag[1:]
        tags.append(tag if tag[0] != "I" or continues else f"B{tag[1:]}")
    return Sentence(tuple(word for word, _ in rows), tuple(tags))


_FILE_SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@_FILE_SETTINGS
@given(
    _sentences(
        _WORDS.filter(
            lambda w: (
                w == w.strip(" \t\r")
                and not set(w) & set("\t\r\n\0")
                and not w.startswith(("-DOCSTART-", "\ufeff"))
            )
        )
    )
)
def test_conll_round_trip(tmp_path: Path, sentences: list[Sentence]) -> None:
    words = [word for sentence in sentences for word in sentence.words]
    # What cannot be told from such words alone is refused, and has tests of its own.
    assume(not all(map(is_tag_shaped, words)) and not all(":" in word for word in words))
    path = tmp_path / "x.conll"
    write_conll(path, sentences)
    assert list(read_sentences(path)) == sentences


@_FILE_SETTINGS
@given(_sentences(_WORDS), st.booleans())
def test_jsonl_round_trip(tmp_path: Path, sentences: list[Sentence], ascii_only: bool) -> None:
    path = tmp_path / "x"
    lines = [
        json.dumps({"tokens": s.words, "tags": s.tags}, ensure_ascii=ascii_only) for s in sentences
    ]
    path.write_text("\n".join(lines), "utf-8")
    assert list(read_sentences(path)) == sentences


@_FILE_SETTINGS
@given(st.binary(max_size=60), st.sampled_from(["x", "x.conll", "x.jsonl", "x.tsv"]))
def test_any_bytes_give_sentences_or_one_line_of_error(
    tmp_path: Path, content: bytes, name: str
) -> None:
    path = write(tmp_path, content, name)
    try:
        list(read_sentences(path))
    except UserError as error:
        assert str(error).startswith(f"{path}:")


def test_real_files_are_read_whole(shared_dir: Path) -> None:
    sentences = list(read_sentences(shared_dir / "data/snips/train.conll"))
    assert len(sentences) == 13_084
    assert max(len(sentence.words) for sentence in sentences) == 35
