"""Model directories: what leaves training and what `Tagger.load` reads.

A directory holds `config.json`, `model.safetensors` (float32; a BiLSTM's frozen word vectors may be
float16), the vocabulary's files, `tagger.json` (`distill_jax.model_dir.settings`) and a model card. No file
in it can hold code. What
`config.json` says, and how tensors are named, is its kind's business (`distill_jax.kinds`): the
directory of a T5 is also a Hugging Face checkpoint.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_jax.errors import UserError
from distill_jax.files import (
    atomic_directory,
    read_json_object,
    sha256_file,
    sha256_json,
    write_json,
)
from distill_jax.inference.settings import TaggerSettings
from distill_jax.interop.hf.checkpoint import CONFIG, check_replaceable
from distill_jax.interop.hf.foreign import check_is_checkpoint
from distill_jax.interop.t5x.checkpoint import T5xCheckpoint
from distill_jax.interop.t5x.places import find_checkpoint, looks_like_t5x
from distill_jax.kinds.base import Checkpoint, Model
from distill_jax.kinds.registry import kind_of, kind_of_type
from distill_jax.model_dir.card import model_card
from distill_jax.model_dir.settings import METADATA, TAGGER, TaggerFile, read_tagger_file
from distill_jax.safetensors_io import TensorSource
from distill_jax_runtime.directory import is_exported


def save_model(directory: str | os.PathLike[str], model: Model) -> None:
    """Writes a model directory.

    Args:
        directory: made, or replaced if it is a model directory.
        model: its parameters may be arrays of any kind, fully addressable from this process,
            with or without boxes of logical axis names; they are stored as float32, a BiLSTM's frozen
            word vectors as float16 if they are.

    Raises:
        UserError: the vocabulary or the labels do not fit the model, or `directory` is something
            else than a model directory.
        ValueError: the parameters are not those of such a model.
    """
    write_model(directory, model, kind_of(model.config).sources(model.config, model.params))


def write_model(
    directory: str | os.PathLike[str], model: Model, sources: list[TensorSource]
) -> None:
    """As `save_model`, with tensors that are loaded when their turn to be written comes, for the
    parameters."""
    directory = Path(directory).absolute()
    config, vocabulary = model.config, model.vocabulary
    kind = kind_of(config)
    check_replaceable(directory, TAGGER)
    kind.check_fit(config, vocabulary, model.labels, str(directory))
    settings = model.settings or TaggerSettings(format=kind.format)
    if settings.format != kind.format:
        raise UserError(
            f"{directory}: the format is {settings.format!r}, but a model of this kind has "
            f"{kind.format!r}; leave it out"
        )
    tagger = TaggerFile(
        labels=model.labels,
        settings=settings,
        vocabulary_hash=vocabulary.content_hash(),
        lowercase_words=getattr(vocabulary, "lowercase", False),
        metadata={key: value for key, value in model.metadata.items() if value is not None},
    )
    frozen = kind.frozen_parameters(config)
    with atomic_directory(directory) as temporary:
        kind.write_files(temporary, model, sources)
        vocabulary.save(temporary)
        write_json(temporary / TAGGER, tagger.to_fields())
        card = model_card(
            labels=model.labels,
            architecture=kind.describe(config),
            parameters=sum(math.prod(source.shape) for source in sources) - frozen,
            frozen_parameters=frozen,
            metadata=tagger.metadata,
        )
        (temporary / "README.md").write_text(card, "utf-8")


def load_model(directory: str | os.PathLike[str]) -> Model:
    """Reads a model directory; parameters are NumPy float32, some of them transposed views.

    Raises:
        UserError: in one line naming file and remedy, if a file is missing, damaged or malformed,
            or if labels, vocabulary and model do not belong together.
    """
    model, checkpoint = open_model(directory)
    return Model(**{**vars(model), "params": checkpoint.read()})


def open_model(directory: str | os.PathLike[str]) -> tuple[Model, Checkpoint]:
    """As `load_model`, with parameters None; the checkpoint reads them."""
    directory = Path(directory)
    tagger = read_tagger_file(directory)
    if is_exported(directory) and not (directory / CONFIG).exists():
        raise UserError(
            f"{directory}: an ONNX export (for `predict`, `label`, `evaluate` and "
            "distill_jax_runtime); give the model directory that was exported"
        )
    fields = read_json_object(directory / CONFIG, absent="give a complete directory")
    model_type = fields.get("model_type")
    kind = kind_of_type(model_type, str(directory / CONFIG))
    # What is small is checked before the weights are read.
    vocabulary = kind.load_vocabulary(directory)
    if vocabulary.content_hash() != tagger.vocabulary_hash:
        raise UserError(
            f"{directory}: the vocabulary is not the one the model was trained with "
            f"(vocabulary_hash in {TAGGER} differs); put the model's own vocabulary files back"
        )
    checkpoint = kind.open(directory)
    config = checkpoint.config
    kind.check_fit(config, vocabulary, tagger.labels, str(directory))
    if tagger.settings.format != kind.format:
        raise UserError(
            f"{directory / TAGGER}: format is {tagger.settings.format!r}, but a model of this kind "
            f"has {kind.format!r}; copy the file again"
        )
    model = Model(config, None, vocabulary, tagger.labels, tagger.settings, tagger.metadata)
    return model, checkpoint


def open_checkpoint(directory: str | os.PathLike[str]) -> Checkpoint:
    """A model directory of any kind, or a Hugging Face directory of one, or a T5 of t5x (the last step
    of several); its labels do not matter.

    Raises `UserError` as `load_model` does.
    """
    directory = Path(directory)
    if _is_of_t5x(directory):
        found = T5xCheckpoint(directory)
        return Checkpoint(found.config, found.read, found.embedding, found.vocabulary)
    check_is_checkpoint(directory, CONFIG)
    path = directory / CONFIG
    fields = read_json_object(path, absent="give a complete directory")
    return kind_of_type(fields.get("model_type"), str(path)).open(directory)


def model_hash(directory: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) over everything in a model directory that predictions depend on.

    Of a folder of t5x: over the files in it, and those of its last checkpoint.
    """
    directory = Path(directory)
    paths = list(directory.iterdir())
    if _is_of_t5x(directory):
        paths += find_checkpoint(directory).rglob("*")
    hashes = {
        path.relative_to(directory).as_posix(): sha256_file(path)
        for path in sorted(paths)
        if path.is_file() and path.name != "README.md"
    }
    if TAGGER in hashes:
        # A run that goes on after its end writes the same model with other seconds of training.
        fields: Mapping[str, Any] = read_json_object(Path(directory) / TAGGER)
        hashes[TAGGER] = sha256_json({k: v for k, v in fields.items() if k not in METADATA})
    return sha256_json(hashes)


def _is_of_t5x(directory: Path) -> bool:
    return directory.exists() and not (directory / CONFIG).exists() and looks_like_t5x(directory)
