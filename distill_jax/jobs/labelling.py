"""Labelling: a teacher's tags and scores for sentences, kept for students."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from distill_jax.configuration import setting
from distill_jax.errors import UserError
from distill_jax.export.tagger import ExportedTagger
from distill_jax.files import sha256_file, sha256_json
from distill_jax.interop.t5x.inferred import Inferred, read_inferred
from distill_jax.jobs.generation import content
from distill_jax.kinds.t5_start import T5Start
from distill_jax.labels.pool import Pool
from distill_jax.labels.store import StoreOptions, TeacherLabels, write_store
from distill_jax.model_dir.directory import model_hash
from distill_jax.models.t5_config import T5Execution
from distill_jax.parallel.mesh import Placement
from distill_jax.sentscore import Normaliser
from distill_jax.tagger import Tagger
from distill_jax.tagging import LabelSet, Sentence


def label(
    tagger: Tagger | ExportedTagger,
    model_dir: str | os.PathLike[str],
    sentences: Sequence[Sentence] | Pool,
    directory: str | os.PathLike[str],
    *,
    options: StoreOptions = StoreOptions(),  # noqa: B008 (immutable)
    progress: Callable[[int], None] | None = None,
    reached: Callable[[Sequence[Sentence]], None] | None = None,
) -> TeacherLabels | None:
    """Writes a teacher-label store, or what is missing of it.

    Args:
        tagger: the teacher, loaded from `model_dir`.
        model_dir: whose content the store is tied to.
        sentences: each once: a store is looked up by words.
        directory: of the store.
        options: how it is laid out, and this process's share.
        progress: hears the number of sentences of every shard done.
        reached: hears the sentences of a shard before they are labelled.

    Returns:
        The store; None where other processes have not finished their share.

    Raises:
        UserError: as `labels.store.write_store`.
    """
    settings = {"teacher_sha256": model_hash(model_dir), "decoder": tagger.decoder}

    def labelled(shard: Sequence[Sentence]) -> list[tuple[np.ndarray, np.ndarray]]:
        if reached is not None:
            reached(shard)
        return tagger.label(shard)

    return write_store(
        Path(directory),
        sentences,
        tagger.labels,
        labelled,
        settings=settings,
        options=options,
        progress=progress,
    )


def label_inferred(
    files: Sequence[str | os.PathLike[str]],
    labels: LabelSet,
    directory: str | os.PathLike[str],
    *,
    options: StoreOptions = StoreOptions(),  # noqa: B008 (immutable)
    progress: Callable[[int], None] | None = None,
) -> TeacherLabels | None:
    """Writes a teacher-label store of what `t5x.infer` has labelled, each sentence once.

    Args:
        files: the JSONL that it wrote (`interop.t5x.inferred`).
        labels: of the task.
        directory, options, progress: as of `label`.

    Raises:
        UserError: naming file and line, or as `labels.store.write_store`.
    """
    paths = [Path(file) for file in files]

    def read() -> Iterator[Inferred]:
        for path in paths:
            yield from read_inferred(path, labels.num_tags)

    pool = Pool(lambda: (Sentence(found.words) for found in read()))
    if not len(pool):
        raise UserError(f"{paths[0]}: there are no sentences in it; check --input")
    teacher = sha256_json([sha256_file(path) for path in paths])
    remaining = read()

    def labelled(shard: Sequence[Sentence]) -> list[tuple[np.ndarray, np.ndarray]]:
        # In the file's order: what is left out was there before, or has no words, or is of a
        # shard that another process, or an earlier job, has labelled.
        found = []
        for sentence in shard:
            record = next(each for each in remaining if each.words == sentence.words)
            found.append((record.tag_ids, record.scores))
        return found

    return write_store(
        Path(directory),
        pool,
        labels,
        labelled,
        settings={"teacher_sha256": teacher, "decoder": {"algorithm": "t5x.infer"}},
        options=options,
        progress=progress,
    )


def label_tagged(
    sentences: Sequence[Sentence] | Pool,
    labels: LabelSet,
    directory: str | os.PathLike[str],
    *,
    options: StoreOptions = StoreOptions(),  # noqa: B008 (immutable)
    progress: Callable[[int], None] | None = None,
) -> TeacherLabels | None:
    """Writes a teacher-label store of the tags that sentences have, each with probability 1.

    Args:
        sentences: with tags, each once.
        labels: of the task.
        directory, options, progress: as of `label`.

    Raises:
        UserError: a tag is not of these labels, or as `labels.store.write_store`.
    """

    def labelled(shard: Sequence[Sentence]) -> list[tuple[np.ndarray, np.ndarray]]:
        found = []
        for sentence in shard:
            assert sentence.tags is not None, "sentences have tags"
            tag_ids = labels.encode_iob2(sentence.tags)
            found.append((tag_ids, certain(tag_ids, labels.num_tags)))
        return found

    return write_store(
        Path(directory),
        sentences,
        labels,
        labelled,
        settings={"teacher_sha256": content(sentences), "decoder": {"algorithm": "tags"}},
        options=options,
        progress=progress,
    )


def certain(tag_ids: np.ndarray, num_tags: int) -> np.ndarray:
    """Log-posteriors float32[L, K] of a teacher who has no doubt: 0 for each word's tag, else -inf."""
    scores_LxK = np.full((len(tag_ids), num_tags), -np.inf, np.float32)
    scores_LxK[np.arange(len(tag_ids)), tag_ids] = 0.0
    return scores_LxK


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelRun:
    """One batch of a teacher's SenTScores, for `distill-jax compile`.

    Attributes:
        model: the teacher.
        execution: how it is computed.
        batch_size: sentences.
        normaliser: of SenTScore.
        placement: over which devices.
    """

    model: T5Start = setting(T5Start())
    execution: T5Execution = setting(T5Execution())
    batch_size: int = setting(macro="BATCH_SIZE")
    normaliser: Normaliser = setting("vocab", macro="NORMALISER")
    placement: Placement = setting(Placement())

    def run(self) -> None:
        """Raises `UserError`: to label sentences there is `distill-jax label`."""
        raise UserError("LabelRun is for distill-jax compile; to label, run distill-jax label")
