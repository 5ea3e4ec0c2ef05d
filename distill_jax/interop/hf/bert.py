"""Hugging Face checkpoints of BERT, MiniLM, ELECTRA, RoBERTa and XLM-R, read and written.

What is written is a token classifier whose outputs are the sBIO tags:
`AutoModelForTokenClassification` loads it, and its logits at a word's first subword are ours.
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.core import meta

from distill_jax.files import read_json_object, write_json
from distill_jax.interop.hf.bert_config import bert_config_from_hf, hf_bert_fields, tag_names
from distill_jax.interop.hf.bert_layout import (
    EMBEDDING,
    HEAD,
    PREFIXES,
    own_name,
    parameters_of_bert,
    why_unused,
)
from distill_jax.interop.hf.files import CONFIG, flatten
from distill_jax.interop.hf.foreign import check_is_checkpoint, check_not_quantised
from distill_jax.interop.hf.layout import Parameter
from distill_jax.interop.hf.weights import WEIGHTS, find_entries
from distill_jax.models.bert_config import BertConfig
from distill_jax.safetensors_io import (
    FloatArray,
    TensorSource,
    check_entries,
    read_tensor,
    write_safetensors,
)


class BertCheckpoint:
    """A checkpoint that has been checked against its `config.json` but not yet read.

    Args:
        directory: with `config.json`, and `model.safetensors` or its shards and their index.

    Attributes:
        config: what `config.json` describes, activations float32; `num_tags` 0 where there is no
            tag classifier.
        tags: what the outputs of the tag classifier mean; empty without one.
        unused: the tensors that have no place in the model, each with the reason.

    Raises:
        UserError: naming file, tensor and remedy, if anything is missing, damaged or contradictory.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        directory = Path(directory)
        check_is_checkpoint(directory, CONFIG)
        where = str(directory / CONFIG)
        fields = read_json_object(directory / CONFIG, absent="give a complete directory")
        check_not_quantised(fields, where)
        self.config = bert_config_from_hf(fields, where)
        self.tags = tag_names(fields, where)
        self.unused: dict[str, str] = {}
        architecture = self.config.architecture

        def skip(name: str) -> bool:
            reason = why_unused(own_name(name, architecture), has_tag_head=bool(self.tags))
            if reason is not None:
                self.unused[name] = reason
            return reason is not None

        weights, entries = find_entries(directory, skip)
        self._entries = {own_name(name, architecture): entry for name, entry in entries.items()}
        self._parameters = tuple(parameters_of_bert(self.config))
        shapes = {parameter.hf_name: parameter.hf_shape for parameter in self._parameters}
        check_entries(self._entries, shapes, str(weights))

    def parameters(self) -> Iterator[tuple[Parameter, Callable[[], FloatArray]]]:
        """Every parameter with a function that reads it, float32, in Hugging Face's layout."""
        for parameter in self._parameters:
            yield parameter, functools.partial(read_tensor, self._entries[parameter.hf_name])

    def read(self) -> dict[str, Any]:
        """All parameters, NumPy float32, those of a tag classifier as `output`; kernels are views."""
        params: dict[str, Any] = {}
        for parameter, load in self.parameters():
            level = params
            for name in parameter.path[:-1]:
                level = level.setdefault(name, {})
            level[parameter.path[-1]] = load().T if parameter.transposed else load()
        return params

    def embedding(self) -> FloatArray:
        """The token embedding alone, float32[rows, width]."""
        return read_tensor(self._entries[EMBEDDING])


def bert_sources(config: BertConfig, params: Mapping[str, Any]) -> list[TensorSource]:
    """The tensors to write for a tagger's parameters, with or without boxes of logical axis names.

    Raises:
        ValueError: the parameters are not those of such a model.
    """
    flat = dict(flatten(meta.unbox(params)))
    parameters = list(parameters_of_bert(config))
    if different := {p.path for p in parameters} ^ set(flat):
        names = sorted("/".join(path) for path in different)
        raise ValueError(f"parameters of the model and those given differ: {', '.join(names)}")

    def load(parameter: Parameter) -> FloatArray:
        array = np.asarray(flat[parameter.path], np.float32)
        return array.T if parameter.transposed else array

    return [
        written(config, parameter, functools.partial(load, parameter)) for parameter in parameters
    ]


def written(
    config: BertConfig, parameter: Parameter, load: Callable[[], FloatArray]
) -> TensorSource:
    """A tensor to be written, under the name that it has in a token classifier."""
    name = parameter.hf_name
    prefix = "" if name.startswith(HEAD) else PREFIXES[config.architecture]
    return TensorSource(prefix + name, parameter.hf_shape, load)


def write_bert_files(
    directory: Path, config: BertConfig, sources: list[TensorSource], tags: Sequence[str]
) -> None:
    """Writes `config.json` and `model.safetensors` (float32) of a token classifier."""
    write_json(directory / CONFIG, hf_bert_fields(config, tags))
    write_safetensors(directory / WEIGHTS, sources)
