"""`distill-jax import` and `distill-jax export`: model directories from and for elsewhere."""

import argparse
import sys
from typing import Any

from distill_jax.cli.output import check_local_options
from distill_jax.data.locations import check_local
from distill_jax.errors import UserError

_OF_T5X = ("step", "activation", "dropout")


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    parser = commands.add_parser(
        "import", help="makes a model directory of a T5, or of a BERT with a tag classifier"
    )
    parser.add_argument(
        "--from", dest="source", required=True, choices=("hf", "t5x"), help="its format"
    )
    parser.add_argument(
        "--labels", required=True, metavar="FILE", help="one `name` or `name<TAB>text` a line"
    )
    parser.add_argument(
        "--vocabulary",
        metavar="PATH",
        help="if it is not beside the checkpoint: a file, a directory, or `byte`",
    )
    parser.add_argument("--step", type=_step, metavar="N", help="of t5x's; default: the last")
    parser.add_argument(
        "--activation",
        choices=("relu", "gelu", "silu"),
        help="of t5x's, whose arrays do not say it; default: as config.gin beside it says",
    )
    parser.add_argument("--dropout", type=_rate, metavar="RATE", help="the same")
    parser.add_argument("src", metavar="SRC", help="the checkpoint's directory")
    parser.add_argument("dst", metavar="DST", help="the model directory to write")
    parser.set_defaults(run=_import)

    parser = commands.add_parser("export", help="makes a checkpoint of t5x of a T5")
    parser.add_argument("--to", dest="target", required=True, choices=("t5x",), help="its format")
    parser.add_argument("--step", type=_step, default=0, metavar="N", help="default: 0")
    parser.add_argument("src", metavar="SRC", help="the model directory")
    parser.add_argument("dst", metavar="DST", help="the folder to write checkpoint_N into")
    parser.set_defaults(run=_export)


def _import(options: argparse.Namespace) -> None:
    check_local_options(options, "labels", "vocabulary")
    for path in (options.src, options.dst):
        check_local(path)
    unused = (_import_t5x if options.source == "t5x" else _import_hf)(options)
    for name, reason in unused.items():
        print(f"{options.src}: tensor {name} is not used: {reason}", file=sys.stderr)
    print(f"{options.dst}: written")


def _import_hf(options: argparse.Namespace) -> Any:
    from distill_jax.model_dir.import_hf import import_hf
    from distill_jax.tagging import LabelSet

    for name in _OF_T5X:
        if getattr(options, name) is not None:
            raise UserError(f"--{name} is for --from t5x: a Hugging Face config.json says it")
    labels = LabelSet.load(options.labels)
    return import_hf(options.src, options.dst, labels, vocabulary=options.vocabulary)


def _import_t5x(options: argparse.Namespace) -> Any:
    from distill_jax.interop.t5x.checkpoint import T5xCheckpoint
    from distill_jax.interop.t5x.config import Unsaid
    from distill_jax.model_dir.import_t5x import import_t5x
    from distill_jax.tagging import LabelSet

    labels = LabelSet.load(options.labels)
    said = Unsaid(options.activation, options.dropout)
    checkpoint = T5xCheckpoint(options.src, options.step, said)
    import_t5x(checkpoint, options.dst, labels, options.vocabulary)
    for assumption in checkpoint.assumed:
        print(f"{checkpoint.path}: {assumption}", file=sys.stderr)
    return checkpoint.unused


def _export(options: argparse.Namespace) -> None:
    for path in (options.src, options.dst):
        check_local(path)
    from distill_jax.model_dir.export_t5x import export_t5x

    export_t5x(options.src, options.dst, step=options.step)
    print(f"{options.dst}: written")


def _step(text: str) -> int:
    """The number of a step, of a command line."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a step, from 0")
    return int(text)


def _rate(text: str) -> float:
    """A dropout rate, of a command line."""
    rate = float(text)
    if not 0 <= rate < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a rate of 0 <= rate < 1")
    return rate
