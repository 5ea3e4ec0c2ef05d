"""The pool that `distill-jax label` labels: files, standard input, splits of tasks."""

import contextlib
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_jax.data.prepare import TASK_MODULES, prepare
from distill_jax.data.prepared import PreparedDataset
from distill_jax.data.readers import ReadOptions, is_stream, read_located, source_name
from distill_jax.errors import UserError
from distill_jax.generate.pool import POOL, GeneratedPool
from distill_jax.labels.pool import Pool
from distill_jax.tagging import LabelSet, Sentence
from distill_jax_runtime.text import TextWords


@dataclass(frozen=True)
class PlacedSentence(Sentence):
    """A sentence of a pool, which knows for messages where it stands."""

    place: str = ""


Source = Callable[[], Iterator[PlacedSentence]]
"""Sentences that can be read again."""


@dataclass(frozen=True)
class TaskSplits:
    """Splits of a SeqIO task, with what `data.prepare.prepare` needs besides.

    `text_words` is how the texts of a task must have become words, where it came as texts.
    """

    task: str
    splits: Sequence[str]
    data_dir: str | None = None
    modules: Sequence[str] = TASK_MODULES
    text_words: TextWords = "blanks"


@contextlib.contextmanager
def open_pool(
    files: Sequence[str], options: ReadOptions, task: TaskSplits | None = None
) -> Iterator[Pool]:
    """The sentences of files (`-`: standard input), of pools that `generate` wrote, and of a task, each once.

    What cannot be read twice, a pipe or a task, is kept in a temporary folder within the block.

    Raises:
        UserError: as `read_located` and `prepare`, for all that there is; or there are no sentences.
    """
    with tempfile.TemporaryDirectory(prefix="distill_jax-") as folder:
        sources = [
            _of_file(path, options, Path(folder) / f"input-{number}.jsonl")
            for number, path in enumerate(files)
        ]
        if task is not None:
            sources += _of_task(task, folder)
        pool = Pool(lambda: itertools.chain.from_iterable(source() for source in sources))
        if not len(pool):
            raise UserError("there are no sentences to label; check --input or --task and --split")
        yield pool


def tagged_pool(files: Sequence[str], options: ReadOptions, labels: LabelSet) -> Pool:
    """The sentences of files and of pools that `generate` wrote, each once, with the tags that they have.

    Raises `UserError` as `read_located`, for standard input, for a sentence without tags or with one that is
    none of `labels`' (naming its place), and where there are no sentences.
    """
    if any(map(is_stream, files)):
        raise UserError("sentences with tags are read twice; give files, not a pipe, to --input")

    def read() -> Iterator[PlacedSentence]:
        for path in files:
            if (Path(path) / POOL).is_file():
                placed = GeneratedPool(Path(path)).located()
            else:
                located = read_located(path, options=options)
                placed = ((f"{path}:{line}", sentence) for line, sentence, _ in located)
            for place, sentence in placed:
                if sentence.tags is None:
                    raise UserError(f"{place}: has no tags; let a teacher label such sentences")
                # Now, since all are read once before a store is begun.
                try:
                    labels.encode_iob2(sentence.tags)
                except UserError as error:
                    raise UserError(f"{place}: {error}") from None
                yield PlacedSentence(sentence.words, sentence.tags, place)

    pool = Pool(read)
    if not len(pool):
        raise UserError(f"there are no sentences in {', '.join(files)}; check --input")
    return pool


def _of_file(path: str | os.PathLike[str], options: ReadOptions, spool: Path) -> Source:
    def read() -> Iterator[PlacedSentence]:
        for line, sentence, _ in read_located(path, options=options):
            yield PlacedSentence(sentence.words, None, f"{name}:{line}")

    if (Path(path) / POOL).is_file():
        return _of_generated(GeneratedPool(Path(path)))
    name = source_name(path)
    return _spooled(read(), spool) if is_stream(path) else read


def _of_generated(pool: GeneratedPool) -> Source:
    def read() -> Iterator[PlacedSentence]:
        for place, sentence in pool.located():
            yield PlacedSentence(sentence.words, None, place)

    return read


def _spooled(sentences: Iterator[PlacedSentence], spool: Path) -> Source:
    """Sentences that can be read once alone, kept in a file."""
    with spool.open("w") as file:
        for sentence in sentences:
            file.write(json.dumps([sentence.words, sentence.place]) + "\n")

    def read() -> Iterator[PlacedSentence]:
        with spool.open() as file:
            for line in file:
                words, place = json.loads(line)
                yield PlacedSentence(tuple(words), None, place)

    return read


def _of_task(task: TaskSplits, folder: str) -> Iterator[Source]:
    for split in task.splits:
        parts = prepare(task.task, split, folder, data_dir=task.data_dir, modules=task.modules)
        for part in parts:
            check_text_words(part.dataset, task.text_words)
            yield _of_dataset(part.dataset)


def check_text_words(dataset: PreparedDataset, rule: TextWords) -> None:
    """Raises `UserError` if texts of a task became words by another rule than a model's."""
    for other in dataset.text_words - {rule}:
        raise UserError(
            f"{dataset.task} ({dataset.split}): its texts became words by the rule {other!r}, and the "
            f'model\'s is {rule!r}; put {{"text_words": "{rule}"}} into reading.json beside its files, or '
            "give these as files"
        )


def _of_dataset(dataset: PreparedDataset) -> Source:
    def read() -> Iterator[PlacedSentence]:
        for number, sentence in enumerate(dataset, 1):
            place = f"{dataset.task} ({dataset.split}), sentence {number}"
            yield PlacedSentence(sentence.words, None, place)

    return read
