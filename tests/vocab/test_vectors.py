"""Reading files in GloVe's format: which word gets which row, and what is wrong with a line."""

from pathlib import Path

import numpy as np
import pytest

from distill_jax.errors import UserError
from distill_jax.vocab import WordVocabulary, load_glove


def glove(tmp_path: Path, text: str, vocabulary: WordVocabulary, dim: int = 2) -> np.ndarray:
    path = tmp_path / "glove.txt"
    path.write_bytes(text.encode())
    return load_glove(path, vocabulary, dim, np.random.default_rng(0))


def test_glove_fills_known_words_and_draws_the_others(tmp_path: Path) -> None:
    vocabulary = WordVocabulary(["jon", "play", "wow"], [])
    table = glove(tmp_path, "play 1 2\nother 3 4\nwow -5e-1 6\nplay 9 9\n", vocabulary)
    assert table.dtype == np.float32 and table.shape == (5, 2)
    assert table[0].tolist() == [0, 0]
    assert table[3].tolist() == [1, 2]
    assert table[4].tolist() == [-0.5, 6]
    drawn = table[[1, 2]]
    assert drawn.all() and (np.abs(drawn) <= np.sqrt(3 / 2)).all()
    without = glove(tmp_path, "", vocabulary)
    np.testing.assert_array_equal(without[[1, 2]], drawn)


def test_glove_falls_back_on_lower_case(tmp_path: Path) -> None:
    vocabulary = WordVocabulary(["Jon", "jon", "Play"], [], lowercase=False)
    table = glove(tmp_path, "jon 1 2\nplay 3 4\nPlay 5 6\n", vocabulary)
    assert table[2:].tolist() == [[1, 2], [1, 2], [5, 6]]


def test_glove_words_may_hold_spaces_and_odd_line_ends(tmp_path: Path) -> None:
    vocabulary = WordVocabulary([". .", "a\x85b", "x"], [])
    table = glove(tmp_path, ". . 1 2\na\x85b 3 4 \r\nx 5 6", vocabulary)
    assert table[2:].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_word2vec_header_is_skipped(tmp_path: Path) -> None:
    vocabulary = WordVocabulary(["x"], [])
    assert glove(tmp_path, "1 2\nx 5 6\n", vocabulary)[2].tolist() == [5, 6]
    assert glove(tmp_path, "x 5\n1 2\n", vocabulary, dim=1)[2].tolist() == [5]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x 1", "expected a word and 2 numbers, found 1"),
        ("x", "found 0"),
        ("", "found 0"),
        ("x 1 2 3", "found 3"),
        ("x 1 two", "'two'"),
        ("x 1 nan", "not finite"),
        ("x 1 1e400", "not finite"),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    for word in ("x", "unwanted"):
        text = f"a 1 2\n{line.replace('x', word)}\nb 1 2\n"
        with pytest.raises(UserError, match=rf"glove\.txt:2: .*{message}"):
            glove(tmp_path, text, WordVocabulary(["x"], []))


def test_glove_file_problems(tmp_path: Path) -> None:
    vocabulary = WordVocabulary([], [])
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match=r"absent\.txt: cannot be read"):
        load_glove(tmp_path / "absent.txt", vocabulary, 2, rng)
    (tmp_path / "latin.txt").write_bytes(b"a 1 2\ncaf\xe9 1 2\n")
    with pytest.raises(UserError, match=r"latin\.txt:2: not UTF-8"):
        load_glove(tmp_path / "latin.txt", vocabulary, 2, rng)
    with pytest.raises(UserError, match="dimension of word embeddings is 0"):
        load_glove(tmp_path / "latin.txt", vocabulary, 0, rng)
