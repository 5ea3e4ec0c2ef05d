"""The tags of a file, in whatever notation it writes them, as IOB2.

The first tag that is not `O` settles the notation for the file: a prefix before `-` or `_` (`B-city`,
`B_city`), a suffix (`city-B`), or labels alone. One reading serves all schemes with prefixes (see
`distill_jax_runtime.spans`), so nothing has to be read ahead; which scheme it is, is known
at the end. A tag that does not fit what came before is refused with its line, never read in another
way than the rest of the file.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from distill_jax.data.readers.report import ReadReport, Remark
from distill_jax.errors import UserError
from distill_jax.tagging.schemes import PREFIXES_OF, SCHEMES, convert, scheme_of_prefixes
from distill_jax_runtime.spans import CLOSING, OPENING, PREFIXES

_LETTERS = PREFIXES + PREFIXES.lower()
_PREFIXED = re.compile(rf"([{_LETTERS}])([-_])(.+)", re.DOTALL)
_SUFFIXED = re.compile(rf"(.+)([-_])([{_LETTERS}])", re.DOTALL)
# In lower case only these tell a notation: a label may well be `e-mail` or `s-bahn`.
_LOWER_TELLS = "bi"
_TELLING = rf"[{PREFIXES}{_LOWER_TELLS}]"
_TAG_SHAPED = re.compile(rf"[Oo]|{_TELLING}[-_]\S.*|\S+[-_]{_TELLING}", re.DOTALL)
_OTHER_PREFIX = re.compile(r"[A-Za-z][-_:./|].|.*[-_:./|][BIESLUMW]$", re.DOTALL)


def is_tag_shaped(text: str) -> bool:
    """Whether a text can hardly be anything but a tag: `O`, or a label with a prefix or suffix."""
    return _TAG_SHAPED.fullmatch(text) is not None


class _Tag(NamedTuple):
    letter: str  # the prefix in upper case; `O`; `I` for a label alone
    label: str
    begin: str  # as IOB2 writes its first and its other words
    inside: str
    is_lower: bool


_OUTSIDE = _Tag("O", "", "O", "O", False)


class TagReader:
    """Reads the tags of one file, sentence by sentence.

    Args:
        name: the file, for messages.
        report: gets the scheme and the repairs.
        scheme: one of `tagging.SCHEMES` if the user says which it is.
    """

    def __init__(self, name: str, report: ReadReport, scheme: str | None = None) -> None:
        self._name = name
        self._report = report
        self._scheme = scheme
        self._known: dict[str, _Tag] = {"O": _OUTSIDE}
        self._notation: tuple[str, str] | None = None  # where the prefix stands, what parts it
        self._example: tuple[str, int] | None = None  # a tag in that notation, and its line
        self._letters: dict[str, tuple[str, int]] = {}
        self._any_outside = False
        # Illegal as IOB1, as IOB2, and as a scheme that marks the ends of spans.
        self._illegal = tuple(Remark("illegal_sequences") for _ in range(3))
        self._is_tagged = False
        if scheme in PREFIXES_OF:
            self._notation = ("prefix", "")
        elif scheme is not None:
            self._notation = ("bare", "")

    def knows(self, tag: str) -> bool:
        """Whether this tag has occurred in the file."""
        return tag in self._known

    def read(
        self, words: Sequence[str], tags: Sequence[str], lines: int | Sequence[int]
    ) -> tuple[str, ...]:
        """The tags of a sentence as IOB2.

        Args:
            words, tags: as many of one as of the other.
            lines: the line of each word, or of all.

        Raises:
            UserError: naming file and line, for what is no tag or does not fit the file's others.
        """
        self._is_tagged = True
        if self._scheme == "sbio":
            return self._read_sbio(words, tags, lines)
        known = self._known
        result: list[str] = []
        previous, previous_label = "O", ""
        as_iob1 = as_iob2 = with_ends = True  # legal so far
        for index, tag in enumerate(tags):
            entry = known.get(tag)
            if entry is None:
                entry = known[tag] = self._new(tag, words[index], _line(lines, index))
            letter, label, begin, inside, is_lower = entry
            if is_lower:
                self._report.note("lower_case_tags", _line(lines, index))
            if letter == "O":
                result.append("O")
                self._any_outside = True
                with_ends &= previous not in "BIM"
            else:
                apart = previous == "O" or label != previous_label
                opens = apart or letter in OPENING or previous in CLOSING
                result.append(begin if opens else inside)
                as_iob1 &= letter != "B" or not apart
                as_iob2 &= letter != "I" or not opens
                # What opens a span must say so, and it must be closed before the next.
                with_ends &= opens == (letter in OPENING) and opens == (previous not in "BIM")
            previous, previous_label = letter, label
        with_ends &= previous not in "BIM"
        for remark, is_legal in zip(self._illegal, (as_iob1, as_iob2, with_ends), strict=True):
            if not is_legal:
                remark.add(_line(lines, 0))
        return tuple(result)

    def finish(self) -> None:
        """Puts scheme and repairs into the report; to be called after the last sentence.

        Raises `UserError` if labels stand alone and no word of the file is outside of them.
        """
        if not self._is_tagged:
            return
        if self._scheme is not None:
            self._report.scheme = self._scheme
        elif self._notation is not None and self._notation[0] == "bare":
            if not self._any_outside and self._example is not None:
                tag, line = self._example
                raise UserError(
                    f"{self._name}:{line}: tag {tag!r}: no word of the file has the tag 'O', so this "
                    "may be another column (parts of speech, say) or another notation; say which "
                    "columns to read (--columns WORD,TAG), or --scheme bare if it is right"
                )
            self._report.scheme = "bare"
        else:
            self._report.scheme = self._found_scheme()
        self._note_illegal()

    def _found_scheme(self) -> str:
        scheme = scheme_of_prefixes(self._letters) or "iob2"
        if scheme == "iob2" and self._illegal[0].count < self._illegal[1].count:
            return "iob1"
        return scheme

    def _note_illegal(self) -> None:
        scheme = self._report.scheme
        if scheme in PREFIXES_OF:
            remark = self._illegal[{"iob1": 0, "iob2": 1}.get(scheme, 2)]
            if remark.count:
                self._report.remarks[remark.name] = remark

    def _read_sbio(
        self, words: Sequence[str], tags: Sequence[str], lines: int | Sequence[int]
    ) -> tuple[str, ...]:
        if "" in tags:
            index = list(tags).index("")
            self._fail("", words[index], _line(lines, index), "is empty; write 'O', 'I' or a label")
        converted = tuple(convert(tags, "sbio", "iob2"))
        if any(tag == "I" and new == "O" for tag, new in zip(tags, converted, strict=True)):
            self._report.note("illegal_sequences", _line(lines, 0))
        return converted

    def _new(self, tag: str, word: str, line: int) -> _Tag:
        """Reads a tag that did not occur before; the first that is not `O` settles the notation."""
        if tag == "o" and self._scheme != "bare":
            return _OUTSIDE._replace(is_lower=True)
        if self._notation is None:
            self._notation = self._settle(tag, word, line)
        side, separator = self._notation
        if side == "bare":
            return self._bare(tag, word, line)
        matched = (_PREFIXED if side == "prefix" else _SUFFIXED).fullmatch(tag)
        if not matched and not separator:
            matched, side = _SUFFIXED.fullmatch(tag), "suffix"
        if not matched or separator not in ("", matched[2]) or not _label(matched, side).strip():
            self._mismatch(tag, word, line)
        letter, label = matched[1 if side == "prefix" else 3], _label(matched, side)
        upper = letter.upper()
        self._check_letter(upper, tag, word, line)
        if self._example is None:
            self._example = tag, line
        if not separator:
            self._notation = side, matched[2]
        return _Tag(upper, label, f"B-{label}", f"I-{label}", letter != upper)

    def _settle(self, tag: str, word: str, line: int) -> tuple[str, str]:
        prefixed, suffixed = _PREFIXED.fullmatch(tag), _SUFFIXED.fullmatch(tag)
        if prefixed and prefixed[1] in PREFIXES + _LOWER_TELLS:
            return "prefix", prefixed[2]
        if suffixed and suffixed[3] in PREFIXES + _LOWER_TELLS:
            return "suffix", suffixed[2]
        reason = _why_not_bare(tag)
        if reason:
            self._fail(tag, word, line, reason)
        return "bare", ""

    def _bare(self, tag: str, word: str, line: int) -> _Tag:
        if not tag:
            self._fail(tag, word, line, "is empty; write 'O' or a label")
        if self._scheme is None:
            reason = _why_not_bare(tag)
            if is_tag_shaped(tag) and self._example is not None:
                reason = f"has a prefix or suffix, and {self._before()} has none; {_ONE_NOTATION}"
            if reason:
                self._fail(tag, word, line, reason)
        if self._example is None:
            self._example = tag, line
        return _Tag("I", tag, f"B-{tag}", f"I-{tag}", False)  # as in IOB1

    def _check_letter(self, letter: str, tag: str, word: str, line: int) -> None:
        if letter in self._letters:
            return
        if self._scheme is not None:
            if letter not in PREFIXES_OF[self._scheme]:
                self._fail(
                    tag,
                    word,
                    line,
                    f"is not of the scheme {self._scheme}, whose prefixes are "
                    f"{', '.join(PREFIXES_OF[self._scheme])}; correct the tag or name another scheme",
                )
        elif scheme_of_prefixes([*self._letters, letter]) is None:
            others = ", ".join(f"{other!r} (line {at})" for other, at in self._letters.values())
            self._fail(
                tag,
                word,
                line,
                f"is of no scheme that also has {others}; write all tags in one scheme "
                f"({', '.join(SCHEMES)})",
            )
        self._letters[letter] = tag, line

    def _mismatch(self, tag: str, word: str, line: int) -> NoReturn:
        self._fail(
            tag,
            word,
            line,
            f"is neither 'O' nor a prefix with a label such as {self._before()}; correct the tag, or "
            "say --scheme bare if labels stand alone",
        )

    def _before(self) -> str:
        if self._example is None:
            return "'B-city'"
        return f"{self._example[0]!r} (line {self._example[1]})"

    def _fail(self, tag: str, word: str, line: int, reason: str) -> NoReturn:
        raise UserError(f"{self._name}:{line}: tag {tag!r} of {word!r} {reason}")


_ONE_NOTATION = "write all tags in one notation"


def _line(lines: int | Sequence[int], index: int) -> int:
    return lines if isinstance(lines, int) else lines[index]


def _label(matched: re.Match[str], side: str) -> str:
    return matched[3 if side == "prefix" else 1]


def _why_not_bare(tag: str) -> str | None:
    """Why a text can hardly be a label that stands alone, with what to do; None if it can."""
    if not tag:
        return "is empty; write 'O' or a prefix with a label such as 'B-city'"
    if tag in _LETTERS:
        return (
            "is a prefix without a label; write one, such as 'B-term', or say --scheme sbio where "
            "'I' continues the label before it"
        )
    if tag.lstrip("-").isdigit():
        return (
            "is a number; say which tags the numbers stand for (--label_names FILE), or which "
            "columns to read (--columns WORD,TAG); the tag of words outside any span is the letter 'O'"
        )
    if any(character.isspace() for character in tag):
        return "has a blank in it, so this is no column of tags; say which to read (--columns WORD,TAG)"
    if not any(character.isalpha() for character in tag):
        return "has no letter, so this is no column of tags; say which to read (--columns WORD,TAG)"
    if _OTHER_PREFIX.match(tag) or re.fullmatch(rf"[{PREFIXES}]\W?", tag):
        return (
            "is neither 'O' nor a prefix with a label such as 'B-city'; correct the tag, or say "
            "--scheme bare if labels stand alone"
        )
    return None
