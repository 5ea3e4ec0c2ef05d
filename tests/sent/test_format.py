"""SenT′: golden ids, odd words, label texts, and reading what a model wrote."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_jax.errors import UserError
from distill_jax.sent.format import Malformation, Problem, SenTFormat, check_vocabulary_fits
from distill_jax.tagging.labels import LabelSet
from distill_jax.vocab import ByteVocabulary, Vocabulary, load_vocabulary, train_sentencepiece

# The example of Farina et al. 2023. Made with tokenizers 0.23.3 from T5's tokenizer.json, each word
# by `Tokenizer.encode(word, add_special_tokens=False).ids` and each sentinel by
# `Tokenizer.token_to_id("<extra_id_n>")`, followed by </s> = 1.
PAPER_WORDS = ["play", "wow", "by", "jon", "theodore"]
PAPER_TAGS = ["O", "TRACK", "O", "ARTIST", "I"]
PAPER_INPUT = [
    *(32099, 577),
    *(32098, 2275, 210),
    *(32097, 57),
    *(32096, 3, 15429),
    *(32095, 8, 7512, 15),
    *(32094, 1),
]
PAPER_TARGET = [
    *(32099, 411),
    *(32098, 11466, 15339),
    *(32097, 411),
    *(32096, 3, 8241, 13582),
    *(32095, 27),
    *(32094, 1),
]

LABELS = LabelSet(("artist", "playlist_owner", "track"))


class OneTokenVocabulary(Vocabulary):
    """Each character of `abc…z` is a token; others vanish. Sentinels as many as asked for."""

    kind = "letters"

    def __init__(self, sentinels: int) -> None:
        first = 3 + 26
        super().__init__(size=first + sentinels, sentinel_ids=range(first, first + sentinels))

    @property
    def files(self) -> tuple[str, ...]:
        return ()

    def content_hash(self) -> str:
        return f"letters-{self.num_sentinels}"

    def save(self, directory: object) -> None:
        raise NotImplementedError

    def _encode_text(self, text: str) -> list[int]:
        return [ord(c) - ord("a") + 3 for c in text.lower() if "a" <= c <= "z"]

    def _decode_text(self, ids: list[int]) -> str:
        return "".join(chr(i - 3 + ord("a")) for i in ids)


@pytest.fixture(scope="module")
def t5(shared_dir: Path) -> Vocabulary:
    return load_vocabulary(shared_dir / "vocab" / "t5")


@pytest.fixture(scope="module")
def byte_format() -> SenTFormat:
    return SenTFormat(ByteVocabulary(), LABELS)


@pytest.mark.parametrize("kind", ["spiece.model", "tokenizer.json"])
def test_the_papers_example(kind: str, shared_dir: Path) -> None:
    labels = LabelSet(("TRACK", "ARTIST"))
    form = SenTFormat(load_vocabulary(shared_dir / "vocab" / "t5" / kind), labels)
    assert form.tag_token_ids == ((411,), (27,), (11466, 15339), (3, 8241, 13582))
    encoded = form.encode_input(PAPER_WORDS)
    assert encoded.dtype == np.int32
    assert encoded.tolist() == PAPER_INPUT
    tag_ids = [labels.index(tag) for tag in PAPER_TAGS]
    target = form.encode_target(np.array(tag_ids, dtype=np.int32))
    assert target.dtype == np.int32
    assert target.tolist() == PAPER_TARGET
    assert form.input_length(PAPER_WORDS) == len(PAPER_INPUT)
    assert form.target_length(tag_ids) == len(PAPER_TARGET)
    assert form.max_words == 99
    assert form.vocabulary.decode(PAPER_INPUT) == (
        "<extra_id_0> play <extra_id_1> wow <extra_id_2> by "
        "<extra_id_3> jon <extra_id_4> theodore <extra_id_5>"
    )


def test_labels_are_written_as_their_texts(byte_format: SenTFormat) -> None:
    texts = [byte_format.vocabulary.decode(ids) for ids in byte_format.tag_token_ids]
    assert texts == ["O", "I", "artist", "playlist owner", "track"]


def test_an_empty_sentence(byte_format: SenTFormat) -> None:
    assert byte_format.encode_input([]).tolist() == [259, 1]
    assert byte_format.encode_target([]).tolist() == [259, 1]
    assert byte_format.input_length([]) == byte_format.target_length([]) == 2
    assert byte_format.parse_target([259, 1], 0).tags == []


@pytest.mark.parametrize("word", ["", " ", "\t\n", "\u200b", "\ufeff", "\x01", "\ud800"])
def test_words_that_vanish_are_unknown(word: str, t5: Vocabulary) -> None:
    form = SenTFormat(t5, LABELS)
    assert form.word_token_ids(word) == (t5.unk_id,)
    assert form.encode_input([word, "play"]).tolist() == [32099, 2, 32098, 577, 32097, 1]


@pytest.mark.parametrize("word", ["<extra_id_0>", "<extra_id_1>", "</s>", "<pad>"])
def test_words_that_look_like_control_tokens_are_text(word: str, t5: Vocabulary) -> None:
    for vocabulary in (t5, ByteVocabulary()):
        form = SenTFormat(vocabulary, LABELS)
        ids = form.encode_input([word, "play"])
        control = np.isin(ids, [vocabulary.pad_id, vocabulary.eos_id, *vocabulary.sentinel_ids])
        assert ids[control].tolist() == [*vocabulary.sentinel_ids[:3], vocabulary.eos_id]


def test_control_characters_and_blanks_inside_a_word(t5: Vocabulary) -> None:
    form = SenTFormat(t5, LABELS)
    assert form.word_token_ids("a\x07b") == form.word_token_ids("ab")  # removed
    assert form.word_token_ids("New\tYork") == form.word_token_ids("New York")  # a blank
    assert form.word_token_ids("New York") == (368, 1060)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=6), max_size=8))
def test_every_sentence_has_the_stated_shape(words: list[str]) -> None:
    form = SenTFormat(ByteVocabulary(), LABELS)
    ids = form.encode_input(words)
    assert len(ids) == form.input_length(words)
    assert ids[-1] == form.vocabulary.eos_id
    sentinels = ids[np.isin(ids, form.vocabulary.sentinel_ids)]
    assert sentinels.tolist() == form.vocabulary.sentinel_ids[: len(words) + 1].tolist()
    segments = np.split(ids[:-1], np.flatnonzero(np.isin(ids[:-1], sentinels)))[1:-1]
    assert [tuple(s[1:].tolist()) for s in segments] == [form.word_token_ids(w) for w in words]


def test_more_words_than_sentinels_are_refused() -> None:
    form = SenTFormat(OneTokenVocabulary(sentinels=4), LABELS)
    assert form.max_words == 3
    assert form.encode_input(["a"] * 3).tolist() == [29, 3, 30, 3, 31, 3, 32, 1]
    for encode in (lambda: form.encode_input(["a"] * 4), lambda: form.encode_target([0] * 4)):
        with pytest.raises(UserError, match="4 words needs 5 sentinels and the vocabulary has 4"):
            encode()
    assert form.input_length(["a"] * 4) == 10


def test_tag_ids_outside_the_set_are_refused(byte_format: SenTFormat) -> None:
    for bad in (-1, 5):
        with pytest.raises(UserError, match=f"tag id {bad} is outside the tag set of 5"):
            byte_format.encode_target([0, bad])


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (LabelSet(("x",), ("123",)), "'x': .* '123' to nothing"),
        (LabelSet(("x", "y"), ("a1", "a2")), "'x' and 'y': .* same tokens 'a'"),
        (LabelSet(("x",), ("i1",)), "'I' and 'x'"),
        (LabelSet(("x",), ("a <extra_id_3>",)), "'x': its text .* holds a sentinel"),
    ],
)
def test_label_texts_the_vocabulary_cannot_tell_apart(labels: LabelSet, match: str) -> None:
    with pytest.raises(UserError, match=match):
        SenTFormat(OneTokenVocabulary(sentinels=4), labels)


def test_a_vocabulary_without_sentinels_is_refused() -> None:
    with pytest.raises(UserError, match="has 1 sentinels"):
        SenTFormat(OneTokenVocabulary(sentinels=1), LABELS)


def test_vocabulary_and_model_rows(t5: Vocabulary) -> None:
    check_vocabulary_fits(t5, 32_128)
    check_vocabulary_fits(t5, 32_100)
    with pytest.raises(UserError, match=r"32100 ids and the model only 32099 .* at least 32100"):
        check_vocabulary_fits(t5, 32_099)


# Reading targets. Letters: O = 17, I = 11; sentinels 29, 30, 31, 32.


@pytest.fixture(scope="module")
def letters() -> SenTFormat:
    return SenTFormat(OneTokenVocabulary(sentinels=4), LabelSet(("artist", "c"), ("ab", "c")))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=3))
def test_parsing_undoes_encoding(letters: SenTFormat, tag_ids: list[int]) -> None:
    parsed = letters.parse_target(letters.encode_target(tag_ids), len(tag_ids))
    assert parsed.tags == [letters.labels.tags[i] for i in tag_ids]
    assert {problem.kind for problem in parsed.problems} <= {Malformation.ILLEGAL_TAG}
    legal = all(
        tag != 1 or before != 0 for before, tag in zip([0, *tag_ids], tag_ids, strict=False)
    )
    assert (parsed.problems == ()) == legal


@pytest.mark.parametrize(
    ("ids", "tags", "problems"),
    [
        ([29, 17, 30, 3, 4, 31, 11, 32, 1], ["O", "artist", "I"], []),
        ([29, 17, 30, 1, 0, 0, 30], ["O"], []),
        ([29, 17, 30], ["O"], [("no_end", 3)]),
        ([29, 17, 30, 11, 31, 1], ["O", "I"], [("illegal_tag", 3)]),
        ([29, 11, 30, 1], ["I"], [("illegal_tag", 1)]),
        ([17, 30, 1], None, [("missing_start", 0)]),
        ([], None, [("missing_start", 0), ("no_end", 0)]),
        ([1], None, [("missing_start", 0)]),
        ([29, 17, 31, 1], None, [("wrong_sentinel", 2)]),
        ([29, 17, 29, 1], None, [("wrong_sentinel", 2)]),
        ([29, 17, 30, 17, 31, 17, 32, 17, 32, 1], None, [("wrong_sentinel", 8)]),
        ([29, 17, 30, 31, 1], None, [("empty_tag", 3)]),
        ([29, 3, 30, 1], None, [("unknown_tag", 1)]),
        ([29, 17, 17, 30, 1], None, [("unknown_tag", 1)]),
        ([29, 0, 30, 1], None, [("unknown_tag", 1)]),
        ([29, 999, 30, 1], None, [("unknown_tag", 1)]),
        ([29, 17, 30, 17, 1], None, [("unclosed_tag", 3)]),
        ([29, 17, 30, 17], None, [("unclosed_tag", 3), ("no_end", 4)]),
    ],
)
def test_malformed_targets(
    letters: SenTFormat, ids: list[int], tags: list[str] | None, problems: list[tuple[str, int]]
) -> None:
    parsed = letters.parse_target(np.array(ids, dtype=np.int32))
    assert parsed.tags == tags
    assert parsed.problems == tuple(Problem(Malformation(k), at) for k, at in problems)


def test_the_number_of_words_is_checked_if_known(letters: SenTFormat) -> None:
    ids = [29, 17, 30, 17, 31, 1]
    assert letters.parse_target(ids, 2).problems == ()
    parsed = letters.parse_target(ids, 3)
    assert parsed.tags == ["O", "O"]
    assert parsed.problems == (Problem(Malformation.WORD_COUNT, 5),)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=12))
def test_any_ids_can_be_read(letters: SenTFormat, ids: list[int]) -> None:
    parsed = letters.parse_target(ids)
    if not parsed.problems:
        assert parsed.tags is not None
        tag_ids = [letters.labels.index(tag) for tag in parsed.tags]
        encoded = letters.encode_target(tag_ids).tolist()
        assert encoded == ids[: len(encoded)]


def test_a_trained_vocabulary_serves_its_labels(tmp_path: Path) -> None:
    vocabulary = train_sentencepiece(
        ["play jazz by miles"] * 5, 80, tmp_path, required=LABELS.tag_texts, extra_ids=10
    )
    form = SenTFormat(vocabulary, LABELS)
    assert all(vocabulary.unk_id not in ids for ids in form.tag_token_ids)
    assert form.max_words == 9


# ---- a token of its own for each tag -----------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "ids", "max_words"),
    [
        (40, [35, 36, 37, 38], 5),  # rows to spare: all sentinels are left
        (37, [35, 36, 34, 33], 3),  # two rows, then the last sentinel and the one before it
        (35, [34, 33, 32, 31], 1),
        (None, [34, 33, 32, 31], 1),
    ],
)
def test_single_tokens_are_spare_rows_then_sentinels(
    rows: int | None, ids: list[int], max_words: int
) -> None:
    vocabulary = OneTokenVocabulary(sentinels=6)  # ids 29 to 34
    labels = LabelSet(("artist", "track"), ("123", "456"))  # texts that could not be written
    form = SenTFormat(vocabulary, labels, single_token_tags=True, rows=rows)
    assert form.tag_token_ids == tuple((i,) for i in ids)
    assert form.max_words == max_words
    assert form.sentinel_ids.tolist() == list(range(29, 30 + max_words))
    assert form.encode_target([0] * max_words)[1] == ids[0]
    with pytest.raises(UserError, match=f"format has {max_words + 1}; .* at most {max_words} "):
        form.encode_input(["a"] * (max_words + 1))


def test_too_many_tags_for_single_tokens() -> None:
    vocabulary = OneTokenVocabulary(sentinels=6)
    labels = LabelSet(tuple("abcde"))
    with pytest.raises(UserError, match=r"7 tags .* 2 rows .* 4 sentinels .* 1 more rows"):
        SenTFormat(vocabulary, labels, single_token_tags=True, rows=37)
    SenTFormat(vocabulary, labels, single_token_tags=True, rows=38)


def test_t5_has_28_rows_to_spare(t5: Vocabulary) -> None:
    labels = LabelSet(tuple(f"label {i}" for i in range(28)))
    form = SenTFormat(t5, labels, single_token_tags=True, rows=32_128)
    assert form.tag_token_ids[:28] == tuple((i,) for i in range(32_100, 32_128))
    assert form.tag_token_ids[28:] == ((32_000,), (32_001,))  # <extra_id_99>, <extra_id_98>
    assert form.max_words == 97


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=20), st.integers(0, 9))
def test_single_tokens_are_read_as_they_were_written(tag_ids: list[int], spare: int) -> None:
    # Without rows to spare the seven tags take the last seven; 20 words need 21.
    vocabulary = OneTokenVocabulary(sentinels=28)
    labels = LabelSet(tuple("abcde"))
    form = SenTFormat(vocabulary, labels, single_token_tags=True, rows=vocabulary.size + spare)
    target = form.encode_target(tag_ids)
    assert len(target) == form.target_length(tag_ids) == 2 + 2 * len(tag_ids)
    parsed = form.parse_target(target, len(tag_ids))
    assert parsed.tags == [labels.tags[i] for i in tag_ids]
    assert {problem.kind for problem in parsed.problems} <= {Malformation.ILLEGAL_TAG}
