"""What models start from: checkpoints, vocabularies and text, for `kinds.base.Resources`."""

import dataclasses
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from distill_jax.jobs.sources import Part, Sources
from distill_jax.kinds.base import Checkpoint, TaskNames
from distill_jax.kinds.t5_start import NewVocabulary
from distill_jax.model_dir.directory import open_checkpoint
from distill_jax.parallel.processes import first_goes_ahead
from distill_jax.tagging import Sentence
from distill_jax.vocab import (
    SENTENCEPIECE_FILE,
    Vocabulary,
    WordTable,
    load_vocabulary,
    read_word_vectors,
    train_sentencepiece,
)


@dataclasses.dataclass(frozen=True)
class RunResources:
    """Files, and the tasks that a run reads; `tasks` are its own."""

    sources: Sources
    tasks: TaskNames

    def checkpoint(self, path: str) -> Checkpoint:
        """See `Resources.checkpoint`."""
        return open_checkpoint(path)

    def vocabulary(self, path: str | None, rows: int = 0) -> Vocabulary | None:
        """See `Resources.vocabulary`."""
        return None if path is None else load_vocabulary(path)

    def sentences(self, tasks: TaskNames) -> Iterable[Sentence]:
        """See `Resources.sentences`."""
        return self.sources.sentences(tasks)

    def word_vectors(
        self,
        path: str,
        dim: int,
        *,
        lowercase: bool,
        first: int | None,
        wanted: Collection[str],
    ) -> WordTable:
        """See `Resources.word_vectors`."""
        return read_word_vectors(path, dim, lowercase=lowercase, first=first, wanted=wanted)

    def new_vocabulary(self, wanted: NewVocabulary) -> Vocabulary:
        """See `Resources.new_vocabulary`; it is kept in `MODEL_DIR/vocabulary`.

        Tags occur in the targets as often as words do in the inputs, so their texts are part of the
        corpus as often as the tags occur: `O`, `I` and frequent labels become single pieces.
        """
        directory = Path(self.sources.model_dir) / "vocabulary"
        parts = self.sources.read(wanted.tasks or self.tasks, wanted.split)
        with first_goes_ahead("vocabulary"):
            if not (directory / SENTENCEPIECE_FILE).exists():
                texts, required = _corpus(parts, wanted.max_sentences)
                train_sentencepiece(
                    texts,
                    wanted.size,
                    directory / SENTENCEPIECE_FILE,
                    required=sorted(required),
                    fold_case=wanted.fold_case,
                )
        return load_vocabulary(directory)


def _corpus(parts: list[Part], max_sentences: int) -> tuple[list[str], set[str]]:
    """What a vocabulary is trained on, and what must be single pieces."""
    texts: list[str] = []
    required: set[str] = {"O", "I"}
    for dataset, _ in parts:
        sentences = [dataset[i] for i in range(min(len(dataset), max_sentences))]
        texts += [" ".join(sentence.words) for sentence in sentences]
        labels = dataset.labels
        if labels is not None:
            required |= set(labels.texts)
            texts += [
                " ".join(labels.tag_texts[tag] for tag in _tag_ids(labels, sentence))
                for sentence in sentences
                if sentence.tags
            ]
    return texts, required


def _tag_ids(labels: Any, sentence: Sentence) -> Any:
    return labels.encode_iob2(sentence.tags)
