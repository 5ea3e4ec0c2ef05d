"""The options that there are: of the commands of `distill-jax`, and of scripts."""

from functools import cache
from typing import Any

from distill_jax.cli.main import build_parser
from tests.docs.documents import ROOT


def options_of(command: str) -> set[str]:
    """All options of a command of `distill-jax`."""
    return {name for action in subparsers()[command]._actions for name in action.option_strings}


@cache
def subparsers() -> dict[str, Any]:
    """The parsers of the commands."""
    [action] = [a for a in build_parser()._actions if a.dest == "command"]
    assert isinstance(action.choices, dict)
    return action.choices


@cache
def scripts_text() -> str:
    """The sources that other options than those of `distill-jax` stand in."""
    files = [
        *(ROOT / "benchmarks").rglob("*.py"),
        *(ROOT / "tests/tools").glob("*.py"),
        *(path for path in (ROOT / "tpu_scripts").rglob("*") if path.suffix in (".sh", ".py")),
        ROOT / "tpu_scripts/slurm/train.sbatch",
    ]
    return "\n".join(path.read_text("utf-8") for path in files)
