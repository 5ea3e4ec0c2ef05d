"""Model directories: what leaves training and what `Tagger.load` reads.

A directory holds `config.json`, `model.safetensors` (float32), the vocabulary's files,
`tagger.json` (`distill_jax.model_dir.settings`) and a model card. No file in it can hold code. The
directory of a T5 is also a Hugging Face checkpoint; tensors of the other kinds, BiLSTM and encoder
tagger, are named by their paths in the Flax parameters, joined by `/`.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta

from distill_jax.errors import UserError
from distill_jax.files import atomic_directory, read_json_object, write_json
from distill_jax.interop.hf.checkpoint import (
    CONFIG,
    WEIGHTS,
    Params,
    check_replaceable,
    flatten,
    hf_sources,
    read_hf,
    write_hf_files,
)
from distill_jax.model_dir.card import model_card
from distill_jax.model_dir.settings import TAGGER, TaggerFile, TaggerSettings, read_tagger_file
from distill_jax.models.bilstm import MODEL_TYPE as BILSTM
from distill_jax.models.bilstm import BiLSTMConfig, BiLSTMTagger
from distill_jax.models.encoder_tagger import MODEL_TYPE as ENCODER_TAGGER
from distill_jax.models.encoder_tagger import EncoderTagger, EncoderTaggerConfig
from distill_jax.models.t5_config import T5Config
from distill_jax.safetensors_io import (
    TensorSource,
    check_entries,
    read_entries,
    read_tensor,
    write_safetensors,
)
from distill_jax.tagging.labels import LabelSet
from distill_jax.vocab import ByteVocabulary, Vocabulary, WordVocabulary, load_vocabulary

WordTaggerConfig = BiLSTMConfig | EncoderTaggerConfig
"""Of the kinds that give each word its tag scores."""
ModelConfig = T5Config | WordTaggerConfig
AnyVocabulary = Vocabulary | WordVocabulary


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model directory in memory.

    Attributes:
        config: of the model, activations float32 for a T5.
        params: nested dictionary of NumPy float32 arrays, some of them transposed views, without a
            `params` level around it.
        vocabulary: a `Vocabulary` for a T5 or an encoder tagger, a `WordVocabulary` for a BiLSTM.
        labels: whose sBIO tags the model predicts.
        settings: how it tags.
        metadata: `name`, `role`, `metrics` and `training`, where they were given.
    """

    config: ModelConfig
    params: Params
    vocabulary: AnyVocabulary
    labels: LabelSet
    settings: TaggerSettings
    metadata: Mapping[str, Any]


