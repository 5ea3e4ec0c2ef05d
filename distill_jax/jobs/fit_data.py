"""What `distill-jax fit` learns from: a folder or a file, checked before anything is computed; no JAX.

Dev sentences are carved from the training ones where there are none, unlabelled text loses what is there
already, and whoever cannot be learnt from is told so in one line.
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from distill_jax.data.augmentation import swap_mentions
from distill_jax.data.folders import SPLITS, looked_for, read_located_split, split_file
from distill_jax.data.readers import (
    ReadOptions,
    ReadReport,
    collected_reports,
    is_table,
    read_located,
)
from distill_jax.data.readers.report import LOSS, REPAIR
from distill_jax.data.subsets import carve_validation, validation_size
from distill_jax.errors import UserError
from distill_jax.files import sha256_json
from distill_jax.jobs.fit_plan import FEW
from distill_jax.jobs.fit_text import compare_words, read_unlabelled, rule_for_texts
from distill_jax.labels.pool import hash_of_ids
from distill_jax.tagging import LabelSet, Sentence
from distill_jax_runtime.text import TextWords

LEAST = 20
"""So many different labelled sentences there must be, of which a fifth are dev."""

SWAPPED = 10
"""Variants of each labelled sentence where there is no unlabelled text (docs/results/generation.md)."""

_REPEATS = 0.5  # of the dev sentences: then its scores say nothing

Words = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class FitData:
    """Sentences to learn from and be judged on.

    Attributes:
        name: the task they are for runs.
        labels: of all splits, in the order of `labels.txt` where there is one.
        train, dev, test: with tags; there need be no test sentences.
        unlabelled: different ones, of which none is in the others.
        swapped: whether those are no text of the user's but variants of `train`.
        text_words: how a text becomes words for the model.
        said: what a person should know, a line each.
    """

    name: str
    labels: LabelSet
    train: Sequence[Sentence]
    dev: Sequence[Sentence]
    test: Sequence[Sentence]
    unlabelled: Sequence[Sentence]
    text_words: TextWords
    said: Sequence[str] = ()
    swapped: bool = False

    def splits(self) -> dict[str, Sequence[Sentence]]:
        """The labelled sentences under the names that runs know their splits by."""
        splits = {"train": self.train, "valid": self.dev, "test": self.test}
        return {name: sentences for name, sentences in splits.items() if sentences}

    def hashes(self) -> dict[str, str]:
        """What all that comes of it depends on."""
        splits = {name: [[s.words, s.tags] for s in each] for name, each in self.splits().items()}
        return {
            "data": sha256_json(splits),
            "labels": self.labels.content_hash(),
            "unlabelled": hash_of_ids(sentence.example_id for sentence in self.unlabelled),
            "text_words": self.text_words,
        }


def read_fit_data(
    data: str,
    unlabelled: Sequence[str] = (),
    *,
    reading: ReadOptions | None = None,
    dev: int | None = None,
    seed: int = 0,
) -> FitData:
    """Reads and checks everything.

    Args:
        data: a folder with a file for each split (`data.folders`), or one file.
        unlabelled: files of any format; tags in them are not read.
        reading: what the user says of the labelled files.
        dev: the number of sentences that are carved where there is no dev split; None: a fifth, at most 500.
        seed: of carving.

    Raises:
        UserError: as the readers do, or the data cannot be learnt from.
    """
    reading = reading or ReadOptions()
    said: list[str] = []
    path = Path(data)
    splits = {}
    for split, file in _files(path).items():
        with collected_reports() as reports:
            located = (
                read_located_split(file, reading)
                if path.is_dir() and file != path
                else read_located(file, options=reading)
            )
            splits[split] = [one.sentence for one in located if one.sentence.words]
        said.append(_recognised(split, file, splits[split], reports))
        said += _losses(file, reports)
    train, untagged = _tagged(splits["train"], data)
    dev_given, test = splits.get("valid", []), splits.get("test", [])
    for held_out in (dev_given, test):
        if any(sentence.tags is None for sentence in held_out):
            raise UserError(f"{data}: a dev or test sentence has no tags; label it or take it out")
    if untagged:
        said.append(f"{len(untagged):,} training sentences have no tags: taken as unlabelled text")
    _check_learnable(train, dev_given, data)
    if dev_given:
        dev_sentences = _without_repeats(dev_given, train, data, said)
    else:
        train, dev_sentences = _carve(train, dev, seed, said)
    if test and (shared := len(_words(test) & _words(train))):
        said.append(f"{shared:,} test sentences are in train as well: their scores are too good")
    labels = _labels(path, [*train, *dev_sentences, *test])
    rule = rule_for_texts(train, [*dev_sentences, *test], reading.text_words, data, said)
    known = _words(train) | _words(dev_sentences) | _words(test)
    more = read_unlabelled(unlabelled, untagged, known, rule, said)
    if unlabelled and len(more) > len(untagged):
        compare_words(train, more, said)
    return FitData(
        task_name(path), labels, train, dev_sentences, test, more, rule, [s for s in said if s]
    )


def with_swapped(data: FitData, *, seed: int) -> FitData:
    """Few labelled sentences and no text: variants of them, mentions swapped, for a teacher to label.

    Theirs are the tags of the teacher, as if they were text; the data as they are if there is text, if there
    are a thousand labelled sentences, or if no mention has another of its label to change places with.
    """
    if data.unlabelled or len(data.train) >= FEW:
        return data
    known = _words([*data.train, *data.dev, *data.test])
    variants = dict.fromkeys(each.words for each in swap_mentions(data.train, SWAPPED, seed=seed))
    made = [Sentence(words) for words in variants if words not in known]
    return dataclasses.replace(data, unlabelled=made, swapped=True) if made else data


def task_name(path: Path) -> str:
    """A name for a task, from that of a folder or file; none that the tasks of this package have."""
    stem = path.resolve().name if path.is_dir() else path.name.partition(".")[0]
    name = re.sub(r"\W+", "_", stem).strip("_") or "data"
    return f"{name}_data"


def _files(path: Path) -> dict[str, Path]:
    """The files of the splits there are; a file is all training sentences."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a file of labelled sentences, or a "
                        "folder with train, and perhaps dev and test")  # fmt: skip
    if not path.is_dir():
        return {"train": path}
    files = {split: split_file(path, split) for split in SPLITS}
    if files["train"] is None:
        if is_table(path):
            return {"train": path}
        raise UserError(f"{path}: there is no training file in it ({looked_for('train')})")
    return {split: file for split, file in files.items() if file is not None}


