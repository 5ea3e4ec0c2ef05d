"""A user's own modules are found here, and what is wrong with one is said in one line."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill_jax.errors import UserError
from distill_jax.jobs.classes import Classes
from distill_jax.jobs.gin_files import read_gin
from distill_jax.jobs.launch import JOBS
from distill_jax.modules import import_own


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    # As a console script starts: its folder is on the path, the current one is not.
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in [each for each in sys.modules if each.startswith("own_")]:
        del sys.modules[name]


def test_a_module_of_the_current_folder_is_found(here: Path) -> None:
    (here / "own_module.py").write_text("VALUE = 3\n")
    assert import_own("own_module").VALUE == 3


def test_a_gin_file_finds_one_too(here: Path) -> None:
    (here / "own_loss.py").write_text(
        "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass OwnLoss:\n    share: float = 1.0\n"
    )
    (here / "own.gin").write_text("import own_loss\nOwnLoss.share = 0.5\n")
    config = read_gin(["own.gin"], [], Classes(JOBS))
    assert config.fields[("", "OwnLoss")]["share"].value == 0.5


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            "\nraise RuntimeError('two\\nlines')\n",
            r"RuntimeError: two lines at .*own_bad.py, line 2",
        ),
        ("import no_such_library\n", r"No module named 'no_such_library' at .*own_bad.py, line 1"),
        ("import json\n\njson.loads('{')\n", r"JSONDecodeError: .* at .*own_bad.py, line 3"),
        ("def (\n", r"SyntaxError: invalid syntax \(own_bad.py, line 1\)"),
    ],
)
def test_one_that_fails_is_said_with_its_line(here: Path, text: str, wrong: str) -> None:
    (here / "own_bad.py").write_text(text)
    with pytest.raises(UserError, match=f"'own_bad' fails as it is imported .*{wrong}") as error:
        import_own("own_bad")
    assert "\n" not in str(error.value)


def test_where_a_gin_file_imports_what_is_not_there(here: Path) -> None:
    (here / "own.gin").write_text("\nimport own_mistyped\n")
    with pytest.raises(
        UserError, match=r"gin: own.gin: line 2: module 'own_mistyped' .* on PYTHONPATH"
    ):
        read_gin(["own.gin"], [], Classes(JOBS))


def test_what_a_module_refuses_stays_as_it_is(here: Path) -> None:
    (here / "own_bad.py").write_text(
        "from distill_jax.errors import UserError\nraise UserError('labels.txt: no labels; add some')\n"
    )
    with pytest.raises(UserError, match=r"^labels.txt: no labels; add some$"):
        import_own("own_bad")
