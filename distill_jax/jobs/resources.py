"""What models start from: checkpoints, vocabularies and text, for `kinds.base.Resources`."""

import dataclasses
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from distill_jax.configuration import to_json
from distill_jax.errors import UserError
from distill_jax.files import read_json_object, write_json
from distill_jax.jobs.sources import Part, Sources, content_hashes
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
        """See `Resources.new_vocabulary`; it is kept in `MODEL_DIR/vocabulary`, with what it was made of.

        Tags occur in the targets as often as words do in the inputs, so their texts are part of the
        corpus as often as the tags occur: `O`, `I` and frequent labels become single pieces.

        Raises `UserError` if the one that is there was made of other sentences or with other settings.
        """
        directory = Path(self.sources.model_dir) / "vocabulary"
        parts = self.sources.read(wanted.tasks or self.tasks, wanted.split)
        made_of = {
            "settings": to_json(wanted),
            "inputs": content_hashes(*(dataset for dataset, _ in parts)),
        }
        with first_goes_ahead("vocabulary"):
            if (directory / SENTENCEPIECE_FILE).exists():
                _check_made_of(directory, made_of)
            else:
                texts, required = _corpus(parts, wanted.max_sentences)
                train_sentencepiece(
                    texts,
                    wanted.size,
                    directory / SENTENCEPIECE_FILE,
                    required=sorted(required),
                    fold_case=wanted.fold_case,
                )
                write_json(directory / _MADE_OF, made_of)
        return load_vocabulary(directory)


_MADE_OF = "made_of.json"


def _check_made_of(directory: Path, made_of: Any) -> None:
    """Raises `UserError` if a vocabulary is of other sentences; one of an earlier version does not say."""
    if not (directory / _MADE_OF).exists():
        return
    remedy = "give another MODEL_DIR, or delete this folder, whose run then starts anew"
    saved = read_json_object(directory / _MADE_OF, remedy)
    if saved != json.loads(json.dumps(made_of)):
        raise UserError(
            f"{directory}: this vocabulary was made of other sentences, or with other settings, than the run "
            f"now has; put them back, or {remedy}"
        )


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
