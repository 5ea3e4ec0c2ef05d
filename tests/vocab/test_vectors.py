"""Files of word vectors: every format against what was written, and what is wrong with a line."""

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.vocab import WordTable, WordVocabulary, coverage, read_word_vectors, vector_files

FORMATS = (
    "glove.txt",
    "word2vec.txt",
    "fasttext.vec",
    "glove.txt.gz",
    "word2vec.bin",
    "padded.bin.gz",
)


def contents(name: str, words: Sequence[str], vectors: np.ndarray) -> bytes:
    """A file of vectors as the programs write them."""
    header = f"{len(words)} {vectors.shape[1]}\n".encode()
    if ".bin" in name:
        end = b"\n" if name.startswith("padded") else b""
        rows = [
            word.encode() + b" " + struct.pack(f"<{len(vector)}f", *vector) + end
            for word, vector in zip(words, vectors, strict=True)
        ]
        return header + b"".join(rows)
    end = " \n" if name.endswith(".vec") else "\n"
    lines = "".join(
        " ".join([word, *(repr(float(x)) for x in vector)]) + end
        for word, vector in zip(words, vectors, strict=True)
    ).encode()
    return lines if name.startswith("glove") else header + lines


def written(directory: Path, name: str, content: bytes) -> Path:
    path = directory / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def read(directory: Path, text: str | bytes, dim: int = 2, **options: object) -> WordTable:
    content = text.encode() if isinstance(text, str) else text
    return read_word_vectors(written(directory, "glove.txt", content), dim, **options)  # type: ignore[arg-type]


def of(table: WordTable) -> dict[str, list[float]]:
    return {word: table.vectors[row].tolist() for word, row in table.rows.items()}


# No newline, and no blank in binary files; a number in front of a number would be one more of them.
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\n\r ")
words_of_files = st.lists(st.text(characters, min_size=1, max_size=4), min_size=1, max_size=8)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(words=words_of_files, dim=st.integers(2, 4), chunk=st.integers(1, 200), data=st.data())
def test_what_was_written_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    words: list[str],
    dim: int,
    chunk: int,
    data: st.DataObject,
) -> None:
    vectors = np.array(
        [data.draw(st.lists(floats, min_size=dim, max_size=dim)) for _ in words], np.float32
    )
    path = written(tmp_path, name, contents(name, words, vectors))
    with monkeypatch.context() as patch:
        patch.setattr(vector_files, "_CHUNK", chunk)  # wherever a chunk ends
        blocks = list(vector_files.VectorFile(path, dim))
    assert [word for block in blocks for word in block.words] == words
    np.testing.assert_array_equal(np.concatenate([block.vectors for block in blocks]), vectors)
    table = read_word_vectors(path, dim, lowercase=False)
    firsts = {word: words.index(word) for word in words}
    assert list(table.rows) == list(firsts)  # in the order of the file, the first of several
    np.testing.assert_array_equal(table.vectors, vectors[list(firsts.values())])
    assert table.vectors.dtype == np.float32 and table.num_first == len(firsts)


@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    st.lists(
        st.sampled_from(
            ["a", "b 1", " ", "1", "1.2.3", "x", "nan", "1e9", "1_0", "\t", "-2", "\n", ".5"]
        )
    )
)
def test_the_fast_way_takes_what_the_careful_one_takes(tmp_path: Path, parts: list[str]) -> None:
    """Any text is either read to the last number or refused, as by a parser of single lines."""
    text = "w 1 2\n" + "".join(parts)

    def expected() -> dict[str, list[float]] | None:
        found: dict[str, list[float]] = {}
        for line in text.removesuffix("\n").split("\n"):
            word, *fields = line.rstrip(" ").rsplit(" ", 2)
            try:
                numbers = [float(field) for field in fields if "_" not in field]
            except ValueError:
                return None
            if len(numbers) != 2 or not np.isfinite(numbers).all() or not word:
                return None
            try:
                float(word.rpartition(" ")[2] if " " in word else "no number")
                return None
            except ValueError:
                found.setdefault(word, numbers)
        return found

    want = expected()
    try:
        assert of(read(tmp_path, text, lowercase=False)) == {
            word: np.float32(numbers).tolist() for word, numbers in (want or {}).items()
        }
    except UserError:
        assert want is None


def test_case(tmp_path: Path) -> None:
    text = "US 1 1\nApple 2 2\nus 3 3\nAPPLE 4 4\nus 5 5\n"
    assert of(read(tmp_path, text)) == {"us": [3, 3], "apple": [2, 2]}
    cased = read(tmp_path, text, lowercase=False)
    assert of(cased) == {"US": [1, 1], "Apple": [2, 2], "us": [3, 3], "APPLE": [4, 4]}
    # A vector spelt as it is looked up counts even if its line is not among the first.
    first = read(tmp_path, text, first=1)
    assert of(first) == {"us": [3, 3]} and first.num_first == 1


def test_no_more_is_kept_than_is_asked_for(tmp_path: Path) -> None:
    text = "a 1 1\nb 2 2\nc 3 3\nd 4 4\n"
    table = read(tmp_path, text, first=2, wanted=["d", "a", "z"])
    assert of(table) == {"a": [1, 1], "b": [2, 2], "d": [4, 4]}
    assert table.num_first == 2 and dict(table.first) == {"a": 0, "b": 1}
    assert of(read(tmp_path, text, first=0)) == {}
    with pytest.raises(UserError, match=r"glove\.txt:4"):  # it is read to its end all the same
        read(tmp_path, text.replace("d 4", "d x"), first=2)


