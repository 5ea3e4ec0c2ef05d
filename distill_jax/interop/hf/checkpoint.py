"""Hugging Face checkpoints of the T5 family, read and written tensor by tensor.

A T5 whose output embedding is tied but whose logits are not scaled (transformers 5 makes such), or
untied with scaled logits, becomes an untied T5 here whose output embedding has the factor in it:
the logits are the same.
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.core import meta

from distill_jax.errors import UserError
from distill_jax.files import atomic_directory, read_json_object, write_json
from distill_jax.interop.hf.config import (
    check_model_type,
    hf_config_fields,
    lm_head_is_scaled,
    scales_logits,
    t5_config_from_hf,
    ties_embeddings,
)
from distill_jax.interop.hf.files import CONFIG, check_replaceable, flatten
from distill_jax.interop.hf.foreign import (
    check_has_decoder,
    check_is_checkpoint,
    check_not_quantised,
)
from distill_jax.interop.hf.layout import (
    EMBEDDING,
    LM_HEAD,
    UNUSED,
    Parameter,
    parameters_of,
)
from distill_jax.interop.hf.weights import WEIGHTS, find_entries, merge_aliases
from distill_jax.models.stacking import unstack_layers
from distill_jax.models.t5_config import T5Config
from distill_jax.safetensors_io import (
    FloatArray,
    TensorSource,
    check_entries,
    read_tensor,
    same_values,
    write_safetensors,
)

_ROWS = 1024  # divided at a time, so that temporary arrays stay small

Params = dict[str, Any]
"""A nested dictionary of parameters, named as in t5x (no `params` level around it)."""


class HfCheckpoint:
    """A checkpoint that has been checked against its `config.json` but not yet read.

    Args:
        directory: with `config.json`, and `model.safetensors` or its shards and their index.

    Attributes:
        fields: the content of `config.json`.
        config: what it describes, activations float32.
        unused: names of tensors that it holds and the model has no use for, with the reason of each.
        shares_embedding: whether the output embedding is the token embedding, without a scale.

    Raises:
        UserError: naming file, tensor and remedy, if anything is missing, damaged or contradictory.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        directory = Path(directory)
        check_is_checkpoint(directory, CONFIG)
        where = str(directory / CONFIG)
        self.fields = read_json_object(directory / CONFIG, absent="give a complete directory")
        check_model_type(self.fields, where)
        check_not_quantised(self.fields, where)
        weights, entries = find_entries(directory)
        check_has_decoder(entries, str(weights))
        merge_aliases(entries)
        self.unused = {name: UNUSED[name] for name in UNUSED if entries.pop(name, None)}

        scaled = scales_logits(self.fields, has_lm_head=LM_HEAD in entries)
        if LM_HEAD in entries and EMBEDDING in entries and (scaled or ties_embeddings(self.fields)):
            # A copy, as in checkpoints converted from pytorch_model.bin, or another embedding.
            if same_values(entries[EMBEDDING], entries[LM_HEAD]):
                del entries[LM_HEAD]
                scaled = scales_logits(self.fields, has_lm_head=False)
            elif ties_embeddings(self.fields):
                raise UserError(
                    f"{entries[LM_HEAD].file}: {LM_HEAD!r} differs from {EMBEDDING!r}, though the two "
                    f'are one by {where} (tie_word_embeddings); put `"tie_word_embeddings": false` there '
                    "if the model was trained with an output embedding of its own"
                )
        tied = scaled and LM_HEAD not in entries
        self.config = t5_config_from_hf(self.fields, tied=tied, where=where)
        self._lm_head_is_scaled = scaled and not tied
        # Tied without the scale, unless the file says that the embeddings differ: then the output
        # embedding is missing.
        self.shares_embedding = (
            not tied
            and LM_HEAD not in entries
            and EMBEDDING in entries
            and self.fields.get("tie_word_embeddings") is not False
        )
        if self.shares_embedding:
            entries[LM_HEAD] = entries[EMBEDDING]

        self._parameters = tuple(parameters_of(self.config))
        shapes = {parameter.hf_name: parameter.hf_shape for parameter in self._parameters}
        check_entries(entries, shapes, str(weights))
        self._entries = entries

    def parameters(self) -> Iterator[tuple[Parameter, Callable[[], FloatArray]]]:
        """Every parameter with a function that reads it, float32, in Hugging Face's layout."""
        for parameter in self._parameters:
            yield parameter, functools.partial(self._read, parameter.hf_name)

    def read(self) -> Params:
        """All parameters, NumPy float32.

        Kernels are transposed views, so nothing is held twice but the tensor being widened.
        """
        params: Params = {}
        for parameter, load in self.parameters():
            if parameter.hf_name == LM_HEAD and self.shares_embedding:
                array = params["token_embedder"]["embedding"]
            else:
                array = load()
            level = params
            for name in parameter.path[:-1]:
                level = level.setdefault(name, {})
            level[parameter.path[-1]] = array.T if parameter.transposed else array
        return params

    def embedding(self) -> FloatArray:
        """The token embedding alone, float32[rows, width]."""
        return self._read(EMBEDDING)

    def _read(self, name: str) -> FloatArray:
        array = read_tensor(self._entries[name])
        if name == LM_HEAD and self._lm_head_is_scaled:
            _divide(array, np.float32(self.config.d_model**0.5))
        return array


