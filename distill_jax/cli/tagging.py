"""`distill-jax predict`, `evaluate` and `label`: what is done with a model and sentences."""

import argparse
import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from distill_jax.errors import UserError

CHUNK = 2048
"""Sentences read, tagged and written together: enough to fill batches of similar length."""


def add_commands(commands: Any) -> None:
    """Adds the commands of this module to the parser."""
    predict = commands.add_parser("predict", help="tags sentences: one JSON object a line")
    _add_model(predict)
    predict.add_argument(
        "--input", required=True, metavar="FILE", help="CoNLL, JSONL or text; - is standard input"
    )
    predict.add_argument(
        "--output", required=True, metavar="FILE", help="JSON lines; - is standard output"
    )
    predict.add_argument(
        "--posteriors", action="store_true", help="write every word's distribution over tags too"
    )
    predict.set_defaults(run=_predict)

    evaluate = commands.add_parser("evaluate", help="all metrics of a model on tagged sentences")
    _add_model(evaluate)
    evaluate.add_argument("--data", required=True, metavar="FILE", help="tagged sentences")
    evaluate.add_argument("--json", metavar="FILE", help="write the metrics as JSON as well")
    evaluate.set_defaults(run=_evaluate)

    label = commands.add_parser(
        "label", help="a teacher's tags and posteriors for sentences, kept for students"
    )
    _add_model(label)
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


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="DIR", help="a model directory")
    parser.add_argument(
        "--batch_size", type=_positive, default=32, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--normaliser",
        choices=("vocab", "trie"),
        help="SenTScore's normaliser; default: what the model was saved with",
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _load(options: argparse.Namespace) -> Any:
    from distill_jax.tagger import Tagger

    return Tagger.load(options.model, normaliser=options.normaliser, batch_size=options.batch_size)


def _predict(options: argparse.Namespace) -> None:
    from distill_jax.data.readers import read_sentences

    if options.output != "-":
        _check_file(options.output)
    tagger = _load(options)
    sentences = read_sentences(options.input)
    with _output(options.output) as file, _progress("predict") as advance:
        while chunk := list(itertools.islice(sentences, CHUNK)):
            for found in tagger.predict([sentence.words for sentence in chunk], advance):
                record = found.to_json(posteriors=options.posteriors)
                file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def _output(path: str) -> Iterator[TextIO]:
    if path == "-":
        yield sys.stdout
        return
    from distill_jax.files import atomic_write

    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file


def _check_file(path: str) -> None:
    """Refuses what cannot be a file before the work is done that would be written to it."""
    if Path(path).is_dir():
        raise UserError(f"{path}: is a directory; name the file to write")
    folder = next(parent for parent in Path(path).absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"{path}: {folder} is not a directory that may be written to")


def _evaluate(options: argparse.Namespace) -> None:
    from distill_jax.data.readers import read_sentences
    from distill_jax.inference import evaluate
    from distill_jax.runs.report import print_evaluation

    if options.json:
        _check_file(options.json)
    tagger = _load(options)
    sentences = list(read_sentences(options.data))
    if not sentences:
        raise UserError(f"{options.data}: holds no sentences; give tagged sentences to evaluate on")
    for number, sentence in enumerate(sentences, 1):
        if sentence.tags is None:
            raise UserError(
                f"{options.data}: sentence {number} has no tags; evaluation needs tagged sentences"
            )
        try:
            tagger.labels.encode_iob2(sentence.tags)
        except UserError as error:
            raise UserError(f"{options.data}: sentence {number}: {error}") from None
    words = [sentence.words for sentence in sentences]
    with _progress("evaluate", len(words)) as advance:
        predictions = tagger.predict_ids(words, advance)
    seconds, timed = _time(tagger, words)
    result = evaluate(tagger.labels, sentences, predictions)
    result |= {
        "parameters": tagger.parameters,
        "sentences_per_second": timed / seconds,
        "decoder": tagger.decoder,
    }
    # The file first: printing ends the command where the reader of its output has gone.
    if options.json:
        from distill_jax.files import atomic_write

        with atomic_write(options.json) as temporary:
            temporary.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
    print_evaluation(result)


def _time(tagger: Any, words: list[tuple[str, ...]]) -> tuple[float, int]:
    """Seconds for how many sentences, everything they need being compiled already."""
    timed = words[:1024]
    if len(timed) < len(words):
        tagger.predict_ids(timed)  # smaller batches at the ends of buckets are other programs
    start = time.monotonic()
    tagger.predict_ids(timed)
    return time.monotonic() - start, len(timed)


def _label(options: argparse.Namespace) -> None:
    from distill_jax.distill.store import write_store
    from distill_jax.tagger import model_hash

    if bool(options.input) == bool(options.task):
        raise UserError("label needs either --input FILE… or --task NAME")
    if options.shard_size < 1:
        raise UserError("--shard_size must be at least 1")
    tagger = _load(options)
    sentences, counts = _pool(options)
    settings = {"teacher_sha256": model_hash(options.model), "decoder": tagger.decoder}

    with _progress("label", len(sentences)) as advance:
        store = write_store(
            options.output,
            sentences,
            tagger.labels,
            tagger.label,
            settings=settings,
            shard_size=options.shard_size,
            progress=advance,
        )
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


@contextlib.contextmanager
def _progress(what: str, total: int | None = None) -> Iterator[Any]:
    """A bar on standard error where that is a terminal; a function that advances it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    console = Console(stderr=True)
    with Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
