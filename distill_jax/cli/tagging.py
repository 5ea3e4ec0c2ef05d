"""`distill-jax predict` and `label`: sentences tagged for users, and for students."""

import argparse
import contextlib
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from distill_jax.cli.decoder_options import (
    add_model_options,
    add_warmup_option,
    load_tagger,
    warm_up,
)
from distill_jax.cli.output import check_file, progress, text_output
from distill_jax.errors import UserError

CHUNK = 2048
"""Sentences read, tagged and written together: enough to fill batches of similar length."""


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    predict = commands.add_parser("predict", help="tags sentences: one JSON object a line")
    add_model_options(predict)
    add_warmup_option(predict)
    predict.add_argument(
        "--input", required=True, metavar="FILE", help="CoNLL, JSONL or text; - is standard input"
    )
    predict.add_argument(
        "--output", required=True, metavar="FILE", help="JSON lines; - is standard output"
    )
    predict.add_argument(
        "--posteriors", action="store_true", help="write every word's distribution over tags too"
    )
    predict.add_argument(
        "--top_k",
        type=int,
        metavar="K",
        help="write every word's K most probable tags too, and the mass of the others",
    )
    predict.set_defaults(run=_predict)

    label = commands.add_parser(
        "label", help="a teacher's tags and posteriors for sentences, kept for students"
    )
    add_model_options(label)
    label.add_argument(
        "--input",
        nargs="+",
        default=[],
        metavar="FILE",
        help="CoNLL, JSONL or text; tags are ignored",
    )
    label.add_argument("--task", help="label a split of a SeqIO task instead of files")
    label.add_argument("--split", nargs="+", default=["silver"], help="default: silver")
    label.add_argument(
        "--task_modules", nargs="+", metavar="MODULE", help="Python modules that register tasks"
    )
    label.add_argument("--data_dir", metavar="DIR", help="where tasks find their files")
    label.add_argument("--output", required=True, metavar="DIR", help="the teacher-label store")
    label.add_argument(
        "--shard_size", type=int, default=2048, help="sentences a shard; default: %(default)s"
    )
    label.set_defaults(run=_label)


def _predict(options: argparse.Namespace) -> None:
    from distill_jax.data.readers import read_sentences

    if options.top_k is not None and options.top_k < 1:
        raise UserError(f"--top_k is {options.top_k}; ask for at least 1 tag")
    wanted = [f"--{name}" for name in ("posteriors", "top_k") if getattr(options, name)]
    if options.output != "-":
        check_file(options.output)
    tagger = load_tagger(options, posteriors_for=wanted[0] if wanted else None)
    chunks: Iterable[list[tuple[str, ...]]] = _chunks(read_sentences(options.input))
    if options.warmup:
        chunks = list(chunks)
        warm_up(tagger, chunks, say=True)
    with text_output(options.output) as file, progress("predict") as advance:
        for chunk in chunks:
            for found in tagger.predict(chunk, advance):
                record = found.to_json(posteriors=options.posteriors, top_k=options.top_k)
                file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")


def _chunks(sentences: Iterator[Any]) -> Iterator[list[tuple[str, ...]]]:
    while chunk := [sentence.words for sentence in itertools.islice(sentences, CHUNK)]:
        yield chunk


def _label(options: argparse.Namespace) -> None:
    from distill_jax.distill.store import write_store
    from distill_jax.tagger import model_hash

    if bool(options.input) == bool(options.task):
        raise UserError("label needs either --input FILE… or --task NAME")
    if options.shard_size < 1:
        raise UserError("--shard_size must be at least 1")
    tagger = load_tagger(options, posteriors_for="a teacher-label store")
    sentences, counts = _pool(options)
    settings = {"teacher_sha256": model_hash(options.model), "decoder": tagger.decoder}

    with progress("label", len(sentences)) as advance:
        store = write_store(
            options.output,
            sentences,
            tagger.labels,
            tagger.label,
            settings=settings,
            shard_size=options.shard_size,
            progress=advance,
        )
    assert store is not None, "one process makes every shard"
    print(
        f"{options.output}: {len(store)} sentences labelled; left out {counts['empty']} without words "
        f"and {counts['duplicates']} that occur before",
        file=sys.stderr,
    )


def _pool(options: argparse.Namespace) -> tuple[list[Any], dict[str, int]]:
    """The sentences to label, each once: a store is looked up by words."""
    from distill_jax.data.prepared import PreparedDataset
    from distill_jax.data.readers import read_sentences

    found: dict[tuple[str, ...], Any] = {}
    counts = {"empty": 0, "duplicates": 0}
    sources: list[Any] = [read_sentences(path) for path in options.input]
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
            elif sentence.words in found:
                counts["duplicates"] += 1
            else:
                found[sentence.words] = sentence
    if not found:
        raise UserError("there are no sentences to label; check --input or --task and --split")
    return list(found.values()), counts
