"""`distill-jax label`: a teacher's tags and posteriors, kept for students."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill_jax.cli.decoder_options import add_model_options, decoder_of, load_any, positive
from distill_jax.cli.given import check_inputs, check_tasks
from distill_jax.cli.input_options import (
    add_input_options,
    add_strict_option,
    as_model_reads,
    read_options,
    refuse_for_task,
)
from distill_jax.cli.output import check_local_options, progress
from distill_jax.errors import UserError
from distill_jax.model_dir.looks import check_model_directory


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
        help="columns, JSON or text; - is standard input. Tags are ignored (but with --from tags), and a "
        "sentence that occurs again is left out: labels are looked up by words",
    )
    label.add_argument(
        "--from",
        dest="source",
        choices=("t5x_infer", "tags"),
        help="make a store without --model: of what t5x.infer has labelled (--input, JSONL), or of the tags "
        "that the sentences of --input have",
    )
    label.add_argument("--labels", metavar="FILE", help="of the task, for --from")
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
        "--states",
        nargs="+",
        type=int,
        metavar="LAYER",
        help="instead of tags and posteriors keep the hidden states of these layers (0: embeddings) at each "
        "word, as float16, for students that match them (TEACHER_STATES)",
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
    add_strict_option(label)
    add_input_options(label)
    label.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    check_local_options(options, "model", "input", "output", "verify", "data_dir", "labels")
    if options.verify is not None:
        _verify(options)
    elif options.source is not None:
        _take(options)
    elif options.states is not None:
        _states(options)
    else:
        _label(options)


def _verify(options: argparse.Namespace) -> None:
    from distill_jax.labels.states import TeacherStates, is_states
    from distill_jax.labels.store import TeacherLabels

    if options.input or options.task or options.output or options.model or options.states:
        raise UserError("--verify checks a store that is there; give it no other option")
    if is_states(options.verify):
        states = TeacherStates(options.verify)
        states.verify()
        numbers = ", ".join(map(str, states.layers.numbers))
        print(f"{options.verify}: whole; {len(states)} sentences, states of layers {numbers}")
        return
    store = TeacherLabels(options.verify)
    store.verify()
    print(f"{options.verify}: whole; {len(store)} sentences, {store.labels.num_tags} tags")


def _take(options: argparse.Namespace) -> None:
    from distill_jax.jobs.labelling import label_inferred, label_tagged
    from distill_jax.jobs.pool import tagged_pool
    from distill_jax.labels.store import StoreOptions
    from distill_jax.tagging import LabelSet

    if not (options.input and options.labels and options.output):
        raise UserError(
            f"--from {options.source} needs --input FILE…, --labels FILE and --output DIR"
        )
    if options.model or options.task or options.states:
        raise UserError(
            f"--from {options.source} takes labels that are there; leave out --model, --task and --states"
        )
    if options.shard_size < 1:
        raise UserError("--shard_size must be at least 1")
    layout = StoreOptions(
        options.shard_size, options.top_k, (options.process_index, options.process_count)
    )
    labels = LabelSet.load(options.labels)
    if options.source == "tags":
        pool = tagged_pool(options.input, read_options(options), labels)
        store = label_tagged(pool, labels, options.output, options=layout)
    else:
        store = label_inferred(options.input, labels, options.output, options=layout)
    done = "this process's share is there; other processes are not done yet"
    if store is not None:
        done = f"{len(store)} sentences"
    print(f"{options.output}: {done}", file=sys.stderr)


def _states(options: argparse.Namespace) -> None:
    _check(options)
    from distill_jax.jobs.pool import open_pool
    from distill_jax.jobs.stored_states import keep_states
    from distill_jax.labels.store import StoreOptions
    from distill_jax.model_dir.settings import read_tagger_file

    if options.top_k is not None or options.decoder is not None or options.strict:
        raise UserError(
            "--top_k, --decoder and --strict are of labels; leave them out with --states"
        )
    settings = read_tagger_file(Path(options.model)).settings
    reading = as_model_reads(read_options(options), settings)
    with (
        open_pool(options.input, reading, _task(options, reading)) as pool,
        progress("states", len(pool)) as advance,
    ):
        store = keep_states(
            options.model,
            pool,
            options.output,
            options.states,
            options=StoreOptions(
                options.shard_size, process=(options.process_index, options.process_count)
            ),
            batch_size=options.batch_size,
            say=lambda line: print(line, file=sys.stderr, flush=True),
            progress=advance,
        )
    done = "this process's share is there; other processes are not done yet"
    if store is not None:
        done = f"states of {len(store)} sentences kept"
    print(
        f"{options.output}: {done}; left out {pool.empty} without words and {pool.duplicates} that "
        "occur before",
        file=sys.stderr,
    )


def _check(options: argparse.Namespace) -> None:
    if options.labels is not None:
        raise UserError("--labels is for --from: a model knows its labels")
    if options.model is None or options.output is None:
        raise UserError("label needs --model DIR and --output DIR (or --verify DIR alone)")
    if bool(options.input) == bool(options.task):
        raise UserError("label needs either --input FILE… or --task NAME")
    if options.shard_size < 1:
        raise UserError("--shard_size must be at least 1")
    if not decoder_of(options):
        check_model_directory(Path(options.model))
        check_inputs(options.input or ())
        check_tasks([options.task] if options.task else (), options.data_dir, options.task_modules)


def _task(options: argparse.Namespace, reading: Any) -> Any:
    """The task whose splits are labelled; None: there are files."""
    from distill_jax.jobs.pool import TaskSplits

    if not options.task:
        return None
    if not options.input:
        refuse_for_task(reading, options.task)
    task = TaskSplits(options.task, options.split, options.data_dir, text_words=reading.text_words)
    return dataclasses.replace(task, modules=options.task_modules) if options.task_modules else task


def _label(options: argparse.Namespace) -> None:
    _check(options)
    from distill_jax.jobs.labelling import label
    from distill_jax.jobs.pool import open_pool
    from distill_jax.labels.store import StoreOptions
    from distill_jax.sent.truncation import TruncatedWords

    tagger = load_any(options, posteriors_for="a teacher-label store")
    layout = StoreOptions(
        options.shard_size, options.top_k, (options.process_index, options.process_count)
    )
    reading = as_model_reads(read_options(options), tagger.settings)
    truncated = TruncatedWords(tagger.truncated_words, strict=options.strict)
    windowed = 0

    def look(shard: Sequence[Any]) -> None:
        nonlocal windowed
        for sentence in shard:
            truncated.add(sentence.words, sentence.place)
            windowed += tagger.needs_windows(sentence.words)

    with (
        open_pool(options.input, reading, _task(options, reading)) as pool,
        progress("label", len(pool)) as advance,
    ):
        store = label(
            tagger,
            options.model,
            pool,
            options.output,
            options=layout,
            progress=advance,
            reached=look,
        )
    done = "this process's share is labelled; other processes are not done yet"
    if store is not None:
        done = f"{len(store)} sentences labelled"
    print(
        f"{options.output}: {done}; left out {pool.empty} without words and {pool.duplicates} that "
        f"occur before; {windowed} too long for one pass, labelled in windows",
        *truncated.lines(),
        sep="\n",
        file=sys.stderr,
    )