def test_words_may_hold_blanks_and_odd_line_ends(tmp_path: Path) -> None:
    table = read(tmp_path, ". . 1 2\na\x85b 3 4 \r\nx 5 6")
    assert of(table) == {". .": [1, 2], "a\x85b": [3, 4], "x": [5, 6]}
    assert of(read(tmp_path, "x 5\n1 2\n", dim=1)) == {"x": [5], "1": [2]}  # no header


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    plain = read(tmp_path, "a 1 2\n")
    packed = read_word_vectors(written(tmp_path, "b.txt.gz", b"a 1 2\n"), 2)
    assert plain.content_hash == packed.content_hash != read(tmp_path, "a 1 3\n").content_hash


def test_trained_rows_start_from_the_table_and_the_others_are_drawn(tmp_path: Path) -> None:
    vocabulary = WordVocabulary(["jon", "play", "wow"], [])

    def embeddings(text: str) -> np.ndarray:
        return read(tmp_path, text).embeddings(vocabulary, np.random.default_rng(0))

    table = embeddings("play 1 2\nother 3 4\nwow -5e-1 6\nplay 9 9\n")
    assert table.dtype == np.float32 and table.shape == (5, 2)
    assert table[0].tolist() == [0, 0]
    assert table[3].tolist() == [1, 2] and table[4].tolist() == [-0.5, 6]
    drawn = table[[1, 2]]
    assert drawn.all() and (np.abs(drawn) <= np.sqrt(3 / 2)).all()
    np.testing.assert_array_equal(embeddings("z 1 1\n")[[1, 2]], drawn)
    cased = WordVocabulary(["Jon", "jon", "Play"], [], lowercase=False)
    table = read(tmp_path, "jon 1 2\nplay 3 4\nPlay 5 6\n", lowercase=False).embeddings(
        cased, np.random.default_rng(0)
    )
    assert table[2:].tolist() == [[1, 2], [1, 2], [5, 6]]


def test_coverage_counts_words_as_they_are_looked_up(tmp_path: Path) -> None:
    table = read(tmp_path, "play 1 2\nsing 3 4\nwow 5 6\n", first=2, wanted=["wow"])
    vocabulary = WordVocabulary(["jon", "play", "wow"], []).with_frozen(table.first)
    found = coverage(table, vocabulary, [["Play", "play", "SING", "Jon"], ["nobody", "wow"]])
    assert found == (3, 2, 5, 3, 1)
    assert str(found) == (
        "word vectors: 2 of 3 trained words start from the file; of 5 dev words 3 are trained, 1 in the file "
        "alone, 1 unknown"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x 1", "expected a word and 2 numbers, found 1"),
        ("x", "found 0"),
        ("", "found 0"),
        ("x 1 2 3", "found 3"),
        ("x 1 two", "'two'"),
        ("x 1 1_0", "'1_0'"),
        ("x 1.2.3 y", "is not a number"),
        ("x 1  2", "expected a word and 2 numbers"),
        ("x 1 nan", "not finite"),
        ("x 1 1e400", "not finite"),
        ("x 1 1e39", "not finite"),
        (" 1 2", "no word"),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    for word in ("x", "unwanted"):
        text = f"a 1 2\n{line.replace('x', word)}\nb 1 2\n"
        with pytest.raises(UserError, match=rf"glove\.txt:2: .*{message}") as error:
            read(tmp_path, text, first=0, wanted=["x"])
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "holds no word vectors"),
        ("a.txt", b"0 2\n", "holds no word vectors"),
        ("a.txt", b"2 2\na 1 2\n", r"announces 2 words, and there are 1; copy"),
        ("a.txt", b"1 2\na 1 2\nb 1 2\n", r"announces 1 words, and there are 2"),
        ("a.vec", b"1 3\na 1 2 3\n", r"a\.vec:1: the file's vectors have 3 numbers, the model's 2"),
        ("a.txt", b"a 1 2 3\n", r"a\.txt:1: expected a word and 2 numbers, found 3"),
        ("a.txt", b"a 1 2\ncaf\xe9 1 2\n", r"a\.txt:2: not UTF-8"),
        ("a.txt", b"a 1 2\n" + b"b" * 5000, r"a\.txt:2: .*name a binary one of word2vec `\.bin`"),
        ("a.bin", b"a 1 2\n", "does not begin with a number of words"),
        ("a.bin", b"\xba\x16\x4f\x2f rest", "a model of fastText"),
        ("a.bin", b"1 3\na " + bytes(12), "have 3 numbers, the model's 2"),
        ("a.bin", b"0 2\n", "holds no word vectors"),
        ("a.bin", b"2 2\na " + bytes(8) + b"b " + bytes(7), "word 2 is not there in full"),
        ("a.bin", b"1 2\na " + bytes(8) + b"\nb", "goes on after the 1 words"),
        ("a.bin", b"1 2\n " + bytes(8), "word 1 is empty"),
        ("a.bin", b"1 2\n\xff " + bytes(8), "word 1 is not UTF-8"),
        ("a.bin", b"1 2\n" + b"w" * 5000, "word 1 is longer than any"),
        ("a.bin", b"2 2\na " + bytes(8) + b"b " + struct.pack("<2f", 0, np.nan), "word 2 .*not finite"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_word_vectors(written(tmp_path, name, content), 2)
    assert "\n" not in str(error.value) and str(tmp_path / name) in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.txt: cannot be read"):
        read_word_vectors(tmp_path / "absent.txt", 2)
    whole = gzip.compress(b"a 1 2\n" * 50)
    for name, content in (("cut.txt.gz", whole[:-12]), ("no.txt.gz", b"a 1 2\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}: cannot be read"):
            read_word_vectors(tmp_path / name, 2)
    with pytest.raises(UserError, match="dimension of word embeddings is 0"):
        read_word_vectors(tmp_path / "absent.txt", 0)
