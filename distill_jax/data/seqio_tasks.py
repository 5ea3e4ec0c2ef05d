"""Registering tagging tasks with SeqIO: `register_tagging_task` is the one call a user writes.

A task yields `words` (string[L]) and `tags` (string[L], IOB2; string[0] if unlabelled), and, if it
was given a vocabulary, SenT′ `inputs` and `targets` (int32). Words and tags come before SeqIO's
`CacheDatasetPlaceholder`, tokens after it: what is prepared or cached depends on no vocabulary, and
a run tokenises with its own. Sentences too long for the sentinels (or `sequence_length`) become
several tokenised examples; nothing is cut.

`seqio_lookup` finds tasks again and reads them. Importing either imports neither SeqIO nor
TensorFlow; the first registration does.
"""

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_jax.data.locations import default_vocabulary
from distill_jax.data.readers import read_sentences
from distill_jax.data.seqio_import import import_seqio
from distill_jax.data.seqio_sent import (
    posterior_metrics,
    postprocessor,
    sent_preprocessor,
    seqio_vocabulary,
    span_f1,
)
from distill_jax.data.seqio_tfds import (
    TfdsSource,
    tfds_labels,
    tfds_preprocessor,
    tfds_sentences,
)
from distill_jax.data.subsets import FEW_SHOT_SPLITS, FewShot, few_shot
from distill_jax.errors import UserError
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.vocab import Vocabulary

__all__ = [
    "FewShot",
    "TfdsSource",
    "add_resolver",
    "canonical_name",
    "register_tagging_task",
    "register_text_task",
]

SentencesOfSplit = Callable[[str], Iterable[Sentence]]
FilesOfSplit = Callable[[str], Sequence[Path]]
_FilePath = str | os.PathLike[str]


Source = Mapping[str, _FilePath] | SentencesOfSplit | TfdsSource
Labels = LabelSet | _FilePath | Callable[[], LabelSet]
Resolver = Callable[[str], bool]


@dataclass(frozen=True)
class Registration:
    """What SeqIO's own task object has no place for."""

    splits: tuple[str, ...]
    sentences: SentencesOfSplit
    labels: Callable[[], LabelSet] | None
    files: FilesOfSplit
    vocabulary: Vocabulary | str | None
    is_tfds: bool = False


registrations: dict[str, Registration] = {}
resolvers: list[tuple[Resolver, Callable[[], Iterable[str]]]] = []
# TensorFlow wraps what a generator raises; the user should see our own message.
failures: dict[str, UserError] = {}


def register_tagging_task(
    name: str,
    *,
    source: Source,
    splits: Sequence[str] | None = None,
    labels: Labels | None = None,
    vocabulary: Vocabulary | str | None = None,
    few_shot: FewShot | None = None,
    files: FilesOfSplit | None = None,
) -> None:
    """Registers a tagging task with SeqIO. Nothing is read before the task is used.

    Args:
      name: letters, digits, `_`, `.` and `:`; `NAME_gold100_dev50_seed0` is then available as well.
      source: a file for each split (any format of `readers`), a function from a split to its
        sentences, or a TFDS set.
      splits: the splits, for a function only; `train`, `valid` and `test` are the usual ones.
      labels: the label set, a label file or a function that gives it; None: those of the training
        split, sorted (for TFDS: the classes of the tags).
      vocabulary: adds SenT′ `inputs` and `targets`: a vocabulary or what `load_vocabulary` takes;
        None: that of `DISTILL_JAX_VOCABULARY` if set.
      few_shot: replaces `train` and `valid` by `gold`, `dev` and `silver` (without tags).
      files: the files a split is made from, so that prepared data notices when they change; known
        where `source` names files.

    Raises:
      UserError: the name is malformed or taken, or no splits are known.
    """
    seqio = import_seqio()
    _check_new(name)
    preprocessors: list[Any] = []
    if isinstance(source, TfdsSource):
        all_splits = tuple(source.splits)
        seqio_source = seqio.TfdsDataSource(source.name, splits=dict(source.splits))
        preprocessors = [tfds_preprocessor(seqio_source, source)]
        sentences: SentencesOfSplit = functools.partial(
            tfds_sentences, seqio_source, preprocessors[0], source.name
        )
        labels = labels or functools.partial(tfds_labels, seqio_source, source)
    else:
        all_splits, sentences, files = _own_source(name, source, splits, files)
        seqio_source = None
    provide_labels = label_provider(labels, sentences)
    files = files or no_files
    if few_shot is not None:
        all_splits, sentences, files = _few_shot_source(
            name, few_shot, all_splits, sentences, files
        )
        seqio_source = None
        preprocessors = []
    vocabulary = vocabulary or default_vocabulary()
    _add(
        name,
        Registration(
            all_splits, sentences, provide_labels, files, vocabulary, seqio_source is not None
        ),
        seqio_source or _function_source(name, all_splits, sentences, tagged=True),
        preprocessors,
    )


def register_text_task(
    name: str,
    source: Source,
    *,
    splits: Sequence[str] | None = None,
    files: FilesOfSplit | None = None,
) -> None:
    """Registers unlabelled text; its examples have `words` only. Arguments as for tagging tasks."""
    import_seqio()
    _check_new(name)
    if isinstance(source, TfdsSource):
        raise UserError(f"text task {name!r}: give files or a function instead of a TFDS set")
    all_splits, tagged_sentences, files = _own_source(name, source, splits, files)

    def sentences(split: str) -> Iterator[Sentence]:
        return (Sentence(sentence.words) for sentence in tagged_sentences(split))

    _add(
        name,
        Registration(all_splits, sentences, None, files or no_files, None),
        _function_source(name, all_splits, sentences, tagged=False),
        [],
    )


