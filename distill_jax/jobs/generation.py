"""New sentences for a pool: from a generator, from gold mentions that change places, or from a file."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from distill_jax.data.readers import ReadOptions, read_sentences
from distill_jax.errors import UserError
from distill_jax.files import only_one, sha256_json
from distill_jax.generate.filters import Filters, FilterSettings, exact
from distill_jax.generate.infill import InfillWriter
from distill_jax.generate.pool import Compared, GeneratedPool, PoolLayout, write_pool
from distill_jax.generate.settings import SamplingSettings
from distill_jax.generate.sources import Batching, Generator, Read, Source, Swapped, Written
from distill_jax.generate.writers import describe, load_writer
from distill_jax.kinds.registry import kind_of
from distill_jax.labels.pool import hash_of_ids
from distill_jax.model_dir.directory import model_hash, open_checkpoint
from distill_jax.parallel.mesh import local_place
from distill_jax.tagging import Sentence

From = Literal["model", "swap", "lm"]


@dataclasses.dataclass(frozen=True)
class FromModel:
    """A T5: a generator, or one as pre-trained, which infills.

    Attributes:
        directory: a generator's `model`, or any Hugging Face directory of a T5.
        infill: which spans are masked, if it is to infill; None: as the generator was trained.
        sampling: how tokens are drawn.
        batch_size: rows that go through it at a time.
        dtype: of activations; None: as it was saved.
        model_parallel: devices that it is split over.
    """

    directory: str
    infill: InfillWriter | None = None
    sampling: SamplingSettings = SamplingSettings()  # noqa: RUF009 (frozen)
    batch_size: int = 64
    dtype: Literal["float32", "bfloat16"] | None = None
    model_parallel: int = 1

    def source(self, gold: Sequence[Sentence], seed: int) -> tuple[Source, dict[str, Any]]:
        """It draws samples; and what these depend on, as JSON.

        Raises `UserError` if it is no T5, or no generator and `infill` is not given, or mentions are to be
        masked and there are none, or as `Written`.
        """
        writer = self.infill or load_writer(self.directory)
        if writer is None:
            raise UserError(
                f"{self.directory}: has no generator.json, so it was not trained to write; train one "
                "(gin/runs/generator_text.gin), or let it infill as pre-trained: --from infill"
            )
        if isinstance(writer, InfillWriter) and writer.masked == "mentions":
            _check_mentions(gold)
        checkpoint = open_checkpoint(self.directory)
        config = checkpoint.config
        if kind_of(config).format != "sent_prime":
            raise UserError(f"{self.directory}: is no T5; give the directory of one")
        if self.dtype is not None:
            config = config.replace(dtype=self.dtype)
        place = local_place(self.model_parallel)
        shardings = None
        if place.mesh is not None:
            shardings = jax.tree.map(
                lambda leaf: leaf.sharding, kind_of(config).abstract_params(config, place)
            )
        params = jax.device_put(jax.tree.map(np.asarray, checkpoint.read()), shardings)
        generator = Generator(config, params, checkpoint.vocabulary(), writer)
        batching = Batching(seed, self.batch_size, place)
        source = Written(generator, gold, self.sampling, batching)
        return source, {
            "from": writer.kind,
            "generator_sha256": model_hash(self.directory),
            "writer": describe(writer),
            "sampling": dataclasses.asdict(self.sampling),
            "batch_size": self.batch_size,
            "dtype": config.dtype,
        }


@dataclasses.dataclass(frozen=True)
class FromSwap:
    """Gold sentences whose mentions change places."""

    def source(self, gold: Sequence[Sentence], seed: int) -> tuple[Source, dict[str, Any]]:
        """As `FromModel.source`."""
        return Swapped(gold, seed), {"from": "swap"}


@dataclasses.dataclass(frozen=True)
class FromFile:
    """Sentences that something else has written."""

    path: str
    reading: ReadOptions = ReadOptions()  # noqa: RUF009 (frozen)

    def source(self, gold: Sequence[Sentence], seed: int) -> tuple[Source, dict[str, Any]]:
        """As `FromModel.source`."""
        return Read(self), {"from": "lm", "sentences_sha256": content(self)}

    def __iter__(self) -> Any:
        return read_sentences(self.path, options=self.reading)


@dataclasses.dataclass(frozen=True)
class Material:
    """The sentences that a pool is made beside.

    Attributes:
        gold: labelled sentences: what is varied, and not to be copied.
        held_out: dev and test sentences by their files' names: the pool is compared with them, and made
            of nothing that holds them.
    """

    gold: Sequence[Sentence]
    held_out: Mapping[str, Sequence[Sentence]] = dataclasses.field(default_factory=dict)


def generate(
    origin: FromModel | FromSwap | FromFile,
    material: Material,
    directory: str | os.PathLike[str],
    *,
    layout: PoolLayout,
    filters: FilterSettings = FilterSettings(),  # noqa: B008 (frozen)
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> GeneratedPool:
    """Writes a pool of new sentences, or what is missing of it.

    Raises:
        UserError: the seed is negative; gold sentences or those of a file are held-out ones; another process
            writes the pool; or as `FromModel.source` and `write_pool`.
    """
    if seed < 0:
        raise UserError(f"the seed is {seed}; use a whole number from 0")
    _check_apart(material.gold, "the gold sentences", material.held_out)
    if isinstance(origin, FromFile):
        _check_apart(origin, origin.path, material.held_out)
    if Path(directory).exists() and not Path(directory).is_dir():
        raise UserError(f"{directory}: is not a directory; choose another --output")
    source, about = origin.source(material.gold, seed)
    settings = {
        **about,
        "seed": seed,
        "gold_sha256": content(material.gold),
        "held_out_sha256": {
            name: content(sentences) for name, sentences in material.held_out.items()
        },
        "filters": dataclasses.asdict(filters),
    }
    gold = [sentence.words for sentence in material.gold]
    held_out = {
        name: [sentence.words for sentence in sentences]
        for name, sentences in material.held_out.items()
    }
    with only_one(directory) as is_alone:
        if not is_alone:
            raise UserError(
                f"{directory}: another process is writing this pool; wait for it, or choose another --output"
            )
        return write_pool(
            Path(directory),
            source,
            Filters(filters, gold),
            layout=layout,
            settings=settings,
            compared=Compared(gold, held_out),
            progress=progress,
        )


def content(sentences: Any) -> str:
    """SHA-256 (hex) of sentences in their order, tags included."""
    return hash_of_ids(sha256_json([each.words, each.tags]) for each in sentences)


def _check_mentions(gold: Sequence[Sentence]) -> None:
    if not any(tag != "O" for sentence in gold for tag in sentence.tags or ()):
        raise UserError(
            "the gold sentences have no tags, so no mentions to mask; give --gold a file with tags, or "
            "--masked context"
        )


_SAME = 0.5


def _check_apart(sentences: Any, name: str, held_out: Mapping[str, Sequence[Sentence]]) -> None:
    """Refuses sentences among which half or more of a held-out file's are.

    Short ones of fewer than four words may be anybody's and are not counted.
    """
    if not held_out:
        return
    own = {exact(sentence.words) for sentence in sentences}
    for file, others in held_out.items():
        telling = {exact(other.words) for other in others if len(other.words) >= 4}
        shared = len(telling & own)
        if telling and shared >= _SAME * len(telling):
            raise UserError(
                f"{name}: {shared} of the {len(telling)} sentences of {file} are among them, which is held "
                "out; leave them out, or do not call that file held out"
            )
