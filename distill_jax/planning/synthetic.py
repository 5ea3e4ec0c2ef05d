"""Data in place of a run's own: sentences, labels and vocabularies of given sizes, with no meaning.

The step of a run depends on its data by their shapes alone, so the very objects that `distill-jax
train` would make of a task can be made of these.
"""

import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill_jax.configuration import setting
from distill_jax.data.distillation import Target
from distill_jax.errors import UserError
from distill_jax.inference.settings import TaggerSettings
from distill_jax.integers import ceil_divide
from distill_jax.jobs.student import Material, StudentData, TeacherInStep
from distill_jax.jobs.teacher import TextMaterial
from distill_jax.kinds.base import Checkpoint, Model, StepTeacher, TaskNames
from distill_jax.kinds.registry import kind_of
from distill_jax.kinds.t5_start import NewVocabulary
from distill_jax.kinds.t5_teacher import TextPart
from distill_jax.model_dir.directory import open_checkpoint
from distill_jax.model_dir.settings import read_tagger_file
from distill_jax.tagging import LabelSet, Sentence
from distill_jax.vocab import (
    DEFAULT_EXTRA_IDS,
    NUM_SPECIAL_IDS,
    Vocabulary,
    WordTable,
    WordVocabulary,
)

TEACHER_STAND_IN = "(what teacher/T5Config describes)"
"""The path of a teacher within the step that Gin files describe."""


@dataclasses.dataclass(frozen=True)
class CompileShapes:
    """What the data of a run decide, for where there are none.

    Attributes:
        words: of a sentence.
        labels: of the task, and
        tag_tokens: that each is written with (those of SNIPS, about).
        input_tokens: of a sentence in the SenT′ format (a fine-tuning run says itself).
        num_words, num_chars: rows of a BiLSTM's embeddings.
        vocab_size: embedding rows where nothing else says how many.

    Raises:
        UserError: a number is too small for the others.
    """

    words: int = setting(32)
    labels: int = setting(39)
    tag_tokens: int = setting(3)
    input_tokens: int = setting(128)
    num_words: int = setting(20_000)
    num_chars: int = setting(100)
    vocab_size: int = setting(32_128)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = NUM_SPECIAL_IDS + 1 if name in ("num_words", "num_chars") else 1
            if value < least:
                raise UserError(f"CompileShapes: {name} is {value}; it must be at least {least}")
        if self.input_tokens < 2 + 2 * self.words:
            raise UserError(
                f"CompileShapes: {self.words} words need {2 + 2 * self.words} input tokens at least; "
                f"input_tokens is {self.input_tokens}"
            )

    @functools.cached_property
    def label_set(self) -> LabelSet:
        """Labels that are told apart by their first token."""
        return LabelSet(tuple(f"label_{number}" for number in range(self.labels)))

    @functools.cached_property
    def sentences(self) -> list[Sentence]:
        """As many sentences of the same length as hold all words, every word tagged."""
        words = [_spelt(n, self.num_chars - NUM_SPECIAL_IDS) for n in range(self._distinct)]
        names = self.label_set.names
        tags = tuple(f"B-{names[place % self.labels]}" for place in range(self.words))
        return [
            Sentence(tuple(words[start : start + self.words]), tags)
            for start in range(0, self._distinct, self.words)
        ]

    @property
    def _distinct(self) -> int:
        return ceil_divide(self.num_words - NUM_SPECIAL_IDS, self.words) * self.words

    def tokens_of(self, number: int) -> int:
        """How many tokens word number `number` has: together with sentinels, `input_tokens` a sentence."""
        pieces = self.input_tokens - 2 - self.words
        place = number % self.words
        return pieces // self.words + (place < pieces % self.words)


_FIRST_CHARACTER = 0x4E00  # of a block of ideographs


