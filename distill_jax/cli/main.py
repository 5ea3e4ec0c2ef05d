"""Parses the command line and runs one command."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import distill_jax
from distill_jax.cli import models, tagging, training
from distill_jax.cli.training import split_gin_bindings
from distill_jax.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(
        prog="distill-jax",
        description="Distils a large T5 into a small, fast sequence tagger.",
    )
    parser.add_argument("--version", action="version", version=distill_jax.__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for group in (training, tagging, models):
        group.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; 0 on success, 2 after one line about bad usage or bad input."""
    parser = build_parser()
    others, bindings = split_gin_bindings(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(others)
    options.gin_bindings = bindings
    if bindings and options.command != "train":
        parser.error("--gin.NAME=VALUE is an option of train")
    _use_compilation_cache()
    try:
        options.run(options)
    except UserError as error:
        # Gin appends to a message, line by line, which configurables it came through.
        print(f"distill-jax: error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("distill-jax: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does.
        sys.stderr.close()
        return 141
    return 0


def _use_compilation_cache() -> None:
    """Keeps compiled programs between runs, unless the environment says where or not at all."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or "JAX_ENABLE_COMPILATION_CACHE" in os.environ:
        return
    import jax

    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    jax.config.update("jax_compilation_cache_dir", str(Path(base) / "distill_jax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