def add_resolver(resolver: Resolver, names: Callable[[], Iterable[str]] = tuple) -> None:
    """Adds a function that registers a task on demand.

    Args:
      resolver: called with a canonical name that is not registered; registers it and returns True
        if it can.
        A `UserError` it raises reaches the user.
      names: the names it can resolve as far as known, for messages.
    """
    resolvers.append((resolver, names))


def canonical_name(name: str) -> str:
    """A name that SeqIO allows: `wikiann/zh-yue` is `wikiann_zh_yue`."""
    return name.replace("/", "_").replace("-", "_")


def _check_new(name: str) -> None:
    if not re.fullmatch(r"[\w.:#]+", name):
        raise UserError(f"task name {name!r}: use letters, digits, '_', '.' and ':' only")
    seqio = import_seqio()
    if name in seqio.TaskRegistry.names() or name in seqio.MixtureRegistry.names():
        raise UserError(f"task {name!r} is already registered; choose another name")


def _own_source(
    name: str, source: Any, splits: Sequence[str] | None, files: FilesOfSplit | None
) -> tuple[tuple[str, ...], SentencesOfSplit, FilesOfSplit | None]:
    if isinstance(source, Mapping):
        paths = {split: Path(path) for split, path in source.items()}
        if not paths:
            raise UserError(f"task {name!r} has no splits; give a file for each split")
        return (
            tuple(paths),
            lambda split: read_sentences(paths[split]),
            files or (lambda split: [paths[split]]),
        )
    if not callable(source):
        raise UserError(
            f"task {name!r}: the source is a {type(source).__name__}; "
            "give a dict of files, a function or a TfdsSource"
        )
    if not splits:
        raise UserError(f"task {name!r} has a function as its source; name its splits as well")
    return tuple(splits), source, files


def no_files(split: str) -> list[Path]:
    """The files of a source of which none are known."""
    del split
    return []


def label_provider(labels: Labels | None, sentences: SentencesOfSplit) -> Callable[[], LabelSet]:
    """A function that gives the label set, from the training split if there is none; asked once."""

    @functools.cache
    def provide() -> LabelSet:
        if labels is None:
            return LabelSet.from_sentences(sentences("train"))
        if isinstance(labels, LabelSet):
            return labels
        return labels() if callable(labels) else LabelSet.load(labels)

    return provide


def _few_shot_source(
    name: str,
    sizes: FewShot,
    splits: tuple[str, ...],
    sentences: SentencesOfSplit,
    files: FilesOfSplit,
) -> tuple[tuple[str, ...], SentencesOfSplit, FilesOfSplit]:
    if "train" not in splits:
        raise UserError(f"task {name!r}: few-shot subsets need a split named 'train'")
    others = tuple(split for split in splits if split not in ("train", "valid"))

    @functools.lru_cache(maxsize=1)
    def subsets() -> dict[str, list[Sentence]]:
        return few_shot(
            sentences("train"),
            gold=sizes.gold,
            dev=sizes.dev,
            silver=sizes.silver,
            seed=sizes.seed,
        )

    def chosen(split: str) -> Iterable[Sentence]:
        return subsets()[split] if split in FEW_SHOT_SPLITS else sentences(split)

    def chosen_files(split: str) -> Sequence[Path]:
        return files("train" if split in FEW_SHOT_SPLITS else split)

    return (*FEW_SHOT_SPLITS, *others), chosen, chosen_files


def _add(name: str, registration: Registration, source: Any, preprocessors: Sequence[Any]) -> None:
    seqio = import_seqio()
    import tensorflow as tf

    strings = seqio.PassThroughVocabulary(size=0)
    features = {"words": seqio.Feature(strings, add_eos=False, dtype=tf.string)}
    steps = [*preprocessors, seqio.CacheDatasetPlaceholder(required=False)]
    tagging: dict[str, Any] = {}
    if registration.labels is not None:
        features["tags"] = seqio.Feature(strings, add_eos=False, dtype=tf.string)
        if registration.vocabulary is not None:
            wrapped = seqio_vocabulary(registration.vocabulary)
            tokens = seqio.Feature(wrapped, add_eos=False, dtype=tf.int32)
            features |= {"inputs": tokens, "targets": tokens}
            steps.append(sent_preprocessor(wrapped, registration.labels))
            tagging = {
                "postprocess_fn": postprocessor(wrapped, registration.labels),
                "metric_fns": [span_f1, posterior_metrics(registration.labels)],
            }
    seqio.TaskRegistry.add(
        name, source=source, output_features=features, preprocessors=steps, **tagging
    )
    registrations[name] = registration


def _function_source(
    name: str, splits: Sequence[str], sentences: SentencesOfSplit, *, tagged: bool
) -> Any:
    seqio = import_seqio()
    import tensorflow as tf

    strings = tf.TensorSpec([None], tf.string)
    signature = {"words": strings} | ({"tags": strings} if tagged else {})

    def dataset(split: str, shuffle_files: bool, seed: int | None = None) -> Any:
        del shuffle_files, seed  # the order of prepared data is Grain's affair

        def examples() -> Iterator[dict[str, tuple[str, ...]]]:
            try:
                for sentence in sentences(split):
                    words = {"words": sentence.words}
                    yield words | ({"tags": sentence.tags or ()} if tagged else {})
            except UserError as error:
                failures[name] = error
                raise

        return tf.data.Dataset.from_generator(examples, output_signature=signature)

    return seqio.FunctionDataSource(dataset, splits=tuple(splits))
