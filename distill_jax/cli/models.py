"""`distill-jax import`: models from elsewhere become model directories."""

import argparse
import sys
from typing import Any

from distill_jax.cli.output import check_local_options
from distill_jax.data.locations import check_local


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
