"""Words of any text, with the characters they stand at."""

import itertools
import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distill_jax_runtime.text import words_with_offsets

ODD = st.sampled_from(
    [
        "\u0301",  # combining acute
        "\u200d",
        "\u200c",
        "\u200b",
        "\u00ad",
        "\ufe0f",
        "\r\n",
        "\u2028",
        "\x1c",
        "\x00",
        "_",
        "é",
        "שָׁלוֹם",
        "مَرْحَبًا",
        "\u202e",
        "東京",
        "カー",
        "ภาษา",
        "한국",
        "👩\u200d💻",
        "👍🏽",
        "🇩🇪",
        "🇩",
        "\U000e0067",
        "a",
        "1",
        ".",
        " ",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(ODD, max_size=12).map("".join))


def words_of(text: str) -> list[str]:
    return words_with_offsets(text, "punctuation")[0]


@pytest.mark.parametrize("rule", ["blanks", "punctuation"])
@settings(deadline=None)
@given(text=TEXTS)
@example(text="\u0301a\u200d \u200d b\r\n\r\n\u200d👩\u200d\u200d💻\u200d")
def test_words_lie_in_order_where_they_say_and_miss_nothing_but_blanks(rule, text):
    words, offsets = words_with_offsets(text, rule)
    assert [text[start:end] for start, end in offsets] == words
    assert all(start < end for start, end in offsets)
    ends = [0, *(end for _, end in offsets)]
    starts = [*(start for start, _ in offsets), len(text)]
    gaps = [text[end:start] for end, start in zip(ends, starts, strict=True)]
    assert all(not gap or gap.isspace() for gap in gaps)
    assert not any(character.isspace() for word in words for character in word)


@settings(deadline=None)
@given(text=TEXTS)
def test_blanks_are_those_of_split(text):
    assert words_with_offsets(text)[0] == text.split()


@settings(deadline=None)
@given(text=TEXTS)
def test_words_of_a_word_alone_are_that_word(text):
    for word in words_of(text):
        assert words_of(word) == [word]


@settings(deadline=None)
@given(text=TEXTS)
def test_a_mark_never_begins_a_word_that_something_stands_before(text):
    words, offsets = words_with_offsets(text, "punctuation")
    for (_, end), (start, _), word in zip(offsets, offsets[1:], words[1:], strict=False):
        assert end != start or unicodedata.category(word[0])[0] != "M"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("call mara, on friday.", "call|mara|,|on|friday|."),
        ("Don't e-mail a_b 3.5%!!", "Don|'|t|e|-|mail|a|_|b|3|.|5|%|!|!"),
        ("cafe\u0301s caf\u00e9s co\u00adop", "cafe\u0301s|caf\u00e9s|co\u00adop"),
        ("שָׁלוֹם, עולם", "שָׁלוֹם|,|עולם"),
        (
            "\u0645\u064e\u0631\u061f \u0645\u06cc\u200c\u062e",
            "\u0645\u064e\u0631|\u061f|\u0645\u06cc\u200c\u062e",
        ),
        ("私はGPT4です。", "私|は|GPT4|で|す|。"),
        ("か\u3099 サーバ", "か\u3099|サ|ー|バ"),
        ("서울에서 만나", "서울에서|만나"),
        ("ที่นี่", "ที่|นี่"),
        ("हिन्दी।", "हिन्दी|।"),
        ("👩\u200d💻👍🏽❤\ufe0f1\ufe0f\u20e3", "👩\u200d💻|👍🏽|❤\ufe0f|1\ufe0f\u20e3"),
        ("🇩🇪🇫🇷🇩", "🇩🇪|🇫🇷|🇩"),
        ("🏴\U000e0067\U000e0062\U000e007f.", "🏴\U000e0067\U000e0062\U000e007f|."),
        ("a\r\nb\u2028c\u00a0d\u200be", "a|b|c|d|\u200b|e"),
        ("\ud800x", "\ud800|x"),
        ("\u0301x .\u0301x", "\u0301x|.\u0301|x"),
        ("", ""),
        (" \t\n", ""),
    ],
)
def test_words_and_punctuation(text, words):
    assert words_of(text) == (words.split("|") if words else [])


def test_every_character_by_itself_is_one_word_or_blank():
    for code in itertools.chain(range(0, 0x3400, 3), range(0xD700, sys.maxunicode, 487)):
        character = chr(code)
        assert words_of(character) == ([] if character.isspace() else [character])


def test_a_long_run_takes_linear_time():
    text = "a\u0301\u200d" * 50_000
    assert words_of(text) == [text]


def test_a_model_of_given_words_refuses_text():
    with pytest.raises(ValueError, match="give lists of words"):
        words_with_offsets("play it", "given")
    with pytest.raises(ValueError, match="use one of blanks, punctuation, given"):
        words_with_offsets("play it", "spaces")  # type: ignore[arg-type]
