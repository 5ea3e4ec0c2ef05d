"""Finding tasks by name, on demand if need be, and reading their sentences."""

import difflib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill_jax.data.seqio_import import import_seqio, sentences_of
from distill_jax.data.seqio_tasks import (
    Registration,
    canonical_name,
    failures,
    label_provider,
    no_files,
    register_tagging_task,
    registrations,
    resolvers,
)
from distill_jax.data.subsets import parse_few_shot_name
from distill_jax.errors import UserError
from distill_jax.tagging import LabelSet, Sentence


def resolve(name: str) -> str:
    """The registered name of a task or mixture, which is registered on demand if it can be.

    `wikiann/en` is `wikiann_en` (see `canonical_name`), and any task with a training split gives
    few-shot tasks by the pattern `NAME_gold100_dev50[_silver500]_seed0`.

    Raises `UserError` for an unknown name, listing those near it.
    """
    seqio = import_seqio()
    canonical = canonical_name(name)
    for candidate in dict.fromkeys((name, canonical)):
        if candidate in seqio.TaskRegistry.names() or candidate in seqio.MixtureRegistry.names():
            return candidate
    parsed = parse_few_shot_name(canonical)
    if parsed is not None:
        base, sizes = parsed
        base = resolve(base)
        if base in seqio.MixtureRegistry.names():
            raise UserError(f"{name!r}: {base!r} is a mixture; few-shot subsets are of one task")
        registration = registration_of(base)
        if registration.labels is None:
            raise UserError(f"{name!r}: {base!r} has no tags to take a few-shot subset of")
        register_tagging_task(
            canonical,
            source=registration.sentences,
            splits=registration.splits,
            labels=registration.labels,
            vocabulary=registration.vocabulary,
            few_shot=sizes,
            files=registration.files,
        )
        return canonical
    if any(resolver(canonical) for resolver, _ in resolvers):
        return canonical
    near = difflib.get_close_matches(canonical, known_names(), n=4, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known_names())}"
    raise UserError(f"there is no task or mixture {name!r}; {hint}")


def known_names() -> list[str]:
    """The names of all tasks and mixtures that are registered or known to the resolvers, sorted."""
    seqio = import_seqio()
    names = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    for _, more in resolvers:
        names.update(more())
    return sorted(names)


def task_parts(name: str) -> list[tuple[str, float]]:
    """The tasks that a task or mixture consists of, with their mixing rates (1 for a task)."""
    seqio = import_seqio()
    name = resolve(name)
    if name not in seqio.MixtureRegistry.names():
        return [(name, 1.0)]
    mixture = seqio.MixtureRegistry.get(name)
    return [(task.name, float(mixture.get_rate(task))) for task in mixture.tasks]


def task_splits(name: str) -> tuple[str, ...]:
    """The splits of a task."""
    return tuple(import_seqio().TaskRegistry.get(resolve(name)).splits)


def task_labels(name: str) -> LabelSet | None:
    """The label set of a task, None for unlabelled text."""
    provider = registration_of(resolve(name)).labels
    return provider() if provider else None


def task_vocabulary(name: str) -> Any:
    """The SeqIO vocabulary of a task's or mixture's `targets`, for a model of t5x.

    Raises `UserError` if it has no SenT′ targets.
    """
    seqio = import_seqio()
    target = seqio.get_mixture_or_task(resolve(name)).output_features.get("targets")
    if target is None:
        raise UserError(
            f"task {name!r} has no SenT′ targets, for it has no vocabulary; set DISTILL_JAX_VOCABULARY to "
            "one (a file, a directory or 'byte'), or register the task with vocabulary=…"
        )
    return target.vocabulary


def task_files(name: str, split: str) -> list[Path]:
    """The files that a split of a task is made from, as far as they are known."""
    return list(registration_of(resolve(name)).files(split))


def check_split(name: str, split: str) -> None:
    """Raises `UserError`, listing the splits, if the task does not have this one."""
    if split not in (splits := task_splits(name)):
        raise UserError(f"task {name!r} has no split {split!r}; it has {', '.join(splits)}")


def read_task(name: str, split: str) -> Iterator[Sentence]:
    """The sentences of a task's split, in the source's order, untokenised.

    Any SeqIO task whose features include `words` will do, also one that another library registered.
    Sentences of tasks whose source is our own code skip TensorFlow, which would hand back the same
    ones ten times slower.

    Raises `UserError` for an unknown task or split, or what is wrong with the task's source.
    """
    name = resolve(name)
    check_split(name, split)
    registration = registrations.get(name)
    if registration is not None and not registration.is_tfds:
        return iter(registration.sentences(split))
    return read_through_seqio(name, split)


def read_through_seqio(name: str, split: str) -> Iterator[Sentence]:
    """What `read_task` gives, from SeqIO's dataset whatever the source."""
    name = resolve(name)
    task = import_seqio().TaskRegistry.get(name)
    failures.pop(name, None)
    try:
        if task.supports_caching:
            dataset = task.preprocess_precache(task.source.get_dataset(split, shuffle=False))
        else:
            dataset = task.get_dataset(None, split, shuffle=False)
        yield from sentences_of(dataset, name)
    except UserError:
        raise
    except Exception:
        if name in failures:
            raise failures.pop(name) from None
        raise


def registration_of(name: str) -> Registration:
    """The registration of a task; one made up for a task that was not registered by this module."""
    if name not in registrations:
        task = import_seqio().TaskRegistry.get(name)
        sentences = functools.partial(read_task, name)
        provider = label_provider(None, sentences) if "tags" in task.output_features else None
        return Registration(tuple(task.splits), sentences, provider, no_files, None)
    return registrations[name]
