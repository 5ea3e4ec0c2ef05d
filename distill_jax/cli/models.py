"""`distill-jax import` and `export`: between model directories and what others have."""

import argparse
import sys
from pathlib import Path
from typing import Any

from distill_jax.cli.decoder_options import positive
from distill_jax.cli.gold_data import gold_sentences
from distill_jax.cli.input_options import add_input_options, as_model_reads, read_options
from distill_jax.cli.output import check_local_options
from distill_jax.data.locations import check_local
from distill_jax.errors import UserError
from distill_jax.model_dir.looks import check_model_directory
from distill_jax.modules import check_installed

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
    export = commands.add_parser(
        "export",
        help="writes a model for programs without JAX or for transformers (docs/export.md), or a T5 for t5x",
    )
    export.add_argument(
        "--to", required=True, choices=("onnx", "stablehlo", "hf", "t5x"), help="the format"
    )
    export.add_argument(
        "--int8",
        action="store_true",
        help="of ONNX: quantise weights to a quarter of their size; with --data say what that costs",
    )
    export.add_argument(
        "--data",
        metavar="FILE",
        help="tagged sentences, on which F1 is measured before and after --int8",
    )
    export.add_argument(
        "--batch_size",
        type=positive,
        metavar="N",
        help="of a T5's StableHLO program, which takes so many sentences at a time; default: 8",
    )
    export.add_argument("--step", type=_step, metavar="N", help="of t5x's checkpoint; default: 0")
    add_input_options(export)
    export.add_argument("src", metavar="SRC", help="the model directory")
    export.add_argument(
        "dst", metavar="DST", help="the directory to write; t5x: into which to write checkpoint_N"
    )
    export.set_defaults(run=_export)


def _import(options: argparse.Namespace) -> None:
    check_local_options(options, "labels", "vocabulary")
    for path in (options.src, options.dst):
        check_local(path)
    unused = (_import_t5x if options.source == "t5x" else _import_hf)(options)
    for name, reason in unused.items():
        print(f"{options.src}: tensor {name} is not used: {reason}", file=sys.stderr)
    print(f"{options.dst}: written")


def _import_hf(options: argparse.Namespace) -> Any:
    from distill_jax.interop.hf.foreign import check_is_checkpoint
    from distill_jax.tagging import LabelSet

    for name in _OF_T5X:
        if getattr(options, name) is not None:
            raise UserError(f"--{name} is for --from t5x: a Hugging Face config.json says it")
    labels = LabelSet.load(options.labels)
    check_is_checkpoint(Path(options.src), "config.json")
    from distill_jax.model_dir.import_hf import import_hf

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
    check_local_options(options, "data")
    for path in (options.src, options.dst):
        check_local(path)
    if options.data is not None and not options.int8:
        raise UserError("--data is what --int8 is measured on; add --int8, or leave --data out")
    if options.int8 and options.to != "onnx":
        raise UserError("--int8 is for --to onnx; leave it out")
    if options.step is not None and options.to != "t5x":
        raise UserError("--step is for --to t5x; leave it out")
    if options.batch_size is not None and options.to != "stablehlo":
        raise UserError("--batch_size is for --to stablehlo; an ONNX graph takes any batch")
    check_model_directory(Path(options.src))
    export = {
        "onnx": _export_onnx,
        "stablehlo": _export_stablehlo,
        "hf": _export_hf,
        "t5x": _export_t5x,
    }[options.to]
    export(options)
    print(f"{options.dst}: written")


def _export_t5x(options: argparse.Namespace) -> None:
    from distill_jax.model_dir.export_t5x import export_t5x

    export_t5x(options.src, options.dst, step=options.step or 0)


def _export_hf(options: argparse.Namespace) -> None:
    from distill_jax.model_dir.export_hf import export_hf

    export_hf(options.src, options.dst)


def _export_onnx(options: argparse.Namespace) -> None:
    check_installed("onnx", "onnxruntime", extra="onnx")
    from distill_jax.export.directory import export_onnx
    from distill_jax.export.measuring import check_measurable, cost_of_int8
    from distill_jax.model_dir.settings import read_tagger_file

    gold = None
    if options.data is not None:
        model = read_tagger_file(Path(options.src))
        check_measurable(options.src)
        gold = gold_sentences(options.data, as_model_reads(read_options(options), model.settings))
    export_onnx(options.src, options.dst, int8=options.int8)
    if gold is not None:
        print(cost_of_int8(options.src, options.dst, gold))


def _export_stablehlo(options: argparse.Namespace) -> None:
    from distill_jax.export.directory import export_stablehlo

    export_stablehlo(options.src, options.dst, batch_size=options.batch_size or 8)


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
