"""From a text to its words, with the characters at which each begins and ends.

`blanks`: words are what stands between white space (`str.isspace`, as `str.split` has it).

`punctuation`: white space separates, and what is left is read from left to right, where

* letters, digits and marks in a row are one word (Unicode categories L, N, M); marks include format
  characters (Cf: soft hyphens, joiners, directional marks) and the skin tones of emoji;
* a letter or digit of a script that writes no blanks between words (Han, kana, Thai, Lao, Khmer, Myanmar) is
  a word of its own with the marks after it, for names begin and end within a run of such letters;
* any other character (punctuation, symbols, `_`, controls) is a word of its own with the marks after it;
  two regional indicators, a flag, are one;
* a zero-width joiner joins what is on its two sides, as in emoji of several persons; a zero-width space,
  which is no white space, is a symbol.

`given`: the user's words are the only ones; a text is refused.

Offsets count Unicode code points of the text as given: nothing is normalised, `text[start:end]` is the
word, and every character that is no white space is in exactly one word. Which letters there are is a
matter of the Unicode version of Python (`unicodedata.unidata_version`).
"""

import re
import unicodedata
from typing import Literal

TextWords = Literal["blanks", "punctuation", "given"]
TEXT_WORDS: tuple[TextWords, ...] = ("blanks", "punctuation", "given")

Offsets = list[tuple[int, int]]

_BLANKS = re.compile(r"\S+")

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai to Myanmar
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001aff0-\U0001b16f"  # kana
    "\U00020000-\U0003ffff]"  # Han beyond the basic plane
)
_ZERO_WIDTH_JOINER, _ZERO_WIDTH_SPACE = "\u200d", "\u200b"


class _Classes(dict[int, str]):
    """Each code point's class, one letter; computed when it is first seen."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _class_of(chr(code))
        return found


def _class_of(character: str) -> str:
    """Blank, joiner, regional indicator, mark, word, unspaced script or symbol."""
    category = unicodedata.category(character)
    if character.isspace():
        return " "
    if character == _ZERO_WIDTH_JOINER:
        return "j"
    if "\U0001f1e6" <= character <= "\U0001f1ff":
        return "r"
    if category[0] == "M" or "\U0001f3fb" <= character <= "\U0001f3ff":
        return "m"
    if category == "Cf" and character != _ZERO_WIDTH_SPACE:
        return "m"
    if category[0] in "LN":
        return "u" if _UNSPACED.match(character) else "w"
    return "s"


_CLASSES = _Classes()
# Over the classes of a text, a letter a character: offsets there are offsets in the text.
_RUN = "(?:w[wm]*|m[wm]*|rrm*|[rus]m*)"
_PUNCTUATION = re.compile(f"(?:{_RUN}|j)(?:j|(?<=j){_RUN})*")


def words_with_offsets(text: str, text_words: TextWords = "blanks") -> tuple[list[str], Offsets]:
    """The words of a text in order, and the characters `(start, end)` of each, the end exclusive.

    Raises `ValueError` for `given`, which has no rule, and for an unknown rule.
    """
    if text_words == "blanks":
        matches = list(_BLANKS.finditer(text))
        return [match[0] for match in matches], [match.span() for match in matches]
    if text_words == "punctuation":
        offsets = [match.span() for match in _PUNCTUATION.finditer(text.translate(_CLASSES))]
        return [text[start:end] for start, end in offsets], offsets
    if text_words == "given":
        raise ValueError(
            "this model reads words as they are given and no text; give lists of words"
        )
    raise ValueError(f"{text_words!r} is no rule for words; use one of {', '.join(TEXT_WORDS)}")
