"""Word vocabularies: order, ids, files."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.vocab import WORD_VOCABULARY_FILE, WordVocabulary

SENTENCES = [["Play", "jon", "wow"], ["play", "Jon"], ["by", "jon"]]
sentences = st.lists(st.lists(st.text(max_size=6), max_size=6), max_size=6)


def test_order_is_by_count_then_text() -> None:
    vocabulary = WordVocabulary.build(SENTENCES)
    assert vocabulary.words == ("jon", "play", "by", "wow")
    assert vocabulary.characters[0] == "o"
    assert "P" in vocabulary.characters and "p" in vocabulary.characters
    assert vocabulary.num_words == 6
    assert vocabulary.num_chars == 2 + len(set("Playjonwowplay Jonby") - {" "})


def test_order_does_not_depend_on_the_order_of_sentences() -> None:
    assert WordVocabulary.build(SENTENCES) == WordVocabulary.build(reversed(SENTENCES))


def test_case_counts_and_size_limits() -> None:
    cased = WordVocabulary.build(SENTENCES, lowercase=False)
    assert cased.words == ("jon", "Jon", "Play", "by", "play", "wow")
    assert WordVocabulary.build(SENTENCES, min_count=2).words == ("jon", "play")
    assert WordVocabulary.build(SENTENCES, max_words=3).words == ("jon", "play", "by")
    # Rare words still give their characters.
    few = WordVocabulary.build(SENTENCES, min_count=3)
    assert few.words == ("jon",)
    assert few.characters == WordVocabulary.build(SENTENCES).characters
    # Those of some sentences are kept, if they are rare too.
    assert WordVocabulary.build(SENTENCES, min_count=2, kept=[("Wow",)]).words == (
        "jon",
        "play",
        "wow",
    )


def test_encode() -> None:
    vocabulary = WordVocabulary(["jon", "play"], ["j", "o", "n"])
    word_ids, char_ids = vocabulary.encode(["JON", "jonx", "", "play"], max_chars=5)
    assert word_ids.dtype == char_ids.dtype == np.int32
    assert word_ids.tolist() == [2, 1, 1, 3]
    assert char_ids.tolist() == [[1, 1, 1, 0, 0], [2, 3, 4, 1, 0], [0] * 5, [1, 1, 1, 1, 0]]


def test_long_words_keep_both_ends() -> None:
    vocabulary = WordVocabulary([], list("abcdefg"))
    for width, expected in [(7, "abcdefg"), (5, "abcfg"), (4, "abfg"), (2, "ag"), (1, "a")]:
        (row,) = vocabulary.encode(["abcdefg"], max_chars=width)[1]
        assert "".join(vocabulary.characters[i - 2] for i in row) == expected


def test_empty_sentence() -> None:
    word_ids, char_ids = WordVocabulary.build([]).encode([])
    assert word_ids.shape == (0,) and char_ids.shape == (0, 20)


@given(sentences, st.booleans(), st.integers(1, 8))
def test_every_training_word_is_known(words: list[list[str]], lower: bool, width: int) -> None:
    vocabulary = WordVocabulary.build(words, lowercase=lower)
    for sentence in words:
        word_ids, char_ids = vocabulary.encode(sentence, width)
        assert char_ids.shape == (len(sentence), width)
        for word, word_id, row in zip(sentence, word_ids, char_ids, strict=True):
            assert (word_id >= 2) if word else (word_id == 1)
            size = min(len(word), width)
            assert (row[:size] >= 2).all() and not row[size:].any()
        assert (word_ids < vocabulary.num_words).all() and (char_ids < vocabulary.num_chars).all()


@given(sentences, st.booleans())
def test_files_round_trip(
    tmp_path_factory: pytest.TempPathFactory, words: list[list[str]], lower: bool
) -> None:
    directory = tmp_path_factory.mktemp("vocabulary")
    vocabulary = WordVocabulary.build(words, lowercase=lower)
    vocabulary.save(directory)
    loaded = WordVocabulary.load(directory)
    assert loaded == vocabulary
    assert loaded.content_hash() == vocabulary.content_hash()
    assert [path.name for path in directory.iterdir()] == [WORD_VOCABULARY_FILE]


def test_hash_is_stable_and_sees_every_part() -> None:
    base = WordVocabulary(["a", "b"], ["a", "b"])
    others = [
        WordVocabulary(["b", "a"], ["a", "b"]),
        WordVocabulary(["a", "b"], ["b", "a"]),
        WordVocabulary(["a", "b"], ["a", "b"], lowercase=False),
    ]
    assert len({v.content_hash() for v in [base, *others]}) == 4
    assert base.content_hash() == WordVocabulary(["a", "b"], ["a", "b"]).content_hash()
    assert base.content_hash() == (
        "a5d8c5fc1873b7b47987c459b13151b40544da47a641de0be27d73745697e9f7"
    )


@pytest.mark.parametrize(
    ("words", "characters", "message"),
    [
        (["a", "a"], [], "'a' is there twice"),
        ([], ["x", "x"], "'x' is there twice"),
        (["A"], [], "'A' could never be looked up"),
        ([""], [], "'' could never"),
        ([], ["xy"], "'xy' is not a single character"),
    ],
)
def test_bad_vocabularies_are_refused(
    words: list[str], characters: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        WordVocabulary(words, characters)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(UserError, match="min_count is 0"):
        WordVocabulary.build([], min_count=0)
    with pytest.raises(UserError, match="max_words is -1"):
        WordVocabulary.build([], max_words=-1)
    with pytest.raises(UserError, match="max_chars is 0"):
        WordVocabulary.build([]).encode([], 0)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"words": [], "characters": []}',
        '{"lowercase": 1, "words": [], "characters": []}',
        '{"lowercase": true, "words": [3], "characters": []}',
        '{"lowercase": true, "words": ["a", "a"], "characters": []}',
    ],
)
def test_bad_files_are_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / WORD_VOCABULARY_FILE).write_text(content)
    with pytest.raises(UserError, match=WORD_VOCABULARY_FILE):
        WordVocabulary.load(tmp_path)


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{WORD_VOCABULARY_FILE}: cannot be read"):
        WordVocabulary.load(tmp_path)


def test_file_is_readable_text(tmp_path: Path) -> None:
    WordVocabulary(["é"], ["é"]).save(tmp_path)
    text = (tmp_path / WORD_VOCABULARY_FILE).read_text("utf-8")
    assert "é" in text
    assert json.loads(text) == {"lowercase": True, "words": ["é"], "characters": ["é"]}
