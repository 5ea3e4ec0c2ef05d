"""`distill-jax label`: a teacher's tags and posteriors, kept for students."""

import argparse
import contextlib
import itertools
import sys
from typing import Any

from distill_jax.cli.decoder_options import add_model_options, load_tagger, positive
from distill_jax.cli.input_options import add_input_options, read_options
from distill_jax.cli.output import check_local_options, progress
from distill_jax.errors import UserError


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    label = commands.add_parser(
        "label", help="a teacher's tags and posteriors for sentences, kept for students"
    )
    add_model_options(label, required=False)
    label.add_argument(
        "--input",
        nargs="+",
        default=[],
        metavar="FILE",
        help="columns, JSON or text; tags are ignored",
    )
    label.add_argument("--task", help="label a split of a SeqIO task instead of files")
    label.add_argument("--split", nargs="+", default=["silver"], help="default: silver")
    label.add_argument(
        "--task_modules", nargs="+", metavar="MODULE", help="Python modules that register tasks"
    )
    label.add_argument("--data_dir", metavar="DIR", help="where tasks find their files")
    label.add_argument("--output", metavar="DIR", help="the teacher-label store")
    label.add_argument(
        "--shard_size",
        type=int,
        default=2048,
        metavar="N",
        help="sentences a shard; default: %(default)s",
    )
    label.add_argument(
        "--top_k",
        type=positive,
        metavar="K",
        help="keep each word's K best tags and the mass of the others; default: all tags",
    )
    label.add_argument(
        "--process_index",
        type=int,
        default=0,
        metavar="I",
        help="of several processes that run this command with one --output, which one this is, "
        "from 0",
    )
    label.add_argument(
        "--process_count", type=positive, default=1, metavar="N", help="how many there are"
    )
    label.add_argument(
        "--verify",
        metavar="DIR",
        help="label nothing; read a finished store and check counts, checksums and hashes",
    )
    add_input_options(label)
    label.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    check_local_options(options, "model", "input", "output", "verify", "data_dir")
    if options.verify is not None:
        _verify(options)
    else:
        _label(options)


def _verify(options: argparse.Namespace) -> None:
    from distill_jax.labels.store import TeacherLabels

    if options.input or options.task or options.output or options.model:
        raise UserError("--verify checks a store that is there; give it no other option")
    store = TeacherLabels(options.verify)
    store.verify()
    print(f"{options.verify}: whole; {len(store)} sentences, {store.labels.num_tags} tags")


def _label(options: argparse.Namespace) -> None:
    from distill_jax.jobs.labelling import label
    from distill_jax.labels.store import StoreOptions

    if options.model is None or options.output is None:
        raise UserError("label needs --model DIR and --output DIR (or --verify DIR alone)")
    if bool(options.input) == bool(options.task):
        raise UserError("label needs either --input FILE… or --task NAME")
    if options.shard_size < 1:
        raise UserError("--shard_size must be at least 1")
    tagger = load_tagger(options, posteriors_for="a teacher-label store")
    sentences, counts = _pool(options)
    windowed = sum(tagger.needs_windows(sentence.words) for sentence in sentences)
    layout = StoreOptions(
        options.shard_size, options.top_k, (options.process_index, options.process_count)
    )
    with progress("label", len(sentences)) as advance:
        store = label(
            tagger, options.model, sentences, options.output, options=layout, progress=advance
        )
    done = "this process's share is labelled; other processes are not done yet"
    if store is not None:
        done = f"{len(store)} sentences labelled"
    print(
        f"{options.output}: {done}; left out {counts['empty']} without words and "
        f"{counts['duplicates']} that occur before; {windowed} too long for one pass, labelled in "
        "windows",
        file=sys.stderr,
    )


def _pool(options: argparse.Namespace) -> tuple[list[Any], dict[str, int]]:
    """The sentences to label, each once: a store is looked up by words."""
    from distill_jax.data.prepared import PreparedDataset
    from distill_jax.data.readers import read_sentences

    pool: dict[tuple[str, ...], Any] = {}
    counts = {"empty": 0, "duplicates": 0}
    reading = read_options(options)
    sources: list[Any] = [read_sentences(path, options=reading) for path in options.input]
    with contextlib.ExitStack() as stack:
        if options.task:
            import tempfile

            from distill_jax.data.prepare import TASK_MODULES, prepare

            directory = stack.enter_context(tempfile.TemporaryDirectory())
            for split in options.split:
                parts = prepare(
                    options.task,
                    split,
                    directory,
                    data_dir=options.data_dir,
                    modules=options.task_modules or TASK_MODULES,
                )
                datasets: list[PreparedDataset] = [part.dataset for part in parts]
                sources += datasets
        for sentence in itertools.chain.from_iterable(sources):
            if not sentence.words:
                counts["empty"] += 1
            elif sentence.words in pool:
                counts["duplicates"] += 1
            else:
                pool[sentence.words] = sentence
    if not pool:
        raise UserError("there are no sentences to label; check --input or --task and --split")
    return list(pool.values()), counts
