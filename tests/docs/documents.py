"""The documents, and what a reader would type: their fenced code, commands and spans of code."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    {
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "benchmarks/README.md",
        ROOT / "tpu_scripts/README.md",
    }
)
GIN_FILES = sorted((ROOT / "gin").rglob("*.gin"))
FENCE = re.compile(r"^(```|~~~)(\w*)\n(.*?)^\1\s*$", re.M | re.S)
_SPAN = re.compile(r"`([^`\n]+)`")
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")
_ENDS_COMMAND = frozenset(";|&")
_SHELL = frozenset({"do", "done", "export"})
_ARRAY = re.compile(r"\w+=\(")


class Command(NamedTuple):
    """A command with its arguments; the first of `words` is the program, without its folder if it is ours."""

    place: str
    words: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing of it is left to the reader."""
        return not any("…" in word for word in self.words)


def name_of(path: Path) -> str:
    """The path below the top of the checkout."""
    return path.relative_to(ROOT).as_posix()


def fences(document: Path, *languages: str) -> Iterator[tuple[str, str]]:
    """The fenced code in these languages, each with its place, `README.md:12`."""
    text = document.read_text("utf-8")
    for match in FENCE.finditer(text):
        if match[2] in languages:
            line = text.count("\n", 0, match.start()) + 2
            yield f"{name_of(document)}:{line}", match[3]


def spans(document: Path) -> set[str]:
    """What is marked as code within the lines; a table's `\\|` is one character."""
    text = FENCE.sub("", document.read_text("utf-8"))
    return {span.replace("\\|", "|") for span in _SPAN.findall(text)}


def commands(document: Path) -> list[Command]:
    """The commands of the fenced shell code, or of a Gin file's head."""
    if document.suffix == ".gin":
        lines = document.read_text("utf-8").splitlines()
        head = [line[1:].strip() for line in lines if line.startswith("#")]
        starts = [at for at, line in enumerate(head) if line.startswith("distill-jax ")]
        # Prose may follow what is left to the reader.
        code = [re.sub(r" … .*", " …", _continued(head[at:])) for at in starts]
        codes = [(name_of(document), each) for each in code]
    else:
        codes = list(fences(document, "bash"))
    return [command for place, code in codes for command in commands_in(place, code)]


def _continued(lines: list[str]) -> str:
    """The first line with those that it goes on in."""
    last = next((at for at, line in enumerate(lines) if not line.endswith("\\")), len(lines) - 1)
    return "\n".join(lines[: last + 1])


def commands_in(place: str, code: str) -> Iterator[Command]:
    """The commands of shell code."""
    waiting = ""
    for line in code.replace("\\\n", " ").splitlines():
        waiting = f"{waiting}\n{line}" if waiting else line
        try:
            words = _words(waiting)
        except ValueError:  # a quotation that goes on
            continue
        if _ARRAY.match(waiting) and ")" not in waiting:
            continue
        waiting = ""
        part: list[str] = []
        for word in [*words, ";"]:
            if not set(word) <= _ENDS_COMMAND:
                part.append(word)
                continue
            if made := _command(place, part):
                yield made
            part = []


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(_VARIABLE.sub("0", line), posix=True, punctuation_chars=";|&<>")
    lexer.whitespace_split = True
    return list(lexer)


def _command(place: str, words: list[str]) -> Command | None:
    """Without what the shell takes: words of its own, variables before it, files after `<` and `>`.

    An array, `run=(train …)`, holds a command of `distill-jax` for a script, or options of the script.
    """
    if words and (array := _ARRAY.match(words[0])):
        inner = [words[0][array.end() :], *words[1:-1], words[-1].rstrip(")")]
        if inner[0].startswith("-"):
            return None
        return Command(place, ("distill-jax", *inner))
    if words[:1] == ["for"]:
        return None
    for at, word in enumerate(words):
        if word and set(word) <= {"<", ">"}:
            words = words[:at]
            break
    while words and (words[0] in _SHELL or re.match(r"\w+=", words[0])):
        words = words[1:]
    if words and words[0].startswith(".venv/bin/"):
        words = [words[0].removeprefix(".venv/bin/"), *words[1:]]
    return Command(place, tuple(words)) if words else None