def _divide(array: FloatArray, factor: np.float32) -> None:
    """Divides an array in place, so that multiplying gives back the same bits where any number does.

    The quotient's rounding, of at most an ulp, would else be carried from file to file.
    """
    for begin in range(0, len(array), _ROWS):
        scaled = array[begin : begin + _ROWS]
        quotient = scaled / factor
        for _ in range(2):
            again = quotient * factor
            away = np.where(np.abs(again) < np.abs(scaled), np.copysign(np.inf, scaled), 0.0)
            quotient = np.where(
                again == scaled, quotient, np.nextafter(quotient, away.astype(np.float32))
            )
        scaled[:] = np.where(quotient * factor == scaled, quotient, scaled / factor)


def read_hf(directory: str | os.PathLike[str]) -> tuple[T5Config, Params]:
    """Reads a checkpoint of T5, Flan-T5, mT5, umT5 or ByT5.

    Tensors stored in bfloat16 or float16 become float32: the memory needed is that of the parameters,
    and of the largest tensor as it is stored where that is not float32.

    Returns:
        The configuration (activations float32) and the parameters, NumPy float32.

    Raises:
        UserError: in one line, naming file, tensor and remedy.
    """
    checkpoint = HfCheckpoint(directory)
    return checkpoint.config, checkpoint.read()


def write_hf(
    directory: str | os.PathLike[str], config: T5Config, params: Mapping[str, Any]
) -> None:
    """Writes `config.json` and `model.safetensors` (float32) for transformers to load.

    Args:
        directory: made, or replaced if it holds a `config.json`.
        config: of the model.
        params: its parameters, arrays of any kind, with or without boxes of logical axis names,
            layers stacked or not.

    Raises:
        UserError: `directory` is something else.
        ValueError: the parameters are not those of such a model.
    """
    directory = Path(directory).absolute()
    check_replaceable(directory, CONFIG)
    sources = hf_sources(config, params)
    with atomic_directory(directory) as temporary:
        write_hf_files(temporary, config, sources)


def hf_sources(config: T5Config, params: Mapping[str, Any]) -> list[TensorSource]:
    """What `write_hf` writes of the parameters: one source a tensor.

    Raises:
        ValueError: the parameters are not those of such a model.
    """
    flat = dict(flatten(unstack_layers(meta.unbox(params))))
    parameters = list(parameters_of(config))
    if different := {p.path for p in parameters} ^ set(flat):
        names = sorted("/".join(path) for path in different)
        raise ValueError(f"parameters of the model and those given differ: {', '.join(names)}")

    def source(parameter: Parameter) -> TensorSource:
        def load() -> FloatArray:
            array = np.asarray(flat[parameter.path], np.float32)
            return array.T if parameter.transposed else array

        return as_written(config, parameter, load)

    return [source(parameter) for parameter in parameters]


def as_written(
    config: T5Config, parameter: Parameter, load: Callable[[], FloatArray]
) -> TensorSource:
    """A tensor to be written for transformers, from its values in the model."""
    if parameter.hf_name == LM_HEAD and lm_head_is_scaled(config):
        factor = np.float32(config.d_model**0.5)
        return TensorSource(parameter.hf_name, parameter.hf_shape, lambda: load() * factor)
    return TensorSource(parameter.hf_name, parameter.hf_shape, load)


def write_hf_files(
    directory: Path, config: T5Config, sources: list[TensorSource], **more_fields: Any
) -> None:
    """Writes `config.json`, with more fields if given, and `model.safetensors`."""
    write_json(directory / CONFIG, {**hf_config_fields(config), **more_fields})
    write_safetensors(directory / WEIGHTS, sources)
