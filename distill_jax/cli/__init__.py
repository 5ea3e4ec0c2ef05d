"""The console script `distill-jax`: one module a group of commands, argparse, exit code 2 for misuse."""

from distill_jax.cli.main import main

__all__ = ["main"]
