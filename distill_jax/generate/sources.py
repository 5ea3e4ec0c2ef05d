"""Where new sentences come from: a T5 that writes, gold mentions that change places, a file.

Each source draws samples by their numbers, the same whenever and beside whatever they are drawn.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from distill_jax.data.augmentation import MentionSwap
from distill_jax.data.length_batches import batches_by_length
from distill_jax.errors import UserError
from distill_jax.generate.infill import InfillWriter
from distill_jax.generate.labelled import usable_sentinels
from distill_jax.generate.prompt import Prompt, Writer
from distill_jax.generate.sampler import Alphabet, SamplingBatch, make_sampler
from distill_jax.generate.settings import SamplingSettings
from distill_jax.models.partitioning import ANYWHERE, Place
from distill_jax.models.t5 import T5
from distill_jax.models.t5_config import T5Config
from distill_jax.signals import check_stopped
from distill_jax.tagging import Sentence
from distill_jax.vocab import Vocabulary

INPUT_BUCKETS = (16, 32, 64, 128, 256, 512)


class Drawn(NamedTuple):
    """A sample before anything has judged it."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    """IOB2, of a source that knows them."""
    log_probability: float | None = None
    """Natural logarithm, of all tokens under the generator as it is (see `Samples`)."""
    tokens: int | None = None
    ended: bool = True
    """False where it was cut off."""
    well_formed: bool = True
    """See `prompt.Reading`."""


class Source(Protocol):
    """Draws samples."""

    def draw(self, start: int, end: int) -> list[Drawn]:
        """Samples `start` … `end` - 1; fewer where the source has no more."""


class Generator(NamedTuple):
    """A T5 that writes."""

    config: T5Config
    params: Any
    """Arrays without a `params` level; on the mesh, where there is one."""
    vocabulary: Vocabulary
    writer: Writer


class Batching(NamedTuple):
    """The seed, how many rows go through the model at a time, and where."""

    seed: int = 0
    rows: int = 64
    place: Place = ANYWHERE


class Written:
    """Sentences that a T5 writes.

    Raises:
        UserError: the vocabulary does not fit the model, or has no sentinels for spans; there is no gold
            sentence to write spans of, or none with tags where tags are written.
    """

    def __init__(
        self,
        generator: Generator,
        gold: Sequence[Sentence],
        settings: SamplingSettings,
        batching: Batching = Batching(),  # noqa: B008 (immutable)
    ) -> None:
        config, params, vocabulary, writer = generator
        sentinels = usable_sentinels(vocabulary) if writer.kind == "labelled" else None
        self._alphabet = Alphabet.of(vocabulary, config.vocab_size, sentinels)
        if isinstance(writer, InfillWriter):
            gold = [sentence for sentence in gold if writer.can_mask(sentence)]
            if vocabulary.num_sentinels < 2:
                raise UserError(
                    f"the vocabulary has {vocabulary.num_sentinels} sentinels <extra_id_n>, and infilling "
                    "needs at least 2; use a T5 that was pre-trained with them"
                )
            if not gold:
                raise UserError(
                    "infilling needs gold sentences in which something can be masked; give --gold a file "
                    "that has some"
                )
        self._params, self._vocabulary = params, vocabulary
        self._writer, self._gold = writer, gold
        self._read = writer.reader(gold, vocabulary)
        self._seed, self._rows, place = batching
        self._sample = make_sampler(T5(config), settings, place.mesh, tuple(place.rules))

    def draw(self, start: int, end: int) -> list[Drawn]:
        """See `Source.draw`. Prompts of like length go through the model together."""
        prompts = [
            self._writer.prompt(self._gold, self._vocabulary, number, self._seed)
            for number in range(start, end)
        ]
        drawn: list[Drawn] = [Drawn(())] * len(prompts)
        key = jax.random.key(self._seed)
        lengths = [len(prompt.inputs) for prompt in prompts]
        for bucket, members in batches_by_length(lengths, self._rows, INPUT_BUCKETS):
            check_stopped()
            batch = self._batch([prompts[i] for i in members], members + start, bucket)
            samples = jax.device_get(self._sample(self._params, batch, self._alphabet, key))
            for row, index in enumerate(members):
                count = int(samples.lengths[row])
                tokens = samples.tokens[row, :count]
                words, tags, well_formed = self._read(prompts[index], tokens)
                drawn[index] = Drawn(
                    words,
                    tags,
                    well_formed=well_formed,
                    log_probability=float(samples.log_probabilities[row].sum(dtype=np.float64)),
                    tokens=count,
                    ended=bool(samples.ended[row]),
                )
        return drawn

    def _batch(self, prompts: Sequence[Prompt], numbers: np.ndarray, length: int) -> SamplingBatch:
        tokens = np.full((self._rows, length), self._vocabulary.pad_id, np.int32)
        mask = np.zeros((self._rows, length), bool)
        of_row = np.full(self._rows, -1, np.int32)
        spans = np.zeros(self._rows, np.int32)
        of_row[: len(numbers)] = numbers
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt.inputs)] = prompt.inputs
            mask[row, : len(prompt.inputs)] = True
            spans[row] = prompt.spans
        return SamplingBatch(tokens, mask, of_row, spans)


class Swapped:
    """Gold sentences whose mentions have changed places, with the tags that go with them.

    Raises `UserError` if no gold sentence can vary.
    """

    def __init__(self, gold: Sequence[Sentence], seed: int) -> None:
        self._swap = MentionSwap(gold)
        self._varied = [index for index in range(len(gold)) if self._swap.can_vary(index)]
        self._seed = seed
        if not self._varied:
            raise UserError(
                "no mention of the gold sentences has another of its label to change places with; give "
                "--gold a file with tags and several mentions of a label"
            )

    def draw(self, start: int, end: int) -> list[Drawn]:
        """See `Source.draw`."""
        found = []
        for number in range(start, end):
            index = self._varied[number % len(self._varied)]
            variant = self._swap.variant(index, np.random.default_rng([self._seed, number]))
            found.append(Drawn(variant.words, variant.tags))
        return found


class Read:
    """Sentences that something else has written, in the order of their file.

    `read` begins at the first whenever it is called.
    """

    def __init__(self, sentences: Iterable[Sentence]) -> None:
        self._sentences = sentences
        self._rest: Iterator[Sentence] = iter(())
        self._next = -1

    def draw(self, start: int, end: int) -> list[Drawn]:
        """See `Source.draw`."""
        if start != self._next:
            self._rest = itertools.islice(iter(self._sentences), start, None)
        found = [Drawn(s.words, s.tags) for s in itertools.islice(self._rest, end - start)]
        self._next = end
        return found
