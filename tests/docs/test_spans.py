"""What documents mark as code within a line is there: commands, options, macros, paths."""

import re
from functools import cache
from pathlib import Path

import pytest

from distill_jax.jobs.classes import Classes
from distill_jax.jobs.launch import JOBS
from distill_jax.study.run import StudyRun
from tests.docs.documents import DOCUMENTS, GIN_FILES, ROOT, name_of, spans
from tests.docs.options import options_of, scripts_text, subparsers

_PATH = re.compile(r"(gin|docs|tests|tasks|benchmarks|tpu_scripts|distill_jax)/[\w./]+\w")
_ANY = re.compile(r"NAME|ROOM|test_X")
"""What stands for a name of the reader's."""


def span_fault(span: str) -> str | None:
    """What is wrong with a span of code: a command, an option, a binding or a path."""
    words = span.replace("[", " ").replace("]", " ").split()
    is_ours = words[0].endswith("distill-jax") and len(words) > 1 and words[1].isidentifier()
    if is_ours and words[1] not in subparsers():
        return "no such command"
    for word in words:
        option = re.match(r"--\w[\w-]*", word)
        if binding := re.match(r"--gin\.([\w./]+)", word):
            if binding[1] != "NAME" and not binds(binding[1]):
                return f"nothing that {word} binds"
        elif option and is_ours and option[0] not in options_of(words[1]):
            return f"no option {option[0]}"
        elif option and word == words[0] and not is_option(option[0]):
            return f"no option {option[0]} anywhere"
        elif _PATH.fullmatch(word) and not _ANY.search(word) and not (ROOT / word).exists():
            return f"there is no {word}"
    return None


def is_option(name: str) -> bool:
    """Whether some command or script has it."""
    return any(name in options_of(command) for command in subparsers()) or name in scripts_text()


def binds(name: str) -> bool:
    """Whether a run has a macro, or a dataclass with a field, of this name."""
    classes = all_classes()
    made, _, field = name.rpartition("/")[2].partition(".")
    if field:
        return made in classes and classes.has_field(made, field)
    return classes.use(made) or made in macros_of_files()


@cache
def all_classes() -> Classes:
    """What runs and studies are made of."""
    return Classes([*JOBS, StudyRun])


@cache
def macros_of_files() -> set[str]:
    """Macros that Gin files define."""
    return set(re.findall(r"^([A-Z]\w+) *=", "\n".join(map(Path.read_text, GIN_FILES)), re.M))


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if path.name != "CHANGELOG.md"], ids=name_of
)
def test_what_is_marked_as_code_is_there(document: Path) -> None:
    """The changelog aside, which names what was."""
    found = {span: fault for span in sorted(spans(document)) if (fault := span_fault(span))}
    assert found == {}


@pytest.mark.parametrize(
    "span",
    [
        "distill-jax lable --model DIR",
        "distill-jax label [--modell DIR]",
        "--no_such_option N",
        "--gin.TRAIN_STEP=3",
        "--gin.BiLSTMConfig.hiden=3",
        "gin/runs/gone.gin",
    ],
)
def test_a_span_that_misleads_is_found(span: str) -> None:
    assert span_fault(span)


def test_the_table_of_commands_has_all_of_them() -> None:
    found = spans(ROOT / "docs/commands.md")
    named = {words[1] for span in found if (words := span.split())[0] == "distill-jax"}
    assert set(subparsers()) <= named


def test_the_table_of_rooms_has_all_of_them() -> None:
    rooms = {f"distill_jax/{path.parent.name}/" for path in ROOT.glob("distill_jax/*/__init__.py")}
    named = {
        "/".join(span.split("/")[:2]) + "/"
        for span in spans(ROOT / "docs/where.md")
        if span.startswith("distill_jax/")
    }
    assert rooms <= named