def _recognised(
    split: str, file: Path, sentences: Sequence[Sentence], reports: Sequence[ReadReport]
) -> str:
    parts = [each for report in reports for each in (report.format, report.scheme) if each]
    return (
        f"{split}: {len(sentences):,} sentences of {file.name} ({', '.join(dict.fromkeys(parts))})"
    )


def _losses(file: Path, reports: Sequence[ReadReport]) -> list[str]:
    """What was mended or lost in reading, cut to a line."""
    remarks = [str(each) for report in reports for each in report.of_kind(LOSS, REPAIR)]
    return [f"{file.name}: {'; '.join(remarks)} (see distill-jax inspect)"] if remarks else []


def _tagged(train: list[Sentence], data: str) -> tuple[list[Sentence], list[Sentence]]:
    if not train:
        raise UserError(f"{data}: holds no sentences; give labelled sentences")
    tagged = [sentence for sentence in train if sentence.tags is not None]
    if not tagged:
        raise UserError(
            f"{data}: its sentences have no tags; label some (100 are a good start), and give the others "
            "with --unlabelled"
        )
    return tagged, [sentence for sentence in train if sentence.tags is None]


def _check_learnable(train: Sequence[Sentence], dev: Sequence[Sentence], data: str) -> None:
    tags = {tag for sentence in train for tag in sentence.tags or ()}
    if tags <= {"O"}:
        raise UserError(
            f"{data}: every word has the tag O, so there is no label to learn; check the scheme and the "
            "columns (distill-jax inspect), or label some spans"
        )
    if "O" not in tags and len({tag.partition("-")[2] for tag in tags}) == 1:
        raise UserError(
            f"{data}: every word has the label {next(iter(tags)).partition('-')[2]!r}, so there is nothing "
            "to tell apart; words of no span need the tag O"
        )
    distinct = len(_words([*train, *dev]))
    if distinct < LEAST:
        raise UserError(
            f"{data}: too few different labelled sentences to learn from and to choose a model by "
            f"({distinct}); label at least {LEAST} (100 are a good start)"
        )


def _without_repeats(
    dev: Sequence[Sentence], train: Sequence[Sentence], data: str, said: list[str]
) -> list[Sentence]:
    """The dev sentences that are not in train, where most are not."""
    known = _words(train)
    kept = [sentence for sentence in dev if sentence.words not in known]
    repeated = len(dev) - len(kept)
    if repeated >= _REPEATS * len(dev):
        raise UserError(
            f"{data}: {repeated:,} of {len(dev):,} dev sentences are in train as well, so that a model "
            "could not be chosen by them; give others, or none, and some will be held out of train"
        )
    if repeated:
        said.append(f"{repeated:,} dev sentences are in train as well: left out of dev")
    return kept


def _carve(
    train: Sequence[Sentence], size: int | None, seed: int, said: list[str]
) -> tuple[list[Sentence], list[Sentence]]:
    size = validation_size(len(train)) if size is None else size
    if size < 1:
        raise UserError("--dev is 0; a model is chosen by dev sentences, so give 1 or more")
    kept, dev = carve_validation(train, size, seed)
    held_out = _words(dev)
    kept = [sentence for sentence in kept if sentence.words not in held_out]
    if not kept:
        raise UserError("no training sentence is left when dev is held out; label more")
    said.append(
        f"no dev split: {len(dev):,} of the {len(train):,} sentences are held out as one (seed {seed})"
    )
    return kept, dev


def _labels(path: Path, sentences: Iterable[Sentence]) -> LabelSet:
    file = path / "labels.txt"
    if path.is_dir() and file.is_file():
        labels = LabelSet.load(file)
        for sentence in sentences:
            labels.encode_iob2(sentence.tags or ())
        return labels
    return LabelSet.from_sentences(sentences)


def _words(sentences: Iterable[Sentence]) -> set[Words]:
    return {sentence.words for sentence in sentences}
