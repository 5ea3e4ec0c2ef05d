"""Parses the command line and runs one command."""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

import distill_jax
from distill_jax import signals
from distill_jax.cli import compile as compile_command
from distill_jax.cli import (
    evaluation,
    fitting,
    generation,
    inspection,
    labelling,
    models,
    serving,
    study,
    tagging,
    training,
)
from distill_jax.cli.compilation_cache import use_compilation_cache
from distill_jax.cli.training import split_gin_bindings
from distill_jax.errors import UserError
from distill_jax_runtime.directory import is_exported


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as all of this command line does; `--help` has the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = _Parser(
        prog="distill-jax",
        description="Distils a large T5 into a small, fast sequence tagger.",
    )
    parser.add_argument("--version", action="version", version=distill_jax.__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for group in (
        inspection,
        fitting,
        training,
        compile_command,
        study,
        generation,
        labelling,
        tagging,
        evaluation,
        models,
        serving,
    ):
        group.add_commands(commands)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; 0 on success, 2 after one line about bad usage, bad input or a full disk.

    130 and 143 say that SIGINT or SIGTERM ended it.
    """
    parser = build_parser()
    others, bindings = split_gin_bindings(sys.argv[1:] if arguments is None else arguments)
    options, unknown = parser.parse_known_args(others)
    if unknown:
        _refuse(unknown, options.parser)
    options.gin_bindings = bindings
    if bindings and options.command not in ("train", "study", "compile", "fit"):
        parser.error("--gin.NAME=VALUE is an option of train, study, compile and fit")
    # `serve` looks at each of its models itself.
    if options.command != "serve" and not (
        options.command == "predict" and is_exported(options.model)
    ):
        use_compilation_cache()
    with signals.stoppable():
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    """The exit code of a command."""
    try:
        options.run(options)
        signals.check_stopped()
        sys.stdout.flush()  # here, where a reader that has gone is noticed below
    except UserError as error:
        return _fail(str(error))
    except RuntimeError as error:
        # JAX's own class is one of these, and is not to be imported for every command.
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _fail(f"{_reason(error)}; {_LESS_MEMORY}")
    except KeyboardInterrupt:
        print("distill-jax: interrupted", file=sys.stderr)
        return 130
    except signals.Terminated as error:
        print("distill-jax: terminated", file=sys.stderr)
        return int(error.args[0])
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        _drop_output()
        return 141
    except OSError as error:
        _drop_output()
        path = error.filename2 or error.filename
        if error.strerror is None:
            return _fail(str(error))
        if path is None:
            return _fail(f"{error.strerror}; check where the output goes, and the disk")
        return _fail(f"{path}: {error.strerror}; check the path, its permissions and the disk")
    return 0


def _refuse(unknown: Sequence[str], command: argparse.ArgumentParser) -> NoReturn:
    """Arguments that a command does not have; says what the first of them may have been meant to be."""
    name = unknown[0].partition("=")[0]
    near = difflib.get_close_matches(name, re.findall(r"--\w+", command.format_help()), n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    command.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")


def _drop_output() -> None:
    """Sends what standard output cannot take to nowhere; Python would flush it again at exit, in vain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_LESS_MEMORY = (
    "take a smaller BATCH_SIZE (--batch_size), or for a T5 in training DTYPE='bfloat16', REMAT='full', "
    "LOGIT_CHUNKS=8, a larger ACCUMULATE or MESH_FSDP; see docs/scale.md"
)


def _reason(error: RuntimeError) -> str:
    """What XLA says first of a device that has too little memory."""
    return str(error).strip().splitlines()[0].partition("RESOURCE_EXHAUSTED: ")[2].rstrip(".") or (
        "the device has too little memory"
    )


def _fail(message: str) -> int:
    # Gin appends to a message, line by line, which configurables it came through.
    first = next(iter(message.splitlines()), "the system reported an error without a reason")
    print(f"distill-jax: error: {first}", file=sys.stderr)
    return 2
