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
from distill_jax.modules import check_installed


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    parser = commands.add_parser(
        "import", help="makes a model directory of a T5, or of a BERT with a tag classifier"
    )
    parser.add_argument("--from", dest="source", required=True, choices=("hf",), help="its format")
    parser.add_argument(
        "--labels", required=True, metavar="FILE", help="one `name` or `name<TAB>text` a line"
    )
    parser.add_argument("--vocabulary", metavar="PATH", help="if the checkpoint's is elsewhere")
    parser.add_argument("src", metavar="SRC", help="the checkpoint's directory")
    parser.add_argument("dst", metavar="DST", help="the model directory to write")
    parser.set_defaults(run=_import)
    export = commands.add_parser(
        "export",
        help="writes a model for programs without JAX, or without this package: docs/export.md",
    )
    export.add_argument("--to", required=True, choices=("onnx", "stablehlo"), help="the format")
    export.add_argument(
        "--int8",
        action="store_true",
        help="of ONNX: quantise weights to a quarter of their size; with --data say what that costs",
    )
    export.add_argument(
        "--data",
        metavar="FILE",
        help="tagged sentences, on which F1 is measured before and after --int8 (of a BiLSTM)",
    )
    export.add_argument(
        "--batch_size",
        type=positive,
        metavar="N",
        help="of a T5's StableHLO program, which takes so many sentences at a time; default: 8",
    )
    add_input_options(export)
    export.add_argument("src", metavar="SRC", help="the model directory")
    export.add_argument("dst", metavar="DST", help="the directory to write")
    export.set_defaults(run=_export)


def _import(options: argparse.Namespace) -> None:
    check_local_options(options, "labels", "vocabulary")
    for path in (options.src, options.dst):
        check_local(path)
    from distill_jax.model_dir.import_hf import import_hf
    from distill_jax.tagging import LabelSet

    unused = import_hf(
        options.src, options.dst, LabelSet.load(options.labels), vocabulary=options.vocabulary
    )
    for name, reason in unused.items():
        print(f"{options.src}: tensor {name} is not used: {reason}", file=sys.stderr)
    print(f"{options.dst}: written")


def _export(options: argparse.Namespace) -> None:
    check_local_options(options, "data")
    for path in (options.src, options.dst):
        check_local(path)
    if options.data is not None and not options.int8:
        raise UserError("--data is what --int8 is measured on; add --int8, or leave --data out")
    if options.to == "stablehlo":
        _export_stablehlo(options)
        return
    if options.batch_size is not None:
        raise UserError("--batch_size is for --to stablehlo; an ONNX graph takes any batch")
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
    print(f"{options.dst}: written")
    if gold is not None:
        print(cost_of_int8(options.src, options.dst, gold))


def _export_stablehlo(options: argparse.Namespace) -> None:
    if options.int8:
        raise UserError("--int8 is for --to onnx; leave it out")
    check_installed("onnx", extra="onnx")
    from distill_jax.export.directory import export_stablehlo

    export_stablehlo(options.src, options.dst, batch_size=options.batch_size or 8)
    print(f"{options.dst}: written")
