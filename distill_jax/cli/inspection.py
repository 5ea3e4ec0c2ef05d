"""`distill-jax inspect`: what data hold, and what was recognised in them."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from distill_jax.cli.decoder_options import positive
from distill_jax.cli.given import check_tasks
from distill_jax.cli.input_options import add_input_options, read_options, refuse_for_task
from distill_jax.cli.output import check_local_options, check_output_options
from distill_jax.errors import UserError


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    inspect = commands.add_parser(
        "inspect", help="what data hold: format, scheme, counts, repairs, what will not fit"
    )
    inspect.add_argument(
        "sources",
        nargs="+",
        metavar="FILE|TASK",
        help="files of sentences, folders with a file for each split, or tasks; - is standard input",
    )
    inspect.add_argument("--json", metavar="FILE", help="write all of it as JSON as well")
    inspect.add_argument("--html", metavar="FILE", help="write all of it as a page as well")
    inspect.add_argument(
        "--vocabulary",
        metavar="PATH",
        help="a T5 vocabulary (a model directory, spiece.model, tokenizer.json or 'byte'): count "
        "sentences that need windows and words that it cannot spell",
    )
    inspect.add_argument(
        "--max_tokens",
        type=positive,
        default=512,
        metavar="N",
        help="the input tokens of one pass; default: %(default)s",
    )
    inspect.add_argument(
        "--task_modules", nargs="+", metavar="MODULE", help="Python modules that register tasks"
    )
    inspect.add_argument("--data_dir", metavar="DIR", help="where tasks find their files")
    add_input_options(inspect)
    inspect.set_defaults(run=_inspect)


def _inspect(options: argparse.Namespace) -> None:
    from distill_jax.data.inspection import inspect_sources, load_inspection_vocabulary
    from distill_jax.files import write_text
    from distill_jax.report.inspection import print_inspection

    check_local_options(options, "sources", "json", "html", "vocabulary", "data_dir")
    check_output_options(options, "json", "html")
    for name in ("json", "html"):
        path = getattr(options, name)
        if path and os.path.realpath(path) in map(os.path.realpath, options.sources):
            raise UserError(f"--{name} {path}: is one of the files to inspect; name another one")
    reading = read_options(options)
    vocabulary = None
    if options.vocabulary is not None:
        vocabulary = load_inspection_vocabulary(options.vocabulary)
    sources = [one for name in options.sources for one in _sources(name, options, reading)]
    inspection = inspect_sources(sources, vocabulary=vocabulary, max_tokens=options.max_tokens)
    # The files first: printing ends the command where the reader of its output has gone.
    if options.json:
        text = json.dumps(inspection.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(options.json, text + "\n")
    if options.html:
        from distill_jax.report.inspection_page import inspection_page

        write_text(options.html, inspection_page(inspection))
    print_inspection(inspection)


def _sources(name: str, options: argparse.Namespace, reading: Any) -> list[Any]:
    """The file, the splits of the folder, or those of the task of this name."""
    from distill_jax.data.inspection import file_sources, folder_sources, task_sources
    from distill_jax.data.locations import set_data_dir
    from distill_jax.data.readers import is_table
    from distill_jax.data.readers.detection import KNOWN_SUFFIXES

    path = Path(name)
    if name != "-" and path.is_dir() and not is_table(path):
        return folder_sources(path, reading)
    # What cannot be a task's name is a file, and reading it says that it is not there.
    is_file = (
        name == "-" or path.exists() or is_table(path) or path.suffix.lower() in KNOWN_SUFFIXES
    )
    if is_file or len(path.parts) > 1:
        return file_sources(name, reading)

    from distill_jax.data.prepare import TASK_MODULES, load_task_modules

    refuse_for_task(reading, name)
    check_tasks([name], options.data_dir, options.task_modules)
    load_task_modules(options.task_modules or TASK_MODULES)
    if options.data_dir is not None:
        set_data_dir(options.data_dir)
    return task_sources(name)
