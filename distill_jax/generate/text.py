"""Whole sentences written from a prompt: unconditional generation, or by the labels they are to hold.

After "Generate, Annotate, and Learn" (He et al. 2022, arXiv 2106.06168), which finds unconditional
generation with soft labels better than class-conditional; Melas-Kyriazi et al. 2020 (arXiv 2002.00733)
has the idea. Deviation: an encoder reads the prompt, where they have a language model.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from distill_jax.configuration import setting
from distill_jax.data.seq2seq import Pair
from distill_jax.errors import UserError
from distill_jax.generate.prompt import Prompt, Reader, read_words
from distill_jax.tagging import Sentence
from distill_jax.tagging.labels import default_text
from distill_jax.vocab import Vocabulary
from distill_jax_runtime.spans import spans_from_iob2


@dataclasses.dataclass(frozen=True)
class TextWriter:
    """Sentences from a prompt.

    Attributes:
        prompt_text: what the encoder reads for every sentence.
        name_labels: whether the texts of a sentence's labels stand behind it, in order, those of a random
            gold sentence for a new one.

    Raises:
        UserError: the prompt is empty.
    """

    kind: ClassVar[str] = "text"
    prompt_text: str = setting("write a sentence", macro="PROMPT")
    name_labels: bool = setting(False, macro="NAME_LABELS")

    def __post_init__(self) -> None:
        if not self.prompt_text.strip():
            raise UserError("PROMPT is empty; give the encoder something to read")

    def examples(self, sentences: Sequence[Sentence], vocabulary: Vocabulary) -> list[Pair]:
        """See `Writer.examples`."""
        end = [vocabulary.eos_id]
        return [
            (
                self._inputs(sentence, vocabulary),
                np.array([*vocabulary.encode(" ".join(sentence.words)), *end], np.int32),
            )
            for sentence in sentences
            if sentence.words
        ]

    def prompt(
        self, gold: Sequence[Sentence], vocabulary: Vocabulary, number: int, seed: int
    ) -> Prompt:
        """See `Writer.prompt`."""
        rng = np.random.default_rng([seed, number])
        sentence = gold[int(rng.integers(len(gold)))] if gold and self.name_labels else Sentence(())
        return Prompt(self._inputs(sentence, vocabulary))

    def reader(self, gold: Sequence[Sentence], vocabulary: Vocabulary) -> Reader:
        """See `Writer.reader`."""
        return read_words(gold, vocabulary)

    def _inputs(self, sentence: Sentence, vocabulary: Vocabulary) -> np.ndarray:
        text = self.prompt_text
        if self.name_labels:
            spans = sorted(spans_from_iob2(sentence.tags or ()), key=lambda span: span.start)
            text += ": " + ", ".join(default_text(span.label) for span in spans)
        return np.array([*vocabulary.encode(text), vocabulary.eos_id], np.int32)
