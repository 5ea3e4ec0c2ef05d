"""`distill-jax demo` and `distill-jax train`."""

import argparse
from collections.abc import Sequence
from typing import Any


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    demo = commands.add_parser(
        "demo", help="the main job on the embedded data: teacher, students, evaluation"
    )
    demo.add_argument("--out", default="runs/demo", metavar="DIR", help="default: %(default)s")
    demo.set_defaults(run=_demo)

    train = commands.add_parser(
        "train",
        help="any run that a Gin file configures",
        description="Any run that a Gin file configures. --gin.NAME=VALUE, as often as needed, binds a "
        "macro or parameter and wins over the files: --gin.TRAIN_STEPS=100.",
    )
    train.add_argument(
        "--gin_file", action="append", default=[], metavar="FILE", help="may be given several times"
    )
    train.set_defaults(run=_train)


def split_gin_bindings(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Takes `--gin.NAME=VALUE` out of a command line, since argparse cannot know the names.

    Returns the other arguments, and bindings as Gin reads them.
    """
    ours = [argument.startswith("--gin.") for argument in arguments]
    others = [argument for argument, gin in zip(arguments, ours, strict=True) if not gin]
    bindings = [a.removeprefix("--gin.") for a, gin in zip(arguments, ours, strict=True) if gin]
    return others, bindings


def _demo(options: argparse.Namespace) -> None:
    from distill_jax.runs.demo import demo

    demo(options.out)


def _train(options: argparse.Namespace) -> None:
    from distill_jax.runs.launch import configure, launch

    configure(options.gin_file, options.gin_bindings)
    launch()