def save_model(
    directory: str | os.PathLike[str],
    *,
    config: ModelConfig,
    params: Mapping[str, Any],
    vocabulary: AnyVocabulary,
    labels: LabelSet,
    settings: TaggerSettings | None = None,
    name: str | None = None,
    role: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model directory.

    Args:
        directory: made, or replaced if it is a model directory.
        config: of the model.
        params: arrays of any kind, fully addressable from this process, with or without boxes of
            logical axis names and without a `params` level; stored as float32.
        vocabulary: the one the model was trained with.
        labels: whose sBIO tags the model predicts.
        settings: how it tags; by default those of `TaggerSettings`, with the format that fits.
        name: of the model, for the card.
        role: `teacher` or `student`, say.
        metrics: names to numbers (or other JSON), for the card.
        training: how it was trained, as JSON.

    Raises:
        UserError: the vocabulary or the labels do not fit the model, or `directory` is something
            else than a model directory.
        ValueError: the parameters are not those of such a model.
    """
    sources = (
        hf_sources(config, params)
        if isinstance(config, T5Config)
        else _tagger_sources(config, params)
    )
    write_model(
        directory,
        config=config,
        sources=sources,
        vocabulary=vocabulary,
        labels=labels,
        settings=settings,
        metadata={"name": name, "role": role, "metrics": metrics, "training": training},
    )


def write_model(
    directory: str | os.PathLike[str],
    *,
    config: ModelConfig,
    sources: list[TensorSource],
    vocabulary: AnyVocabulary,
    labels: LabelSet,
    settings: TaggerSettings | None,
    metadata: Mapping[str, Any],
) -> None:
    """As `save_model`, with tensors that are loaded when their turn to be written comes."""
    directory = Path(directory).absolute()
    check_replaceable(directory, TAGGER)
    _check_fit(config, vocabulary, labels, str(directory))
    tagger = TaggerFile(
        labels=labels,
        settings=settings or TaggerSettings(format=_format_of(config)),
        vocabulary_hash=vocabulary.content_hash(),
        lowercase_words=isinstance(vocabulary, WordVocabulary) and vocabulary.lowercase,
        metadata={key: value for key, value in metadata.items() if value is not None},
    )
    if tagger.settings.format != _format_of(config):
        raise UserError(
            f"{directory}: the format is {tagger.settings.format!r}, but a model of this kind has "
            f"{_format_of(config)!r}; leave it out"
        )
    with atomic_directory(directory) as temporary:
        if isinstance(config, T5Config):
            # By the class of its tokenizer ByT5 is told from models with a vocabulary file.
            byte = isinstance(vocabulary, ByteVocabulary)
            tokenizer = "ByT5Tokenizer" if byte else "T5Tokenizer"
            write_hf_files(temporary, config, sources, tokenizer_class=tokenizer)
        else:
            write_json(temporary / CONFIG, config.to_dict())
            write_safetensors(temporary / WEIGHTS, sources)
        vocabulary.save(temporary)
        write_json(temporary / TAGGER, tagger.to_fields())
        card = model_card(
            labels=labels,
            architecture=_architecture(config),
            parameters=sum(math.prod(source.shape) for source in sources),
            metadata=tagger.metadata,
        )
        (temporary / "README.md").write_text(card, "utf-8")


def load_model(directory: str | os.PathLike[str]) -> LoadedModel:
    """Reads a model directory.

    Raises:
        UserError: in one line naming file and remedy, if a file is missing, damaged or malformed,
            or if labels, vocabulary and model do not belong together.
    """
    directory = Path(directory)
    tagger = read_tagger_file(directory)
    fields = read_json_object(directory / CONFIG, absent="give a complete directory")
    config: ModelConfig
    vocabulary: AnyVocabulary
    # What is small is checked before the weights are read.
    if fields.get("model_type") == BILSTM:
        vocabulary = WordVocabulary.load(directory)
    else:
        vocabulary = load_vocabulary(directory)
    if vocabulary.content_hash() != tagger.vocabulary_hash:
        raise UserError(
            f"{directory}: the vocabulary is not the one the model was trained with "
            f"(vocabulary_hash in {TAGGER} differs); put the model's own vocabulary files back"
        )
    if fields.get("model_type") in _TAGGERS:
        config = _tagger_config(fields, directory / CONFIG)
        _check_fit(config, vocabulary, tagger.labels, str(directory))
        params = _read_tagger(directory, config)
    else:
        config, params = read_hf(directory)
        _check_fit(config, vocabulary, tagger.labels, str(directory))
    if tagger.settings.format != _format_of(config):
        raise UserError(
            f"{directory / TAGGER}: format is {tagger.settings.format!r}, but a model of this kind "
            f"has {_format_of(config)!r}; copy the file again"
        )
    return LoadedModel(config, params, vocabulary, tagger.labels, tagger.settings, tagger.metadata)


def _format_of(config: ModelConfig) -> Any:
    return "sent_prime" if isinstance(config, T5Config) else "word_tags"


def _architecture(config: ModelConfig) -> str:
    if isinstance(config, T5Config):
        return (
            f"T5 ({config.num_encoder_layers} + {config.num_decoder_layers} layers, "
            f"{config.d_model} wide)"
        )
    if isinstance(config, EncoderTaggerConfig):
        return f"encoder tagger ({config.num_layers} layers, {config.d_model} wide)"
    return f"BiLSTM ({config.num_layers} x {config.hidden} units each way, with characters)"


def _check_fit(
    config: ModelConfig, vocabulary: AnyVocabulary, labels: LabelSet, where: str
) -> None:
    remedy = "use the vocabulary the model was trained with"
    if not isinstance(config, BiLSTMConfig):
        if not isinstance(vocabulary, Vocabulary):
            kind = "a T5" if isinstance(config, T5Config) else "an encoder tagger"
            raise UserError(f"{where}: {kind} cannot use a vocabulary of words; {remedy}")
        if vocabulary.size > config.vocab_size:
            raise UserError(
                f"{where}: the vocabulary has {vocabulary.size} ids, the model only "
                f"{config.vocab_size} embedding rows (vocab_size); {remedy}"
            )
    elif not isinstance(vocabulary, WordVocabulary):
        raise UserError(f"{where}: a BiLSTM needs a vocabulary of words; {remedy}")
    else:
        for things, found, rows in (
            ("words", vocabulary.num_words, config.num_words),
            ("characters", vocabulary.num_chars, config.num_chars),
        ):
            if found > rows:
                raise UserError(
                    f"{where}: the vocabulary has {found} {things}, the model only {rows} "
                    f"embedding rows for them; {remedy}"
                )
    if not isinstance(config, T5Config) and config.num_tags != labels.num_tags:
        raise UserError(
            f"{where}: the model predicts {config.num_tags} tags, the label set has "
            f"{labels.num_tags} with O and I; use the labels the model was trained with"
        )


_TAGGERS: dict[str, type[BiLSTMConfig] | type[EncoderTaggerConfig]] = {
    BILSTM: BiLSTMConfig,
    ENCODER_TAGGER: EncoderTaggerConfig,
}


def _tagger_config(fields: dict[str, Any], path: Path) -> WordTaggerConfig:
    try:
        return _TAGGERS[fields["model_type"]].from_dict(fields)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _tagger_shapes(config: WordTaggerConfig) -> dict[str, tuple[int, ...]]:
    ids = jnp.zeros((1, 1), jnp.int32)
    if isinstance(config, EncoderTaggerConfig):
        init, arguments = EncoderTagger(config).init, (ids, ids)
    else:
        init, arguments = BiLSTMTagger(config).init, (ids, ids[..., None])
    variables = jax.eval_shape(init, jax.random.key(0), *arguments)
    return {"/".join(path): leaf.shape for path, leaf in flatten(meta.unbox(variables)["params"])}


def _tagger_sources(config: WordTaggerConfig, params: Mapping[str, Any]) -> list[TensorSource]:
    flat = {"/".join(path): leaf for path, leaf in flatten(meta.unbox(params))}
    shapes = _tagger_shapes(config)
    if different := sorted(set(flat) ^ set(shapes)):
        raise ValueError(f"parameters of the model and those given differ: {', '.join(different)}")
    return [
        TensorSource(name, shape, functools.partial(np.asarray, flat[name], np.float32))
        for name, shape in shapes.items()
    ]


def _read_tagger(directory: Path, config: WordTaggerConfig) -> Params:
    path = directory / WEIGHTS
    entries = read_entries(path)
    shapes = _tagger_shapes(config)
    check_entries(entries, shapes, str(path))
    params: Params = {}
    for name in shapes:
        *parents, last = name.split("/")
        level = params
        for parent in parents:
            level = level.setdefault(parent, {})
        level[last] = read_tensor(entries[name])
    return params
