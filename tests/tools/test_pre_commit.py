"""pre-commit runs the tools of `make lint`, from the same environment."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_hooks_are_those_of_make_lint() -> None:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert recipe
    tools = re.findall(r"^\t\$\(BIN\)/(ruff \w+|\S+)", recipe[1], re.M)
    configuration = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    assert re.findall(r"entry: \.venv/bin/(ruff \w+|\S+)", configuration) == tools
    assert not re.search(r"repo: (?!local)", configuration)  # nothing is downloaded