def _spelt(number: int, characters: int) -> str:
    """A number as a word of so many different characters, which no normalisation changes."""
    if characters == 1:
        return chr(_FIRST_CHARACTER) * (number + 1)
    digits = [number % characters]
    while (number := number // characters) > 0:
        digits.append(number % characters)
    return "".join(chr(_FIRST_CHARACTER + digit) for digit in digits)


class SyntheticVocabulary(Vocabulary):
    """Ids for synthetic words and labels, with T5's sentinels in the last rows."""

    kind = "synthetic"

    def __init__(self, shapes: CompileShapes, rows: int, pad_id: int = 0) -> None:
        sentinels = max(DEFAULT_EXTRA_IDS, shapes.words + 1)
        self._free = rows - sentinels - 4
        if self._free < shapes.labels:
            raise UserError(
                f"CompileShapes: {shapes.labels} labels and {sentinels} sentinels do not fit {rows} "
                "embedding rows; bind fewer labels or words"
            )
        super().__init__(
            size=rows,
            sentinel_ids=range(rows - 1, rows - 1 - sentinels, -1),
            pad_id=pad_id,
            eos_id=0 if pad_id else 1,
        )
        self._shapes = shapes
        self._numbers = {
            word: number
            for number, word in enumerate(
                word for sentence in shapes.sentences for word in sentence.words
            )
        }

    @property
    def files(self) -> tuple[str, ...]:
        """There are none."""
        return ()

    def content_hash(self) -> str:
        """Equal for all: teacher and student are taken to share theirs."""
        return self.kind

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Raises `TypeError`: nothing synthetic is kept."""
        raise TypeError("a synthetic vocabulary is not saved")

    def _encode_text(self, text: str) -> list[int]:
        if text in ("O", "I"):
            return [2 + ("O", "I").index(text)]
        label, _, number = text.partition(" ")
        if label == "label":
            rest = range(self._shapes.tag_tokens - 1)
            return [4 + int(number), *(4 + index % self._free for index in rest)]
        return [4] * self._shapes.tokens_of(self._numbers[text])

    def _decode_text(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


@dataclasses.dataclass(frozen=True)
class SyntheticResources:
    """Configurations of checkpoints that are there, and vocabularies of the sizes they need."""

    shapes: CompileShapes

    def checkpoint(self, path: str) -> Checkpoint:
        """A checkpoint of which the configuration alone is read."""
        config = open_checkpoint(path).config
        rows = getattr(config, "vocab_size", self.shapes.vocab_size)
        vocabulary = SyntheticVocabulary(self.shapes, rows, getattr(config, "pad_id", 0))
        return Checkpoint(config, _unread, _unread, lambda: vocabulary)

    def vocabulary(self, path: str | None, rows: int = 0) -> Vocabulary:
        """One that fills the model's rows."""
        return SyntheticVocabulary(self.shapes, rows or self.shapes.vocab_size)

    def new_vocabulary(self, wanted: NewVocabulary) -> Vocabulary:
        """One of the size wanted, with sentinels."""
        return SyntheticVocabulary(self.shapes, wanted.size + DEFAULT_EXTRA_IDS)

    def sentences(self, tasks: TaskNames) -> Iterable[Sentence]:
        """The synthetic ones."""
        return self.shapes.sentences

    def word_vectors(self, path: str, dim: int, **options: Any) -> WordTable:
        """None: a step does not depend on them."""
        return WordTable({}, np.zeros((0, dim), np.float32), 0, "none")


def _unread() -> Any:
    raise AssertionError("a plan reads no weights")


def student_material(shapes: CompileShapes, data: StudentData) -> Material:
    """A student's data, with the teacher within the step that its settings describe."""
    labels, sentences = shapes.label_set, shapes.sentences
    targets = list(_targets(labels, sentences))
    return Material(
        labels,
        sentences,
        sentences,
        targets,
        teacher=_step_teacher(shapes, data.teacher),
        trusted=targets if data.confidence_weighting == "learnt" else (),
    )


def text_material(shapes: CompileShapes) -> TextMaterial:
    """A T5's data."""
    part = TextPart(shapes.sentences, shapes.label_set)
    return TextMaterial([part], [part], shapes.label_set)


def synthetic_model(shapes: CompileShapes, config: Any, settings: TaggerSettings | None) -> Model:
    """A model without parameters."""
    vocabulary: Any = WordVocabulary((), ())  # ids have shapes alone
    if hasattr(config, "vocab_size"):
        vocabulary = SyntheticVocabulary(shapes, config.vocab_size, getattr(config, "pad_id", 0))
    return Model(config, None, vocabulary, shapes.label_set, settings)


def _targets(labels: LabelSet, sentences: Sequence[Sentence]) -> Iterator[Target]:
    for sentence in sentences:
        assert sentence.tags is not None, "synthetic sentences have tags"
        yield Target(sentence.words, np.asarray(labels.encode_iob2(sentence.tags), np.int32))


def _step_teacher(shapes: CompileShapes, teacher: TeacherInStep) -> StepTeacher | None:
    if teacher.path is None:
        return None
    settings = None
    if teacher.path == TEACHER_STAND_IN:
        config = teacher.stand_in
        if config is None:
            raise UserError(
                "the teacher within the step is not said: give TEACHER, or bind "
                "teacher/T5Config.d_model and so on"
            )
        config = config.replace(vocab_size=config.vocab_size or shapes.vocab_size)
    else:
        config = open_checkpoint(teacher.path).config
        settings = read_tagger_file(Path(teacher.path)).settings
    tags = getattr(config, "num_tags", shapes.label_set.num_tags)  # a T5 writes any
    if tags != shapes.label_set.num_tags:
        raise UserError(
            f"{teacher.path}: the teacher predicts {tags} tags, and the data here have "
            f"{shapes.label_set.num_tags} with O and I; bind CompileShapes.labels={tags - 2}"
        )
    model = synthetic_model(shapes, config, settings)
    return kind_of(config).step_teacher(model, teacher.execution, teacher.path)
